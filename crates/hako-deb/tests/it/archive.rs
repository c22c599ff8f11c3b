//! An archive that a test makes, with real packages (dpkg-deb) and a real
//! signature (gpg).

use crate::server::Server;
use hako_deb::openpgp::Directories;
use hako_deb::sources::From;
use hako_deb::{Built, Error, Event, Options, Request};
use hako_distribution::http::Http;
use hako_store::{Owner, Store};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

pub(crate) struct Archive {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Server,
    packages: String,
    /// Extra fields of the Release file.
    pub(crate) fields: String,
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home())
            .args(["--kill", "all"])
            .status();
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").unwrap();
        text
    })
}

fn run(command: &mut Command) -> Vec<u8> {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

impl Archive {
    /// An empty archive with a key.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hk")
            .tempdir_in("/tmp")
            .unwrap();
        for sub in [
            "home",
            "www/pool",
            "www/dists/stable/main/binary-amd64",
            "work",
        ] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        std::fs::set_permissions(
            dir.path().join("home"),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let server = Server::new(&dir.path().join("www"));
        let this = Self {
            dir,
            server,
            packages: String::new(),
            fields: String::new(),
        };
        this.key("archive");
        this
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn www(&self, path: &str) -> PathBuf {
        self.dir.path().join("www").join(path)
    }

    pub(crate) fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.args([
            "--batch",
            "--yes",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            "--homedir",
        ]);
        gpg.arg(self.home());
        gpg
    }

    /// Makes a key and the keyring `<name>.gpg`.
    pub(crate) fn key(&self, name: &str) {
        run(self
            .gpg()
            .args(["--quick-generate-key", name, "ed25519", "sign", "never"]));
        let ring = run(self.gpg().args(["--export", name]));
        std::fs::write(self.dir.path().join(format!("{name}.gpg")), ring).unwrap();
    }

    /// Adds a package; `files` are path and contents.
    pub(crate) fn package(
        &mut self,
        name: &str,
        version: &str,
        fields: &str,
        files: &[(&str, &str)],
    ) -> &mut Self {
        let root = self
            .dir
            .path()
            .join("work")
            .join(format!("{name}-{version}"));
        std::fs::create_dir_all(root.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: T <t@example.org>\n{fields}Description: test\n"
        );
        std::fs::write(root.join("DEBIAN/control"), &control).unwrap();
        for (path, contents) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match contents.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => std::fs::write(path, contents).unwrap(),
            }
        }
        let file = format!("pool/{name}_{version}.deb");
        run(Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["--root-owner-group", "-b"])
            .arg(&root)
            .arg(self.www(&file)));
        let bytes = std::fs::read(self.www(&file)).unwrap();
        writeln!(
            self.packages,
            "{}Filename: {file}\nSize: {}\nSHA256: {}\n",
            control,
            bytes.len(),
            hex(&Sha256::digest(&bytes))
        )
        .unwrap();
        self
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.www("dists/stable/main/binary-amd64/Packages")
    }

    /// Writes index and Release; signs the latter with the key `name`.
    pub(crate) fn publish(&self, key: &str) {
        std::fs::write(self.index(), &self.packages).unwrap();
        run(Command::new("xz").args(["-k", "-f"]).arg(self.index()));
        self.release(key);
    }

    /// Writes Release anew over the index as it is, and signs it.
    pub(crate) fn release(&self, key: &str) {
        let mut text = format!(
            "Origin: Debian\nSuite: stable\nCodename: bookworm\nVersion: 12.1\nArchitectures: amd64\nComponents: main\n{}SHA256:\n",
            self.fields
        );
        for name in ["Packages", "Packages.xz"] {
            let path = format!("main/binary-amd64/{name}");
            let bytes = std::fs::read(self.www(&format!("dists/stable/{path}"))).unwrap();
            writeln!(
                text,
                " {} {} {path}",
                hex(&Sha256::digest(&bytes)),
                bytes.len()
            )
            .unwrap();
        }
        let plain = self.www("dists/stable/Release");
        std::fs::write(&plain, &text).unwrap();
        run(self
            .gpg()
            .args(["-u", key, "--clearsign", "-o"])
            .arg(self.www("dists/stable/InRelease"))
            .arg(&plain));
        run(self
            .gpg()
            .args(["-u", key, "--armor", "--detach-sign", "-o"])
            .arg(self.www("dists/stable/Release.gpg"))
            .arg(&plain));
    }

    pub(crate) fn sources(&self, options: &str) -> PathBuf {
        let path = self.dir.path().join("test.list");
        let text = format!("deb [{options}] {} stable main\n", self.server.url());
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Options with the archive's own key.
    pub(crate) fn options(&self, root: &Path) -> Options {
        let signed_by = format!("signed-by={}/archive.gpg", self.dir.path().display());
        Options {
            sources: From::Files(vec![self.sources(&signed_by)]),
            keyrings: Directories {
                trusted: Vec::new(),
            },
            architecture: "amd64".to_owned(),
            ..Options::new(root, Owner::Cli(0))
        }
    }
}

