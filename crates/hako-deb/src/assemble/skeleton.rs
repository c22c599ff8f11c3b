//! What every image has, whatever its packages: the directories that a
//! runtime mounts over and programs expect, users and groups, and a name for
//! the system.

use super::{Basis, Tree};

/// Directories and their modes (Filesystem Hierarchy Standard, and
/// base-files).
const DIRECTORIES: [(&str, u32); 20] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// The users that Debian allocates statically and container programs use
/// (Debian Policy 9.2.2: 0-99 are the same on every system).
const USERS: [(&str, u32, u32, &str); 6] = [
    ("daemon", 1, 1, "/usr/sbin"),
    ("bin", 2, 2, "/bin"),
    ("sys", 3, 3, "/dev"),
    ("mail", 8, 8, "/var/mail"),
    ("www-data", 33, 33, "/var/www"),
    ("nobody", 65534, 65534, "/nonexistent"),
];

const GROUPS: [(&str, u32); 22] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("mail", 8),
    ("kmem", 15),
    ("dialout", 20),
    ("cdrom", 24),
    ("sudo", 27),
    ("audio", 29),
    ("www-data", 33),
    ("operator", 37),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("plugdev", 46),
    ("staff", 50),
    ("users", 100),
    ("nogroup", 65534),
];

pub(super) fn add(tree: &mut Tree, basis: &Basis<'_>) {
    for (path, mode) in DIRECTORIES {
        tree.add_dir(path, mode);
    }
    tree.add_link("var/run", "/run");
    let shell = if tree.contains("usr/bin/bash") {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let mut passwd = format!("root:*:0:0:root:/root:{shell}\n");
    for (name, uid, gid, home) in USERS {
        passwd.push_str(&format!(
            "{name}:*:{uid}:{gid}:{name}:{home}:/usr/sbin/nologin\n"
        ));
    }
    tree.add_file("etc/passwd", passwd.into_bytes());
    let group: String = GROUPS
        .iter()
        .map(|(name, gid)| format!("{name}:*:{gid}:\n"))
        .collect();
    tree.add_file("etc/group", group.into_bytes());
    tree.add_file(
        "etc/nsswitch.conf",
        *b"passwd: files\ngroup: files\nhosts: files dns\n",
    );
    if !tree.contains("usr/lib/os-release") && !tree.contains("etc/os-release") {
        tree.add_file("usr/lib/os-release", os_release(basis).into_bytes());
    }
    tree.add_link("etc/os-release", "../usr/lib/os-release");
}

/// os-release(5) from what the release says of itself, without the minor
/// version, so that a point release that changes no package changes nothing.
fn os_release(basis: &Basis<'_>) -> String {
    let origin = basis.release.origin.as_deref().unwrap_or("Debian");
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-._ ".contains(*c))
            .collect()
    };
    let id = plain(origin).to_ascii_lowercase().replace(' ', "-");
    let name = if id == "debian" {
        "Debian GNU/Linux".to_owned()
    } else {
        plain(origin)
    };
    let codename = basis.release.codename.as_deref().map(plain);
    let codename = codename.map(|c| c.split('-').next().unwrap_or_default().to_owned());
    let version = basis.release.version.as_deref().map(|v| {
        if id == "debian" {
            plain(v.split('.').next().unwrap_or(v))
        } else {
            plain(v)
        }
    });
    let mut text = match (&version, &codename) {
        (Some(version), _) => format!("PRETTY_NAME=\"{name} {version}\"\n"),
        (None, Some(codename)) => format!("PRETTY_NAME=\"{name} {codename}\"\n"),
        (None, None) => format!("PRETTY_NAME=\"{name}\"\n"),
    };
    text.push_str(&format!("NAME=\"{name}\"\nID={id}\n"));
    if let Some(version) = version {
        text.push_str(&format!("VERSION_ID=\"{version}\"\n"));
    }
    if let Some(codename) = codename {
        text.push_str(&format!("VERSION_CODENAME={codename}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{basis, release, text};
    use super::*;

    #[test]
    fn what_packages_lack_and_nothing_else() {
        let release = release();
        let mut tree = Tree::default();
        tree.add_file("etc/group", *b"own\n");
        tree.add_dir("tmp", 0o700);
        add(&mut tree, &basis(&release));
        assert_eq!(text(&tree, "etc/group"), "own\n");
        assert_eq!(tree.get("tmp").unwrap().mode, 0o700);
        assert_eq!(tree.get("var/tmp").unwrap().mode, 0o1777);
        assert!(text(&tree, "etc/passwd").starts_with("root:*:0:0:root:/root:/bin/sh\n"));
        assert_eq!(
            text(&tree, "usr/lib/os-release"),
            "PRETTY_NAME=\"Debian GNU/Linux 12\"\nNAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"
        );
    }

    #[test]
    fn a_release_cannot_write_lines() {
        let mut release = release();
        release.origin = Some("X\"\nEVIL=1".to_owned());
        let text = os_release(&basis(&release));
        assert!(!text.contains("\nEVIL=1"), "{text}");
    }
}
