//! The flags of `hako run`.

use crate::support::World;

/// What a script prints in a container with these flags.
fn says(world: &World, flags: &[&str], script: &str) -> String {
    let result = world.sh(flags, script);
    assert_eq!(result.status, 0, "{flags:?} {script}: {result:?}");
    result.out.trim_end().to_owned()
}

#[test]
fn environment() {
    let world = World::with_image();
    let file = world.path("env");
    std::fs::write(&file, "# no\nA=file\nB=file\nHAKO_TEST_PASSED\n").unwrap();
    let file = file.to_str().unwrap();
    let out = says(
        &world,
        &["--env-file", file, "-e", "A=flag", "-e", "NONE_SUCH"],
        "env",
    );
    for line in ["A=flag", "B=file", "PATH=/bin", "HOME=/root"] {
        assert!(out.lines().any(|l| l == line), "{line} in {out}");
    }
    assert!(!out.contains("NONE_SUCH") && !out.contains("HAKO_TEST_PASSED"));
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "-e",
        "HAKO_TEST_PASSED",
        "bb",
        "env",
    ];
    let out = world
        .command(&args)
        .env("HAKO_TEST_PASSED", "yes")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("HAKO_TEST_PASSED=yes"));
}

#[test]
fn who_and_where() {
    let world = World::with_image();
    assert_eq!(says(&world, &["-w", "/etc"], "pwd"), "/etc");
    assert_eq!(
        says(&world, &["-u", "ann"], "id -u; id -g; echo $HOME"),
        "1234\n1234\n/home"
    );
    assert_eq!(says(&world, &["-u", "55:66"], "id -u; id -g"), "55\n66");
    assert!(says(&world, &["-u", "ann", "--group-add", "extra"], "id -G").contains("77"));
    assert_eq!(
        says(&world, &["-h", "box"], "hostname; cat /etc/hostname"),
        "box\nbox"
    );
    assert_eq!(
        says(
            &world,
            &["--add-host", "x.test:10.1.2.3"],
            "grep x.test /etc/hosts"
        )
        .split_whitespace()
        .next(),
        Some("10.1.2.3")
    );
    let resolv = says(
        &world,
        &["--dns", "192.0.2.1", "--dns-search", "s.test"],
        "cat /etc/resolv.conf",
    );
    assert!(
        resolv.contains("nameserver 192.0.2.1") && resolv.contains("search s.test"),
        "{resolv}"
    );
}

#[test]
fn commands_and_entrypoints() {
    let world = World::with_image();
    let run = |flags: &[&str], words: &[&str]| {
        let args = [&["run", "--rm", "--network", "none"], flags, &["bb"], words].concat();
        world.ok(&args)
    };
    assert_eq!(
        run(&["--entrypoint", "echo"], &["a", "-b", "--rm"]),
        "a -b --rm"
    );
    assert_eq!(run(&["--entrypoint", ""], &["echo", "x"]), "x");
    assert_eq!(run(&[], &["echo", "--", "-e"]), "-- -e");
    let err = world.fails(&["run", "--rm", "--entrypoint", "", "bb"], 125);
    assert!(err.contains("names no command"), "{err}");
    // The image's own command reads its input.
    let result = world.input(
        &["run", "--rm", "-i", "--network", "none", "bb"],
        b"echo piped\n",
    );
    assert_eq!(result.out, "piped\n");
}

#[test]
fn files() {
    let world = World::with_image();
    let dir = world.path("shared");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "host").unwrap();
    let bind = format!("{}:/data", dir.display());
    assert_eq!(
        says(&world, &["-v", &bind], "cat /data/f; echo new > /data/g"),
        "host"
    );
    assert_eq!(std::fs::read_to_string(dir.join("g")).unwrap(), "new\n");
    let read_only = format!("{bind}:ro");
    assert_ne!(world.sh(&["-v", &read_only], "touch /data/h").status, 0);
    assert_ne!(world.sh(&["--read-only"], "touch /x").status, 0);
    assert_eq!(
        says(
            &world,
            &["--read-only", "--tmpfs", "/tmp:size=1m"],
            "touch /tmp/x; echo ok"
        ),
        "ok"
    );
    assert_eq!(says(&world, &["-v", "vol:/v"], "echo kept > /v/f"), "");
    assert_eq!(says(&world, &["-v", "vol:/v"], "cat /v/f"), "kept");
    assert!(says(&world, &["--shm-size", "1m"], "mount | grep shm").contains("size=1024k"));
    world.assert_empty();
}