/// A root directory with a store.
pub(crate) struct Root {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl Root {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self {
            dir,
            store,
            events: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn make(&self, request: &str, options: &Options) -> Result<Built, Error> {
        let request: Request = request.parse()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let progress = |event| self.events.lock().unwrap().push(event);
        runtime.block_on(hako_deb::image(
            &request,
            options,
            &self.store,
            &Http::default(),
            &progress,
        ))
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|e| match e {
                Event::Warning(text) => Some(text.clone()),
                _ => None,
            })
            .collect()
    }

    /// The names in the layer, in order.
    pub(crate) fn files(&self, built: &Built) -> Vec<hako_tar::Entry> {
        let tar = self
            .store
            .blobs()
            .read(&built.layer.digest, 1 << 30)
            .unwrap();
        hako_tar::entries(&tar).unwrap()
    }
}

pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, ": {cause}").unwrap();
        source = cause.source();
    }
    text
}

/// A small system: a shell with a library and a virtual awk.
pub(crate) fn small() -> Archive {
    let mut archive = Archive::new();
    archive
        .package(
            "shell",
            "1.0-1",
            "Depends: lib (>= 2), awk\n",
            &[
                ("bin/sh", "shell"),
                ("etc/shell.conf", "x"),
                ("usr/share/l", "-> ../bin/sh"),
            ],
        )
        .package("lib", "2.0", "", &[("lib/lib.so", "library")])
        .package("lib", "1.0", "", &[("lib/lib.so", "old")])
        .package("mawk", "1", "Provides: awk\n", &[("usr/bin/mawk", "mawk")])
        .package("broken", "1", "Depends: lib (>= 3)\n", &[]);
    archive.publish("archive");
    archive
}

#[test]
fn the_same_packages_give_the_same_digest() {
    let archive = small();
    let (one, two) = (Root::new(), Root::new());
    let first = one.make("shell", &archive.options(one.path())).unwrap();
    let second = two.make("deb:shell", &archive.options(two.path())).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.name, "localhost/deb/shell:latest");
    let packages: Vec<String> = first
        .packages
        .iter()
        .map(|(n, v)| format!("{n} {v}"))
        .collect();
    assert_eq!(packages, ["lib 2.0", "mawk 1", "shell 1.0-1"]);
    let names: Vec<String> = one
        .files(&first)
        .iter()
        .map(|e| String::from_utf8_lossy(&e.path).into_owned())
        .collect();
    for name in [
        "bin",
        "usr/bin/sh",
        "usr/lib/lib.so",
        "usr/share/l",
        "etc/shell.conf",
        "var/lib/dpkg/status",
        "var/lib/hako/sbom.spdx.json",
        "tmp",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    assert!(names.is_sorted());
    let config =
        String::from_utf8(one.store.blobs().read(&first.config, 1 << 20).unwrap()).unwrap();
    assert!(
        config.contains("\"created\":\"2023-11-14T22:13:20Z\"")
            && config.contains("\"Cmd\":[\"sh\"]"),
        "{config}"
    );
    let named = one
        .store
        .names()
        .get(Owner::Cli(0), &first.name)
        .unwrap()
        .unwrap();
    assert_eq!(named.target.digest, first.manifest.digest);
}

