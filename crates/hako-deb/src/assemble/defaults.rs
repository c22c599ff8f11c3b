//! Files that packages keep as templates and their scripts put in place at
//! the first installation.

use super::{Part, Tree};
use crate::error::Result;

/// The template's place, the file's, and its mode (the postinst scripts of
/// base-files, base-passwd and libc-bin).
const COPIES: [(&str, &str, u32); 7] = [
    ("usr/share/base-files/profile", "etc/profile", 0o644),
    ("usr/share/base-files/motd", "etc/motd", 0o644),
    ("usr/share/base-files/dot.profile", "root/.profile", 0o644),
    ("usr/share/base-files/dot.bashrc", "root/.bashrc", 0o644),
    ("usr/share/base-passwd/passwd.master", "etc/passwd", 0o644),
    ("usr/share/base-passwd/group.master", "etc/group", 0o644),
    (
        "usr/share/libc-bin/nsswitch.conf",
        "etc/nsswitch.conf",
        0o644,
    ),
];

/// No template comes near this.
const LARGEST: u64 = 1 << 20;

pub(super) fn add(tree: &mut Tree, parts: &[Part]) -> Result<()> {
    for (from, to, mode) in COPIES {
        if let Some(bytes) = tree.read(parts, from, LARGEST)? {
            tree.add_file_mode(to, bytes, mode);
        }
    }
    shells(tree, parts)
}

/// `/etc/shells` from what shells say of themselves (update-shells(8) of
/// debianutils).
fn shells(tree: &mut Tree, parts: &[Part]) -> Result<()> {
    let files: Vec<String> = tree
        .below("usr/share/debianutils/shells.d")
        .filter_map(|(path, _)| String::from_utf8(path.to_vec()).ok())
        .collect();
    let mut names = Vec::new();
    for file in files {
        let bytes = tree.read(parts, &file, LARGEST)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for line in text.lines().map(str::trim).filter(|l| l.starts_with('/')) {
            names.push(line.to_owned());
            if let Some(rest) = line.strip_prefix("/bin/") {
                names.push(format!("/usr/bin/{rest}"));
            }
        }
    }
    if !names.is_empty() {
        names.sort();
        names.dedup();
        tree.add_file(
            "etc/shells",
            format!("# /etc/shells: valid login shells\n{}\n", names.join("\n")).into_bytes(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{part, text};
    use super::*;

    #[test]
    fn templates_and_shells() {
        let parts = [part(
            "p",
            "",
            &[
                "usr/share/base-passwd/passwd.master=root:*:0:0:root:/root:/bin/bash\n",
                "usr/share/base-files/motd=hi",
                "etc/motd=own",
                "usr/share/debianutils/shells.d/dash=/bin/sh\n/bin/dash\n# x\n",
            ],
        )];
        let mut tree = super::super::merge::merge(&parts).unwrap();
        add(&mut tree, &parts).unwrap();
        assert!(text(&tree, "etc/passwd").starts_with("root:"));
        assert_eq!(tree.read(&parts, "etc/motd", 10).unwrap().unwrap(), b"own");
        assert!(
            text(&tree, "etc/shells")
                .ends_with("\n/bin/dash\n/bin/sh\n/usr/bin/dash\n/usr/bin/sh\n")
        );
    }
}
