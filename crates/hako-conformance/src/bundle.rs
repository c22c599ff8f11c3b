//! A bundle by itself: is its `config.json` what the specification says, and is
//! what it refers to there? Nothing is run. [`generate`] makes such a document.

pub mod generate;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hako_spec::runtime::validate::{self, Purpose};
use hako_spec::runtime::{Config, Hook, Mount};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A MUST of the specification is broken: a runtime has to refuse it.
    Error,
    /// A SHOULD is broken, or it will hardly do what was meant.
    Warning,
}

/// Something about a bundle that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where in `config.json`: `process.rlimits[1].type`; empty for the bundle.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// The rule: file and section of the runtime specification; empty when it
    /// is none of its.
    pub section: String,
}

/// What is looked at besides the document and the root file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Also what this machine has: sources of bind mounts, programs of hooks,
    /// namespaces to join.
    pub host_specific: bool,
}

/// Why a bundle cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Looks at the bundle in `dir`. What is found is in the order of the
/// document; none is all well. A document that cannot be understood is a
/// finding, too.
pub fn check(dir: &Path, options: &Options) -> Result<Vec<Finding>, Unreadable> {
    let path = dir.join("config.json");
    let bytes = read(&path).map_err(|source| Unreadable { path, source })?;
    let mut findings = Findings::default();
    let config = match Config::from_slice(&bytes) {
        Ok(config) => config,
        Err(error) => {
            let section = "config.md \"Configuration\"";
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            findings.error("", text, section);
            return Ok(findings.0);
        }
    };
    rules(&mut findings, &config);
    root(&mut findings, dir, &config);
    for (n, mount) in config.mounts.iter().enumerate() {
        mount_point(&mut findings, n, mount);
        if options.host_specific {
            mount_source(&mut findings, dir, n, mount);
        }
    }
    if options.host_specific {
        hooks(&mut findings, &config);
        namespaces(&mut findings, &config);
    }
    Ok(findings.0)
}

/// Looks at a document alone, as [`check`] does, and at no file system.
#[must_use]
pub fn document(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    rules(&mut findings, config);
    for (n, mount) in config.mounts.iter().enumerate() {
        mount_point(&mut findings, n, mount);
    }
    findings.0
}

/// The specification's rules, and properties that it does not have.
fn rules(findings: &mut Findings, config: &Config) {
    for problem in validate::config(config, Purpose::Create) {
        findings.error(&problem.path, problem.message, problem.section);
    }
    if config.process.is_none() {
        let text = "is missing: the container can be created, but not started";
        findings.warning("process", text, "config.md \"Process\"");
    }
    unknown(findings, config);
}

/// The document, with one byte more than any reader takes.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(Config::MAX_LEN as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, place: &str, message: String, section: &str) {
        self.0.push(Finding {
            severity,
            place: place.to_owned(),
            message,
            section: section.to_owned(),
        });
    }

    fn error(&mut self, place: &str, message: impl Into<String>, section: &str) {
        self.add(Severity::Error, place, message.into(), section);
    }

    fn warning(&mut self, place: &str, message: impl Into<String>, section: &str) {
        self.add(Severity::Warning, place, message.into(), section);
    }
}

/// The sections of other platforms, which are known, but not looked at.
const ELSEWHERE: [&str; 5] = ["windows", "solaris", "vm", "zos", "freebsd"];

/// Properties that the specification does not have, which runtimes ignore: most
/// often a slip of the pen.
fn unknown(findings: &mut Findings, config: &Config) {
    let mut note = |place: &str, extra: &hako_spec::Map| {
        for (name, value) in extra {
            let place = match place {
                "" if ELSEWHERE.contains(&name.as_str()) && value.is_object() => continue,
                "" => name.clone(),
                _ => format!("{place}.{name}"),
            };
            findings.warning(
                &place,
                "is no property that the specification has: runtimes ignore it",
                "config.md \"Extensibility\"",
            );
        }
    };
    note("", &config.extra);
    if let Some(root) = &config.root {
        note("root", &root.extra);
    }
    if let Some(process) = &config.process {
        note("process", &process.extra);
        note("process.user", &process.user.extra);
        if let Some(capabilities) = &process.capabilities {
            note("process.capabilities", &capabilities.extra);
        }
    }
    for (n, mount) in config.mounts.iter().enumerate() {
        note(&format!("mounts[{n}]"), &mount.extra);
    }
    if let Some(hooks) = &config.hooks {
        note("hooks", &hooks.extra);
    }
    if let Some(linux) = &config.linux {
        note("linux", &linux.extra);
        if let Some(resources) = &linux.resources {
            note("linux.resources", &resources.extra);
        }
        if let Some(seccomp) = &linux.seccomp {
            note("linux.seccomp", &seccomp.extra);
        }
    }
}

