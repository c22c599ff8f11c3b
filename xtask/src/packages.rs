//! Debian packages that the tests use.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::privilege;

/// What the tests run or read, with the reason. Peers serve as oracles: their
/// answer is compared with ours.
const PACKAGES: [(&str, &str); 38] = [
    ("acl", "POSIX ACLs in layers"),
    ("attr", "extended attributes in layers"),
    ("bsdutils", "script: a terminal for engines' clients"),
    (
        "buildah",
        "images to pull, in both formats; engine above hako-runtime",
    ),
    ("busybox-static", "a rootfs that needs no libraries"),
    ("ca-certificates", "registries over TLS"),
    ("conmon", "between podman and hako-runtime"),
    ("containerd", "engine above hako-runtime"),
    ("criu", "checkpoints"),
    ("crun", "oracle: runtime"),
    ("docker-registry", "registry on loopback"),
    ("docker.io", "oracle: engine; engine above hako-runtime"),
    ("dpkg-dev", "packages made for tests"),
    ("e2fsprogs", "small file systems that fill up"),
    ("erofs-utils", "oracle: EROFS images"),
    ("gcc", "C helpers of tests"),
    ("gnupg", "signed package indexes"),
    (
        "golang-github-containers-common",
        "podman's seccomp profile",
    ),
    ("iproute2", "networks as seen from outside"),
    ("iptables", "firewalls that others have set up"),
    ("libc6-dev", "C helpers of tests"),
    ("libcap2-bin", "oracle: capabilities"),
    ("libseccomp-dev", "oracle: seccomp filters"),
    ("linux-libc-dev", "oracle: system call numbers"),
    ("nftables", "oracle: firewall rules"),
    ("openssl", "certificates for registries on loopback"),
    ("passt", "user-mode networking"),
    ("podman", "engine above hako-runtime"),
    ("procps", "processes as seen from outside"),
    ("runc", "oracle: runtime"),
    ("skopeo", "images pushed and copied by another tool"),
    ("strace", "system calls of the runtime"),
    ("tar", "oracle: archives"),
    ("uidmap", "rootless containers"),
    ("umoci", "oracle: unpacked images"),
    ("util-linux", "nsenter, unshare, losetup"),
    ("xz-utils", "oracle: compression"),
    ("zstd", "oracle: compression"),
];

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    for (name, reason) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        eprintln!("missing package: {name} ({reason})");
    }
    if !privilege::is_root() {
        bail!(
            "packages are missing: run 'sudo apt-get install {}'",
            missing.join(" ")
        );
    }
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Servers that packages bring along are not to be started here.
    apt.arg("--quiet=2")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    apt.stdin(Stdio::null());
    apt
}

fn missing() -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${db:Status-Abbrev} ${Package}\\n",
        ])
        .args(PACKAGES.iter().map(|(name, _)| name))
        .stderr(Stdio::null())
        .output()
        .context("run dpkg-query (the tests compare with tools from Debian's packages)")?;
    let installed = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = installed
        .lines()
        .filter_map(|line| line.strip_prefix("ii  "))
        .collect();
    Ok(PACKAGES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !installed.contains(name))
        .collect())
}
