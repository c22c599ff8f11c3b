//! The guest's files: gathered from this machine, written as one archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::vm::cpio::Archive;

/// Packages whose programs the tests run in the guest.
const PACKAGES: [&str; 29] = [
    "acl",
    "attr",
    "bash",
    "bsdutils",
    "busybox-static",
    "coreutils",
    "criu",
    "crun",
    "dash",
    "diffutils",
    "docker-registry",
    "findutils",
    "grep",
    "gzip",
    "iproute2",
    "iptables",
    "libcap2-bin",
    "mount",
    "nftables",
    "openssl",
    "passt",
    "procps",
    "runc",
    "sed",
    "strace",
    "tar",
    "uidmap",
    "umoci",
    "util-linux",
];

/// Where programs lie.
const PROGRAM_DIRS: [&str; 4] = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"];

/// What no package lists as its own, or loads by name: criu locks the network by
/// iptables.
const MORE: [&str; 6] = [
    "/usr/sbin/iptables-restore",
    "/usr/sbin/iptables-save",
    "/usr/sbin/ip6tables-restore",
    "/usr/sbin/ip6tables-save",
    "/usr/lib/x86_64-linux-gnu/xtables/libxt_mark.so",
    "/usr/lib/x86_64-linux-gnu/xtables/libxt_standard.so",
];

/// Directories that are empty at first.
const DIRS: [(&str, u32); 14] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("new", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/tmp", 0o1777),
];

const FILES: [(&str, &str); 7] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hostname", "hako-vm\n"),
    ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 hako-vm\n"),
    ("etc/resolv.conf", "nameserver 192.0.2.53\n"),
    ("etc/subgid", ""),
    ("etc/subuid", ""),
];

enum Node {
    Dir(u32),
    Link(String),
    Text(String),
    File(PathBuf),
}

/// Files by their path in the guest, without the leading slash.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// An empty system with the programs of the packages, those of `packages`
    /// as well, and further ones.
    pub(crate) fn system(packages: &[&str], others: &[&str]) -> Result<Self> {
        let mut tree = Tree::default();
        for (path, mode) in DIRS {
            tree.0.insert(path.to_owned(), Node::Dir(mode));
        }
        for (path, text) in FILES {
            tree.text(path, text);
        }
        // /bin and its like are links on Debian.
        for path in ["/bin", "/sbin", "/lib", "/lib64"] {
            tree.host(Path::new(path))?;
        }
        let mut programs = Vec::new();
        for path in MORE.iter().chain(others) {
            programs.push(tree.host(Path::new(path))?);
        }
        for path in listed(packages)? {
            if PROGRAM_DIRS.iter().any(|dir| path.starts_with(dir)) && Path::new(&path).exists() {
                programs.push(tree.host(Path::new(&path))?);
            }
        }
        for library in libraries(&programs)? {
            tree.host(&library)?;
        }
        Ok(tree)
    }

    /// Adds a file with this text.
    pub(crate) fn text(&mut self, path: &str, text: impl Into<String>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::Text(text.into()));
    }

    /// Adds a file of this machine under a path of its own.
    pub(crate) fn file(&mut self, path: &str, from: &Path) {
        self.parents(path);
        self.0
            .insert(path.to_owned(), Node::File(from.to_path_buf()));
    }

    /// Adds a file of this machine under its own path, links with what they
    /// name; returns the file at the end of the links.
    pub(crate) fn host(&mut self, path: &Path) -> Result<PathBuf> {
        let read = || format!("read {}", path.display());
        // The directory's own links are in the tree already.
        let dir = path.parent().unwrap_or(Path::new("/"));
        let dir = dir.canonicalize().with_context(read)?;
        let path = dir.join(path.file_name().with_context(read)?);
        let name = path.to_str().with_context(read)?.trim_start_matches('/');
        let metadata = path.symlink_metadata().with_context(read)?;
        self.parents(name);
        if metadata.is_symlink() {
            let target = fs::read_link(&path).with_context(read)?;
            let link = target.to_str().with_context(read)?.to_owned();
            self.0.insert(name.to_owned(), Node::Link(link));
            return self.host(&dir.join(target));
        }
        let node = if metadata.is_dir() {
            Node::Dir(0o755)
        } else {
            Node::File(path.clone())
        };
        self.0.insert(name.to_owned(), node);
        Ok(path)
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            if let Some(dir) = path.get(..at) {
                self.0.entry(dir.to_owned()).or_insert(Node::Dir(0o755));
            }
        }
    }

    /// Writes the archive.
    pub(crate) fn write(&self, to: &Path) -> Result<()> {
        let out = File::create(to).with_context(|| format!("create {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, out));
        // Parents come before their children, since they are shorter.
        for (path, node) in &self.0 {
            let add = || format!("put {path} into {}", to.display());
            match node {
                Node::Dir(mode) => archive.directory(path, *mode),
                Node::Link(target) => archive.symlink(path, target),
                Node::Text(text) => archive.file(path, 0o644, text.len() as u64, text.as_bytes()),
                Node::File(from) => {
                    let file =
                        File::open(from).with_context(|| format!("open {}", from.display()))?;
                    let metadata = file.metadata().with_context(add)?;
                    let mode = metadata.permissions().mode();
                    archive.file(path, mode, metadata.len(), file)
                }
            }
            .with_context(add)?;
        }
        archive
            .finish()
            .with_context(|| format!("write {}", to.display()))?;
        Ok(())
    }
}

/// The files of the packages.
fn listed(more: &[&str]) -> Result<Vec<String>> {
    let packages = [&PACKAGES[..], more].concat();
    let out = Command::new("dpkg-query")
        .arg("--listfiles")
        .args(&packages)
        .stdin(Stdio::null())
        .output()
        .context("run dpkg-query (the guest is made of Debian's packages)")?;
    if !out.status.success() {
        bail!(
            "packages are missing, of which the guest is made:\n{}\
             install them with 'sudo apt-get install {}'",
            String::from_utf8_lossy(&out.stderr),
            packages.join(" ")
        );
    }
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// The shared libraries of these programs, and of those libraries.
fn libraries(programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let out = Command::new("ldd")
        .args(programs)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("run ldd (package libc-bin)")?;
    // It fails for static programs and scripts, and goes on.
    let mut found = library_paths(&String::from_utf8_lossy(&out.stdout));
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// `libc.so.6 => /lib/x/libc.so.6 (0x1)` and `/lib64/ld.so (0x2)`.
fn library_paths(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (words, address) = line.trim().rsplit_once(' ')?;
        let path = words.rsplit(' ').next()?;
        (line.starts_with('\t') && address.starts_with("(0x") && path.starts_with('/'))
            .then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_prints() {
        let text = "/bin/a:\n\tlinux-vdso.so.1 (0x00ff)\n\tlibc.so.6 => /lib/libc.so.6 (0x12)\n\
                    \t/lib64/ld.so (0x3)\n\tnone.so => not found\n/bin/b:\n\tstatically linked\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld.so"].map(PathBuf::from);
        assert_eq!(library_paths(text), expected);
    }

    #[test]
    fn links_come_with_what_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("real")).unwrap();
        fs::write(dir.join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("../real/file", dir.join("real/link")).unwrap();
        let mut tree = Tree::default();
        let end = tree.host(&dir.join("real/link")).unwrap();
        assert_eq!(end, dir.join("real/file"));
        let name = dir.strip_prefix("/").unwrap().to_str().unwrap();
        let has = |path: &str| tree.0.contains_key(&format!("{name}/{path}"));
        assert!(has("real") && has("real/file") && has("real/link"));
        assert!(tree.host(&dir.join("none")).is_err());
    }
}