#[test]
fn limits() {
    let world = World::with_image();
    assert_eq!(
        says(
            &world,
            &["--ulimit", "nofile=100:200"],
            "ulimit -n; ulimit -Hn"
        ),
        "100\n200"
    );
    let args = [
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "-c",
        "512",
    ];
    // One of the two versions of cgroups is there.
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; \
                  cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max; true";
    let out = says(&world, &args, &format!("({script}) 2>/dev/null"));
    assert_eq!(out, "67108864\n50");
}

#[test]
fn privileges() {
    let world = World::with_image();
    let caps = |flags: &[&str]| {
        says(&world, flags, "grep CapEff /proc/self/status")
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(caps(&[]), "00000000a80425fb");
    assert_eq!(caps(&["--cap-drop", "ALL"]), "0000000000000000");
    assert_eq!(
        caps(&["--cap-drop", "ALL", "--cap-add", "net_admin"]),
        "0000000000001000"
    );
    let all = u64::from_str_radix(&caps(&["--privileged"]), 16).unwrap();
    assert!(all & (1 << 21) != 0, "CAP_SYS_ADMIN in {all:x}");
    let status = |flags: &[&str], what: &str| {
        let script = format!("grep {what}: /proc/self/status");
        says(&world, flags, &script)
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(status(&[], "Seccomp"), "2");
    assert_eq!(
        status(&["--security-opt", "seccomp=unconfined"], "Seccomp"),
        "0"
    );
    assert_eq!(
        status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"),
        "1"
    );
    let err = world.fails(&["run", "--rm", "--cap-add", "NOPE", "bb", "true"], 125);
    assert!(err.contains("no such capability"), "{err}");
}

#[test]
fn names_and_files_with_ids() {
    let world = World::with_image();
    let file = world.path("cid");
    let cidfile = file.to_str().unwrap();
    let id = world.ok(&["create", "--name", "a", "--cidfile", cidfile, "bb", "true"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    let err = world.fails(&["create", "--name", "a", "bb", "true"], 125);
    assert!(err.contains("in use by container"), "{err}");
    world.fails(&["create", "--cidfile", cidfile, "bb", "true"], 125);
    let err = world.fails(&["create", "--name", "a b", "bb", "true"], 125);
    assert!(err.contains("container name"), "{err}");
    let new = world.ok(&["create", "--replace", "--name", "a", "bb", "true"]);
    assert_ne!(new, id);
    assert_eq!(world.ok(&["ps", "-aq", "--no-trunc"]), new);
    // A file is not left where no container was made.
    let other = world.path("other");
    world.fails(
        &[
            "create",
            "--cidfile",
            other.to_str().unwrap(),
            "--name",
            "a",
            "bb",
        ],
        125,
    );
    assert!(!other.exists());
}

#[test]
fn when_to_pull() {
    let world = World::new();
    let image = crate::support::image();
    let err = world.fails(
        &["run", "--rm", "--pull", "never", "localhost/none", "true"],
        125,
    );
    assert!(err.contains("localhost/none"), "{err}");
    let run = ["run", "--rm", "--network", "none"];
    world.ok(&[&run[..], &["--pull", "never", &image, "true"]].concat());
    world.ok(&[
        &run[..],
        &["--pull", "never", "localhost/layout:bb", "true"],
    ]
    .concat());
    let id = world.ok(&["images", "-q"]);
    world.ok(&[&run[..], &[&id, "true"]].concat());
    let err = world.fails(
        &[&run[..], &["--platform", "linux/s390x", &image, "true"]].concat(),
        125,
    );
    assert!(err.contains("s390x"), "{err}");
}