fn root(findings: &mut Findings, dir: &Path, config: &Config) {
    const SECTION: &str = "config.md \"Root\"";
    let Some(root) = config.root.as_ref().filter(|root| !root.path.is_empty()) else {
        return;
    };
    let path = dir.join(&root.path);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            let text = format!("{} is no directory", path.display());
            return findings.error("root.path", text, SECTION);
        }
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            return findings.error("root.path", text, SECTION);
        }
    }
    if root.path != "rootfs" {
        findings.warning("root.path", "should be the conventional 'rootfs'", SECTION);
    }
    let Some(process) = &config.process else {
        return;
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, &path, flags, Mode::empty()) else {
        return;
    };
    // What a mount covers is not in the root file system.
    let covered = |path: &str| {
        config.mounts.iter().any(|mount| {
            let at = mount.destination.trim_end_matches('/');
            path == at
                || path
                    .strip_prefix(at)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    if process.cwd.starts_with('/') && !covered(&process.cwd) {
        match inside(&root, &process.cwd) {
            Ok(FileType::Directory) => {}
            Ok(_) => findings.error(
                "process.cwd",
                format!("{:?} is no directory in the root file system", process.cwd),
                "config.md \"Process\"",
            ),
            Err(error) => findings.warning(
                "process.cwd",
                format!("{:?} is not in the root file system: {error}", process.cwd),
                "config.md \"Process\"",
            ),
        }
    }
    program(findings, &root, process, covered);
}

/// Whether there is a program to execute, found as execvp(3) does.
fn program(
    findings: &mut Findings,
    root: &OwnedFd,
    process: &hako_spec::runtime::Process,
    covered: impl Fn(&str) -> bool,
) {
    let Some(name) = process.args.first().filter(|name| !name.is_empty()) else {
        return;
    };
    let candidates: Vec<String> = if name.starts_with('/') {
        vec![name.clone()]
    } else if name.contains('/') {
        vec![format!("{}/{name}", process.cwd)]
    } else {
        let path = process
            .env
            .iter()
            .rev()
            .find_map(|it| it.strip_prefix("PATH="));
        let dirs = path.unwrap_or("/bin:/usr/bin").split(':');
        dirs.map(|dir| format!("{dir}/{name}")).collect()
    };
    let found =
        |path: &String| covered(path) || matches!(inside(root, path), Ok(FileType::RegularFile));
    if !candidates.iter().any(found) {
        findings.warning(
            "process.args[0]",
            format!("no program {name:?} is in the root file system"),
            "config.md \"Process\"",
        );
    }
}

/// The kind of what a path leads to inside a root, symbolic links included.
fn inside(root: &OwnedFd, path: &str) -> Result<FileType, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = loop {
        match openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => break other?,
        }
    };
    let stat = statat(&file, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// The section on mounts.
const MOUNTS: &str = "config.md \"Mounts\"";

fn is_bind(mount: &Mount) -> bool {
    mount.options.iter().any(|it| it == "bind" || it == "rbind")
}

fn mount_point(findings: &mut Findings, n: usize, mount: &Mount) {
    if !mount.destination.is_empty() && !mount.destination.starts_with('/') {
        let text = "should be an absolute path; relative ones are deprecated";
        findings.warning(&format!("mounts[{n}].destination"), text, MOUNTS);
    }
    let has_kind = mount.kind.as_ref().is_some_and(|kind| !kind.is_empty());
    // Changes of mounts that are there need neither.
    let changes = ["remount", "shared", "slave", "private", "unbindable"];
    let is_change = mount
        .options
        .iter()
        .any(|it| changes.contains(&it.strip_prefix('r').unwrap_or(it)) || it == "remount");
    if !is_bind(mount) && !has_kind && !is_change {
        findings.warning(
            &format!("mounts[{n}].type"),
            "is missing, and the mount is no bind mount",
            "config.md \"POSIX-platform Mounts\"",
        );
    }
    let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if mapped
        && !mount
            .options
            .iter()
            .any(|it| it == "idmap" || it == "ridmap")
    {
        findings.warning(
            &format!("mounts[{n}].options"),
            "should have 'idmap' or 'ridmap', as the mount has mappings",
            "config.md \"POSIX-platform Mounts\"",
        );
    }
}

/// Whether a bind mount has something to bind.
fn mount_source(findings: &mut Findings, dir: &Path, n: usize, mount: &Mount) {
    if let Some(source) = &mount.source
        && is_bind(mount)
        && let Err(error) = fs::metadata(dir.join(source))
    {
        let text = format!("{source:?}: {error}");
        findings.error(&format!("mounts[{n}].source"), text, MOUNTS);
    }
}

fn hooks(findings: &mut Findings, config: &Config) {
    let Some(hooks) = &config.hooks else {
        return;
    };
    let kinds: [(&str, &[Hook]); 5] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, list) in kinds {
        for (n, hook) in list.iter().enumerate() {
            let text = match fs::metadata(&hook.path) {
                Ok(meta) if meta.is_file() && meta.mode() & 0o111 != 0 => continue,
                Ok(_) => format!("{:?} cannot be executed", hook.path),
                Err(error) => format!("{:?}: {error}", hook.path),
            };
            let place = format!("hooks.{kind}[{n}].path");
            findings.error(&place, text, "config.md \"POSIX-platform Hooks\"");
        }
    }
}

fn namespaces(findings: &mut Findings, config: &Config) {
    let list = config.linux.iter().flat_map(|linux| &linux.namespaces);
    for (n, namespace) in list.enumerate() {
        if let Some(path) = namespace.path.as_ref().filter(|path| !path.is_empty())
            && let Err(error) = fs::metadata(path)
        {
            let place = format!("linux.namespaces[{n}].path");
            let text = format!("{path:?}: {error}");
            findings.error(&place, text, "config-linux.md \"Namespaces\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "args": ["prog"], "cwd": "/", "env": ["PATH=/bin"] },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "namespaces": [{ "type": "mount" }] },
            "vm": { "kernel": { "path": "/k" } },
        })
    }

    fn look(config: &str, host_specific: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("rootfs/bin")).unwrap();
        fs::write(dir.path().join("rootfs/bin/prog"), "").unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        let options = Options { host_specific };
        let findings = check(dir.path(), &options).unwrap();
        findings
            .into_iter()
            .map(|it| format!("{:?} {}", it.severity, it.place))
            .collect()
    }

    fn with(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut config = good();
        change(&mut config);
        look(&config.to_string(), true)
    }

    #[test]
    fn what_is_found() {
        assert_eq!(look(&good().to_string(), true), [""; 0]);
        type Change<'a> = &'a dyn Fn(&mut Value);
        let cases: [(&str, Change<'_>); 14] = [
            ("Error ociVersion", &|c| c["ociVersion"] = json!("one")),
            ("Error root.path", &|c| c["root"]["path"] = json!("nothing")),
            ("Error root.path", &|c| c["root"]["path"] = json!("file")),
            ("Error process.cwd", &|c| c["process"]["cwd"] = json!("rel")),
            ("Error process.cwd", &|c| {
                c["process"]["cwd"] = json!("/bin/prog");
            }),
            ("Warning process.cwd", &|c| {
                c["process"]["cwd"] = json!("/home");
            }),
            ("Warning process.args[0]", &|c| {
                c["process"]["args"] = json!(["other"]);
            }),
            ("Warning process.Cwd", &|c| c["process"]["Cwd"] = json!("/")),
            ("Warning extra", &|c| c["extra"] = json!(1)),
            ("Warning mounts[0].destination", &|c| {
                c["mounts"][0]["destination"] = json!("proc");
            }),
            ("Warning mounts[0].type", &|c| {
                c["mounts"] = json!([{ "destination": "/a", "source": "b" }]);
            }),
            ("Error mounts[0].source", &|c| {
                c["mounts"] =
                    json!([{ "destination": "/a", "source": "none", "options": ["bind"] }]);
            }),
            ("Error hooks.poststop[0].path", &|c| {
                c["hooks"] = json!({ "poststop": [{ "path": "/no/such/hook" }] });
            }),
            ("Error linux.namespaces[0].path", &|c| {
                c["linux"]["namespaces"][0]["path"] = json!("/no/such/namespace");
            }),
        ];
        for (wanted, change) in cases {
            assert_eq!(with(change), [wanted]);
        }
        let without = with(|c| {
            c.as_object_mut().unwrap().remove("process");
        });
        assert_eq!(without, ["Warning process"]);
    }

    #[test]
    fn what_is_no_document() {
        for bad in ["", "{", "[]", r#"{"ociVersion":1}"#, r#"{"a":1,"a":2}"#] {
            assert_eq!(look(bad, false), ["Error "], "{bad}");
        }
        let error = check(Path::new("/no/such/bundle"), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("/no/such/bundle/config.json"));
    }

    /// A link that leads out of the root leads to its top, not to the host.
    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("rootfs")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", dir.path().join("rootfs/prog")).unwrap();
        let mut config = good();
        config["process"]["args"] = json!(["/prog"]);
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let findings = check(dir.path(), &Options::default()).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].place, "process.args[0]");
    }
}
