//! Images from the machine's own apt sources: these need the Debian mirror.

use crate::archive::Root;
use hako_deb::Options;
use hako_store::Owner;
use std::process::Command;
use std::time::Instant;

fn options(root: &Root) -> Options {
    Options::machine(root.path(), Owner::Cli(0)).unwrap()
}

/// Unpacks the layer with GNU tar and runs a command in it.
fn run(root: &Root, built: &hako_deb::Built, command: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("layer.tar");
    std::fs::write(
        &tar,
        root.store
            .blobs()
            .read(&built.layer.digest, 1 << 30)
            .unwrap(),
    )
    .unwrap();
    let rootfs = dir.path().join("rootfs");
    std::fs::create_dir(&rootfs).unwrap();
    let status = Command::new("tar")
        .arg("-xpf")
        .arg(&tar)
        .arg("-C")
        .arg(&rootfs)
        .status()
        .unwrap();
    assert!(status.success());
    let out = Command::new("chroot")
        .arg(&rootfs)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/bin:/usr/sbin")
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn busybox_says_hello() {
    let (one, two) = (Root::new(), Root::new());
    let start = Instant::now();
    let first = one.make("deb:busybox", &options(&one)).unwrap();
    let fresh = start.elapsed();
    let start = Instant::now();
    let again = one.make("deb:busybox", &options(&one)).unwrap();
    println!(
        "fresh {fresh:?}, again {:?}, layer {} bytes",
        start.elapsed(),
        first.layer.size
    );
    assert!(again.reused);
    let second = two.make("deb:busybox", &options(&two)).unwrap();
    assert_eq!(first, second);
    assert_eq!(
        run(&one, &first, &["echo", "hello from hako"]),
        "hello from hako\n"
    );
    assert_eq!(
        run(&one, &first, &["sh", "-c", "ls /usr/sbin/ip && id -un"]),
        "/usr/sbin/ip\nroot\n"
    );
}

#[test]
fn bash_and_coreutils() {
    let (one, two) = (Root::new(), Root::new());
    let first = one.make("deb:bash,coreutils", &options(&one)).unwrap();
    let second = two.make("deb:coreutils,bash", &options(&two)).unwrap();
    assert_eq!(first, second);
    let text = run(
        &one,
        &first,
        &[
            "bash",
            "-c",
            "echo $((6*7)); sort --version | head -1; awk 'BEGIN { print 1 }'; cat /etc/os-release | head -1",
        ],
    );
    assert!(
        text.starts_with("42\nsort (GNU coreutils)") && text.contains("\n1\nPRETTY_NAME="),
        "{text}"
    );
    // apt's own answer for the same request has the same versions.
    let names: Vec<&str> = first.packages.iter().map(|(n, _)| n.as_str()).collect();
    for name in [
        "bash",
        "coreutils",
        "libc6",
        "base-files",
        "libtinfo6",
        "mawk",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(
        !names.contains(&"perl-base") && !names.contains(&"apt"),
        "{names:?}"
    );
}