#[test]
fn a_second_time_nothing_is_fetched() {
    let archive = small();
    let root = Root::new();
    let options = archive.options(root.path());
    let first = root.make("shell", &options).unwrap();
    let before = archive
        .server
        .requests
        .load(std::sync::atomic::Ordering::Relaxed);
    let again = root.make("shell", &options).unwrap();
    assert!(!first.reused && again.reused);
    assert_eq!(
        (again.manifest, again.config),
        (first.manifest.clone(), first.config.clone())
    );
    let offline = Options {
        offline: true,
        ..options
    };
    assert!(root.make("shell", &offline).unwrap().reused);
    assert_eq!(
        archive
            .server
            .requests
            .load(std::sync::atomic::Ordering::Relaxed),
        before
    );
    // Without the layer it is made again, from the cached packages.
    root.store.blobs().remove(&first.layer.digest).unwrap();
    let made = root.make("shell", &offline).unwrap();
    assert!(!made.reused);
    assert_eq!(made.manifest, first.manifest);
    assert_eq!(
        archive
            .server
            .requests
            .load(std::sync::atomic::Ordering::Relaxed),
        before
    );
    // What is not there cannot be had offline.
    let error = Root::new()
        .make(
            "shell",
            &Options {
                cache: "/dev/null/hako".into(),
                ..offline.clone()
            },
        )
        .unwrap_err();
    assert!(
        chain(&error).contains("/dev/null/hako"),
        "{}",
        chain(&error)
    );
    let empty = Root::new();
    let error = empty
        .make(
            "shell",
            &Options {
                cache: empty.path().join("deb"),
                ..offline
            },
        )
        .unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn what_cannot_be_had_is_named() {
    let archive = small();
    let root = Root::new();
    let options = archive.options(root.path());
    for (request, text) in [
        (
            "broken",
            "broken 1 depends on lib (>= 3) but 2.0, 1.0 are to be had",
        ),
        (
            "nothing",
            "nothing is not a package in the configured sources",
        ),
        (
            "lib=9",
            "lib is not to be had in version 9 in the configured sources, but in 2.0, 1.0",
        ),
        ("lib=1.0,shell", "shell 1.0-1 depends on lib (>= 2) but"),
        ("shell:arm64", "no packages for arm64"),
        (
            "shell@trixie",
            "no configured archive has the release trixie",
        ),
    ] {
        let error = root.make(request, &options).map(|b| b.name).unwrap_err();
        let all = format!("{} {:?}", chain(&error), root.warnings());
        assert!(all.contains(text), "{request}: {all}");
    }
    assert!(
        root.store
            .names()
            .list(&hako_store::names::Filter::default())
            .unwrap()
            .is_empty()
    );
    let old = root.make("lib=1.0", &options).unwrap();
    assert_eq!(old.packages, [("lib".to_owned(), "1.0".to_owned())]);
    let virtually = root.make("awk", &options).unwrap();
    assert_eq!(virtually.packages[0].0, "mawk");
}

#[test]
fn a_release_by_name() {
    let archive = small();
    let root = Root::new();
    let options = archive.options(root.path());
    let built = root.make("lib@stable", &options).unwrap();
    assert_eq!(built.name, "localhost/deb/lib:stable");
    assert_eq!(built.packages[0].1, "2.0");
}

#[test]
fn many_at_once_share_a_cache() {
    let archive = small();
    let root = Root::new();
    let options = archive.options(root.path());
    let digests: Vec<String> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..6)
            .map(|i| {
                let (root, options) = (&root, &options);
                scope.spawn(move || {
                    let request = if i % 2 == 0 { "shell" } else { "mawk,shell" };
                    root.make(request, options)
                        .unwrap()
                        .layer
                        .digest
                        .to_string()
                })
            })
            .collect();
        jobs.into_iter().map(|j| j.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
}
