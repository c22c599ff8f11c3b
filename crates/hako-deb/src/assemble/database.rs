//! dpkg's database (dpkg(1), deb-control(5)), so that dpkg and scanners see
//! what is installed.
//!
//! The packages are listed as installed although their scripts did not run:
//! scanners pass over other states. The scripts are in `info`, for
//! `dpkg-reconfigure`.

use super::{Content, Part, Tree};
use crate::control;
use crate::package::Entry;
use md5::{Digest as _, Md5};
use std::os::unix::fs::FileExt;

const DIRECTORY: &str = "var/lib/dpkg";

/// No configuration file comes near this.
const LARGEST_CONFFILE: u64 = 16 << 20;

pub(super) fn add(tree: &mut Tree, parts: &[Part]) {
    let mut status = String::new();
    for part in parts {
        status.push_str(&paragraph(part));
        status.push('\n');
        let base = format!("{DIRECTORY}/info/{}", info_name(part));
        tree.add_file(&format!("{base}.list"), list(&part.deb.entries));
        for (name, bytes) in &part.deb.info {
            let executable = matches!(
                name.as_str(),
                "config" | "preinst" | "postinst" | "prerm" | "postrm"
            );
            let mode = if executable { 0o755 } else { 0o644 };
            tree.add_file_mode(&format!("{base}.{name}"), bytes.clone(), mode);
        }
    }
    tree.add_file(&format!("{DIRECTORY}/info/format"), *b"1\n");
    for empty in ["available", "diversions", "statoverride"] {
        tree.add_file(&format!("{DIRECTORY}/{empty}"), *b"");
    }
    tree.add_dir(&format!("{DIRECTORY}/updates"), 0o755);
    // A package may ship the directory, never its contents.
    tree.nodes.remove(format!("{DIRECTORY}/status").as_bytes());
    tree.add_file(&format!("{DIRECTORY}/status"), status.into_bytes());
    debug_assert!(
        tree.get("var/lib/dpkg/status")
            .is_some_and(|n| n.content != Content::Dir)
    );
}

/// Packages that can be installed for several architectures carry theirs in
/// the names of their files.
fn info_name(part: &Part) -> String {
    let package = &part.candidate.package;
    let fields = control::single(&part.deb.control).unwrap_or_default();
    if fields.get("Multi-Arch") == Some("same") {
        format!("{}:{}", package.name, package.architecture)
    } else {
        package.name.clone()
    }
}

/// The control file with the state, and the sums of configuration files.
fn paragraph(part: &Part) -> String {
    let mut out = String::new();
    let fields = control::single(&part.deb.control).unwrap_or_default();
    for (name, value) in fields.fields() {
        out.push_str(name);
        // A value whose first line is empty has no space behind the colon.
        out.push_str(if value.is_empty() { ":" } else { ": " });
        out.push_str(value);
        out.push('\n');
        if name.eq_ignore_ascii_case("Package") {
            out.push_str("Status: install ok installed\n");
        }
    }
    let sums: Vec<String> = part
        .deb
        .info("conffiles")
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|path| path.starts_with('/'))
        .filter_map(|path| Some(format!(" {path} {}\n", md5_of(part, path)?)))
        .collect();
    if !sums.is_empty() {
        out.push_str("Conffiles:\n");
        out.push_str(&sums.concat());
    }
    out
}

fn md5_of(part: &Part, path: &str) -> Option<String> {
    let path = path.trim_start_matches('/').as_bytes();
    let entry = part.deb.entries.iter().find(|entry| entry.path == path)?;
    let crate::package::Content::File { offset, size, .. } = entry.content else {
        return None;
    };
    let mut bytes = vec![0; usize::try_from(size.min(LARGEST_CONFFILE)).ok()?];
    part.deb.spool.read_exact_at(&mut bytes, offset).ok()?;
    Some(crate::release::hex(&Md5::digest(&bytes)))
}

fn list(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"/.\n".to_vec();
    for entry in entries {
        out.push(b'/');
        out.extend(&entry.path);
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{part, part_with, text};
    use super::*;

    #[test]
    fn dpkg_reads_it() {
        let parts = [
            part_with(
                "a",
                "Multi-Arch: same",
                &["etc/", "etc/a.conf=x\n", "bin/a=!y"],
                &[("conffiles", "/etc/a.conf\n"), ("postinst", "#!/bin/sh\n")],
            ),
            part("b", "Depends: a", &["usr/share/b=z"]),
        ];
        let mut tree = Tree::default();
        add(&mut tree, &parts);
        assert_eq!(
            text(&tree, "var/lib/dpkg/info/a:amd64.list"),
            "/.\n/etc\n/etc/a.conf\n/bin/a\n"
        );
        assert_eq!(
            tree.get("var/lib/dpkg/info/a:amd64.postinst").unwrap().mode,
            0o755
        );
        let status = text(&tree, "var/lib/dpkg/status");
        assert!(
            status.contains("Conffiles:\n /etc/a.conf 401b30e3b8b5d629635a5c613cdb7919\n"),
            "{status}"
        );
        // dpkg-query is the judge.
        let dir = tempfile::tempdir().unwrap();
        for (path, node) in &tree.nodes {
            let path = dir.path().join(String::from_utf8(path.clone()).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &node.content {
                Content::Bytes(bytes) => std::fs::write(path, bytes).unwrap(),
                _ => std::fs::create_dir_all(path).unwrap(),
            }
        }
        let query = |args: &[&str]| {
            let out = std::process::Command::new("dpkg-query")
                .arg("--admindir")
                .arg(dir.path().join("var/lib/dpkg"))
                .args(args)
                .output()
                .expect("dpkg-query runs");
            assert!(
                out.status.success() && out.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(
            query(&["-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\\n"]),
            "a 1 ii \nb 1 ii \n"
        );
        assert_eq!(query(&["-L", "b"]), "/.\n/usr/share/b\n");
        assert_eq!(query(&["-S", "/bin/a"]), "a:amd64: /bin/a\n");
    }
}
