//! Packages in memory for the tests of this module.

use super::*;
use crate::index::parse_record;
use crate::package::{Content as Packed, Entry};
use std::io::Write;

/// A package of version 1; entries are `dir/`, `link -> target`,
/// `name=contents`; the contents may begin with `!` for an executable.
pub(crate) fn part(name: &str, fields: &str, entries: &[&str]) -> Part {
    part_with(name, fields, entries, &[])
}

pub(crate) fn part_with(name: &str, fields: &str, entries: &[&str], info: &[(&str, &str)]) -> Part {
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: d\n long\n{fields}"
    );
    let record = format!(
        "{}\nFilename: {name}.deb\nSize: 1\nSHA256: {}\n",
        control.trim_end(),
        "ab".repeat(32)
    );
    let mut spool = tempfile::tempfile().unwrap();
    let mut list = Vec::new();
    let mut offset = 0;
    for (inode, text) in entries.iter().enumerate() {
        let (path, content, mode) = if let Some(dir) = text.strip_suffix('/') {
            (dir, Packed::Dir, 0o755)
        } else if let Some((path, target)) = text.split_once(" -> ") {
            (path, Packed::Symlink(target.into()), 0o777)
        } else {
            let (path, data) = text.split_once('=').unwrap();
            let (data, mode) = data.strip_prefix('!').map_or((data, 0o644), |d| (d, 0o755));
            spool.write_all(data.as_bytes()).unwrap();
            let content = Packed::File {
                offset,
                size: data.len() as u64,
                inode,
            };
            offset += data.len() as u64;
            (path, content, mode)
        };
        list.push(Entry {
            path: path.into(),
            content,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_000_000,
            xattrs: Vec::new(),
        });
    }
    Part {
        candidate: Candidate {
            package: parse_record(&record).unwrap(),
            origin: 0,
        },
        deb: Deb {
            control,
            info: info
                .iter()
                .map(|(n, t)| ((*n).to_owned(), t.as_bytes().to_vec()))
                .collect(),
            entries: list,
            spool,
        },
        requested: true,
    }
}

pub(crate) fn release() -> Release {
    crate::release::parse("Origin: Debian\nCodename: bookworm\nVersion: 12.15\n").unwrap()
}

pub(crate) fn basis(release: &Release) -> Basis<'_> {
    Basis {
        release,
        architecture: "amd64",
        epoch: None,
    }
}

/// The text of a file that was made.
pub(crate) fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(
        tree.read(&[], path, u64::MAX)
            .unwrap()
            .unwrap_or_else(|| panic!("{path}")),
    )
    .unwrap()
}

#[test]
fn a_whole_tree() {
    let release = release();
    let parts = [
        part_with(
            "a",
            "",
            &["bin/", "bin/a=!x"],
            &[("md5sums", "00  bin/a\n"), ("postinst", "#!/bin/sh\n")],
        ),
        part("b", "Depends: a\n", &["usr/share/b=y"]),
    ];
    let made = assemble(&parts, &basis(&release)).unwrap();
    assert_eq!(made.created, 1_000_000);
    for path in [
        "tmp",
        "etc/passwd",
        "etc/group",
        "var/lib/dpkg/status",
        "var/lib/dpkg/info/a.list",
        "var/lib/hako/sbom.spdx.json",
        "etc/os-release",
        "dev",
        "proc",
        "sys",
    ] {
        assert!(made.tree.contains(path), "{path}");
    }
    assert!(
        made.tree
            .nodes
            .values()
            .all(|n| n.mtime.is_some_and(|t| t <= 1_000_000))
    );
    let early = assemble(
        &parts,
        &Basis {
            epoch: Some(5),
            ..basis(&release)
        },
    )
    .unwrap();
    assert_eq!(early.created, 5);
    assert!(early.tree.nodes.values().all(|n| n.mtime == Some(5)));
}
