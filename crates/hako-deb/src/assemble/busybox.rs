//! The names of busybox's programs, as `busybox --install -s` would link
//! them, without running it: Debian's packages ship the one binary alone.
//!
//! busybox keeps its names as one table: NUL-terminated, sorted by their
//! bytes, beginning with `[` and `[[` (include/applet_tables.h of a build).

use super::{Content, Part, Tree};
use crate::error::{Error, Result};

/// No busybox comes near this.
const LARGEST: u64 = 64 << 20;

/// A name is at most this long.
const LONGEST: usize = 32;

/// Programs that must be in a table for it to be taken for one.
const SURE: [&str; 4] = ["[", "cat", "echo", "sh"];

/// Programs that administrators' paths have (`install_loc` in busybox's
/// applets.h: BB_DIR_SBIN and BB_DIR_USR_SBIN). All others go to `bin`.
const SBIN: [&str; 97] = [
    "acpid",
    "add-shell",
    "addgroup",
    "adduser",
    "adjtimex",
    "arp",
    "arping",
    "blkid",
    "blockdev",
    "bootchartd",
    "brctl",
    "chat",
    "chpasswd",
    "chroot",
    "crond",
    "delgroup",
    "deluser",
    "depmod",
    "devmem",
    "dhcprelay",
    "dnsd",
    "ether-wake",
    "fakeidentd",
    "fbset",
    "fbsplash",
    "fdformat",
    "fdisk",
    "findfs",
    "freeramdisk",
    "fsck",
    "fsck.minix",
    "fsfreeze",
    "fstrim",
    "ftpd",
    "getty",
    "halt",
    "hdparm",
    "httpd",
    "hwclock",
    "i2cdetect",
    "i2cdump",
    "i2cget",
    "i2cset",
    "i2ctransfer",
    "ifconfig",
    "ifdown",
    "ifenslave",
    "ifplugd",
    "ifup",
    "inetd",
    "init",
    "insmod",
    "ip",
    "ipaddr",
    "iplink",
    "ipneigh",
    "iproute",
    "iprule",
    "iptunnel",
    "killall5",
    "klogd",
    "loadfont",
    "loadkmap",
    "logread",
    "losetup",
    "lsmod",
    "mdev",
    "mkdosfs",
    "mke2fs",
    "mkswap",
    "modinfo",
    "modprobe",
    "nameif",
    "nologin",
    "ntpd",
    "partprobe",
    "pivot_root",
    "poweroff",
    "rdate",
    "reboot",
    "rmmod",
    "route",
    "run-init",
    "setconsole",
    "start-stop-daemon",
    "swapoff",
    "swapon",
    "switch_root",
    "sysctl",
    "syslogd",
    "telnetd",
    "tftpd",
    "udhcpc",
    "udhcpd",
    "uevent",
    "vconfig",
    "watchdog",
];

/// The names in a busybox binary. `None` where no table of names is found.
pub fn applets(binary: &[u8]) -> Option<Vec<String>> {
    const START: &[u8] = b"[\0[[\0";
    let starts = binary
        .windows(START.len())
        .enumerate()
        .filter(|(_, window)| *window == START);
    for (start, _) in starts {
        let mut names: Vec<String> = Vec::new();
        let mut rest = binary.get(start..).unwrap_or_default();
        while let Some(end) = rest.iter().take(LONGEST + 1).position(|c| *c == 0) {
            let (name, tail) = rest.split_at(end);
            let plain =
                |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-.[".contains(c);
            if name.is_empty() || !name.iter().all(plain) {
                break;
            }
            let name = String::from_utf8_lossy(name).into_owned();
            if names.last().is_some_and(|last| *last >= name) {
                break;
            }
            names.push(name);
            rest = tail.get(1..).unwrap_or_default();
        }
        if SURE.iter().all(|sure| names.iter().any(|n| n == sure)) {
            return Some(names);
        }
    }
    None
}

/// Links what nothing else provides, if busybox was asked for by name.
pub(super) fn add(tree: &mut Tree, parts: &[Part]) -> Result<()> {
    let is_busybox = |part: &&Part| {
        matches!(
            part.candidate.package.name.as_str(),
            "busybox" | "busybox-static"
        )
    };
    let Some(part) = parts.iter().filter(|p| p.requested).find(is_busybox) else {
        return Ok(());
    };
    let Some(binary) = tree.read(parts, "usr/bin/busybox", LARGEST)? else {
        return Ok(());
    };
    let names = applets(&binary).ok_or_else(|| Error::Malformed {
        what: format!(
            "package {} {}",
            part.candidate.package.name, part.candidate.package.version
        ),
        reason: "the names of its programs are not found in /usr/bin/busybox".to_owned(),
    })?;
    for name in names {
        // An init for the kernel's first file system, at the root.
        if name == "linuxrc" || has(tree, &name) {
            continue;
        }
        if SBIN.contains(&name.as_str()) {
            tree.add_link(&format!("usr/sbin/{name}"), "../bin/busybox");
        } else {
            tree.add_link(&format!("usr/bin/{name}"), "busybox");
        }
    }
    Ok(())
}

fn has(tree: &Tree, name: &str) -> bool {
    ["usr/bin", "usr/sbin"].iter().any(|dir| {
        tree.get(&format!("{dir}/{name}"))
            .is_some_and(|node| node.content != Content::Dir)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::part;
    use super::*;
    use proptest::prelude::*;

    const BINARY: &str =
        "\u{7f}ELF\0[\0[[\0junk\0\0more\0[\0[[\0cat\0echo\0ip\0linuxrc\0sh\0vi\0\0/var/log\0";

    #[test]
    fn reads_the_table() {
        assert_eq!(
            applets(BINARY.as_bytes()).unwrap(),
            ["[", "[[", "cat", "echo", "ip", "linuxrc", "sh", "vi"]
        );
        assert_eq!(applets(b"x[\0[[\0cat\0echo\0sh\0").unwrap().len(), 5);
        assert_eq!(applets(b"[\0[[\0cat\0sh\0echo\0"), None);
        assert_eq!(applets(b""), None);
    }

    #[test]
    fn links_what_nothing_else_provides() {
        let binary = format!("bin/busybox=!{BINARY}");
        let parts = [
            part("busybox", "", &[&binary]),
            part("dash", "", &["bin/sh -> dash", "bin/dash=!"]),
        ];
        let mut tree = super::super::merge::merge(&parts).unwrap();
        add(&mut tree, &parts).unwrap();
        let target = |path: &str| match &tree.get(path).unwrap().content {
            Content::Symlink(target) => String::from_utf8(target.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target("usr/bin/sh"), "dash");
        assert_eq!(target("usr/bin/echo"), "busybox");
        assert_eq!(target("usr/sbin/ip"), "../bin/busybox");
        assert!(tree.contains("usr/bin/[") && !tree.contains("usr/bin/linuxrc"));
        let mut parts = parts;
        parts[0].requested = false;
        let mut tree = super::super::merge::merge(&parts).unwrap();
        add(&mut tree, &parts).unwrap();
        assert!(!tree.contains("usr/bin/echo"));
        let broken = [part("busybox-static", "", &["bin/busybox=!x"])];
        let mut tree = super::super::merge::merge(&broken).unwrap();
        assert!(
            add(&mut tree, &broken)
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0usize..100) {
            let _ = applets(&bytes);
            let at = at.min(bytes.len());
            bytes.splice(at..at, *b"\0[\0[[\0");
            let _ = applets(&bytes);
        }
    }
}
