//! Images from the machine's own apt sources: these need the Debian mirror.

use crate::archive::Root;
use hako_deb::{Event, Options};
use hako_distribution::http::Http;
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
    // busybox itself lists its programs: each has a link, but for the init
    // of a first file system.
    let script =
        "for a in $(busybox --list); do [ -e /usr/bin/$a ] || [ -e /usr/sbin/$a ] || echo $a; done";
    assert_eq!(run(&one, &first, &["sh", "-c", script]), "linuxrc\n");
    assert_eq!(
        run(&one, &first, &["sh", "-c", "ls /usr/sbin/ip && id -un"]),
        "/usr/sbin/ip\nroot\n"
    );
}

#[test]
fn another_release_and_architecture() {
    let root = Root::new();
    let built = root.make("busybox-static@trixie", &options(&root)).unwrap();
    assert_eq!(built.name, "localhost/deb/busybox-static:trixie");
    assert_eq!(
        run(
            &root,
            &built,
            &["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"]
        ),
        "trixie\n"
    );
    let built = root.make("busybox-static:arm64", &options(&root)).unwrap();
    let config = root.store.blobs().read(&built.config, 1 << 20).unwrap();
    let config = String::from_utf8(config).unwrap();
    assert!(config.contains("\"architecture\":\"arm64\""), "{config}");
    let paths: Vec<_> = root.files(&built).into_iter().map(|e| e.path).collect();
    assert!(paths.contains(&b"usr/bin/echo".to_vec()));
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

/// The same packages in the same versions as apt would install on a system
/// that has nothing. apt works in directories of its own.
#[test]
fn chooses_what_apt_chooses() {
    let apt = tempfile::tempdir().unwrap();
    let dir = apt.path().display();
    for sub in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apt.path().join(sub)).unwrap();
    }
    std::fs::write(apt.path().join("status"), "").unwrap();
    let settings = format!(
        "Dir::Etc::parts \"/dev/null\"; Dir::State \"{dir}\"; Dir::State::status \"{dir}/status\"; Dir::Cache \"{dir}/cache\";\n\
         Acquire::Languages \"none\"; Acquire::Check-Valid-Until \"false\"; Acquire::Check-Date \"false\";\n\
         APT::Sandbox::User \"root\"; APT::Install-Recommends \"false\";\n"
    );
    let config = apt.path().join("apt.conf");
    std::fs::write(&config, settings).unwrap();
    let run = |args: &[&str]| {
        let out = Command::new("apt-get")
            .env("APT_CONFIG", &config)
            .args(args)
            .output()
            .expect("apt-get runs");
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "apt-get {args:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    };
    run(&["update"]);
    let root = Root::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for request in [
        "bash,coreutils",
        "ca-certificates,curl",
        "python3",
        "git,openssh-client",
        "nginx",
        "openjdk-17-jre-headless",
    ] {
        let mut args = vec!["-s", "install"];
        args.extend(request.split(','));
        let simulated = run(&args);
        let theirs: std::collections::BTreeSet<String> = simulated
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "))
            .map(|line| {
                let mut words = line.split([' ', '(']).filter(|w| !w.is_empty());
                format!("{} {}", words.next().unwrap(), words.next().unwrap())
            })
            .collect();
        let request: hako_deb::Request = request.parse().unwrap();
        let (options, http) = (options(&root), Http::default());
        let silent = |_: Event| {};
        let ours: std::collections::BTreeSet<String> = runtime
            .block_on(hako_deb::plan(&request, &options, &http, &silent))
            .unwrap()
            .iter()
            .map(|p| format!("{} {}", p.name, p.version))
            .collect();
        assert!(ours.len() > 3);
        assert_eq!(ours, theirs, "{request}");
    }
}
