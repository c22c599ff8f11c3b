//! `hako bundle`: configurations made by options, looked at, and run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{World, finish, hako, must};

/// A directory with busybox as its root file system.
fn bundle(world: &World) -> PathBuf {
    let dir = world.path("bundle");
    for name in ["bin", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(dir.join("rootfs").join(name)).unwrap();
    }
    let busybox = dir.join("rootfs/bin/busybox");
    must("cp", &["/bin/busybox", busybox.to_str().unwrap()]);
    for name in [
        "sh", "cat", "hostname", "grep", "mount", "umask", "id", "stat",
    ] {
        symlink("busybox", dir.join("rootfs/bin").join(name)).unwrap();
    }
    dir
}

/// Runs a bundle to its end; what it printed.
fn run(world: &World, dir: &Path) -> String {
    let id = format!("hako-bundles-{}", std::process::id());
    let mut command = Command::new(hako().with_file_name("hako-runtime"));
    command.arg("--root").arg(world.path("runtime"));
    command.args(["run", "--bundle"]).arg(dir).arg(id);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let result = finish(command.spawn().unwrap());
    assert_eq!(result.status, 0, "{result:?}");
    result.out
}

fn generated(world: &World, options: &[&str]) -> Value {
    let text = world.ok(&[&["bundle", "generate"], options].concat());
    serde_json::from_str(&text).unwrap()
}

/// What options ask for is what the process sees.
#[test]
fn options_are_seen_inside() {
    let world = World::new();
    let dir = bundle(&world);
    let file = dir.join("config.json");
    let vars = world.path("vars");
    fs::write(&vars, "# comment\nFROM_FILE=1\nGREETING=file\n").unwrap();
    let script = "echo $1 $GREETING $FROM_FILE; hostname; ulimit -Hn; ulimit -Sn; \
        grep CapBnd /proc/self/status; grep ' /scratch ' /proc/mounts; id -u; id -G; umask; \
        stat -c '%t %T %a' /dev/mine; cat /proc/sys/kernel/domainname; echo x 2>/dev/null > /x || echo refused";
    let cgroup = format!("/hako-bundles-{}", std::process::id());
    let args = [
        "bundle",
        "generate",
        "--args",
        "sh",
        "--args",
        "-c",
        "--args",
        script,
        "--args",
        "sh",
        "--args",
        "--it",
        "--process-terminal=false",
        "--env",
        "GREETING=hello",
        "--env-file",
        vars.to_str().unwrap(),
        "--hostname",
        "boxed",
        "--domainname",
        "lan",
        "--process-rlimits-add",
        "RLIMIT_NOFILE:64:32",
        "--process-cap-drop-all",
        "--process-cap-add-bounding",
        "CAP_KILL,CAP_CHOWN",
        "--process-cap-drop-bounding",
        "CAP_CHOWN",
        "--mount",
        "type=tmpfs,dst=/scratch,tmpfs-size=64k,ro",
        "--linux-device-add",
        "c:1:3:/dev/mine:fileMode=0640",
        "--process-uid",
        "7",
        "--process-gid",
        "8",
        "--process-groups",
        "9",
        "--set",
        "/process/user/umask=18",
        "--linux-cgroups-path",
        &cgroup,
        "--output",
        file.to_str().unwrap(),
    ];
    assert_eq!(world.ok(&args), "");
    let text = fs::read_to_string(&file).unwrap();
    for verb in [&["bundle", "validate"][..], &["conformance", "bundle"]] {
        let args = [verb, &[dir.to_str().unwrap()]].concat();
        assert_eq!(world.ok(&args), "all is well", "{text}");
    }
    let out = run(&world, &dir);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..4], ["--it hello 1", "boxed", "64", "32"], "{out}");
    assert_eq!(lines[4], "CapBnd:\t0000000000000020");
    assert!(
        lines[5].contains(" tmpfs ro,") && lines[5].contains("size=64k"),
        "{out}"
    );
    assert_eq!(
        lines[6..],
        ["7", "8 9", "0022", "1 3 640", "lan", "refused"]
    );
}

/// Without options it is the document of `hako-runtime spec`, and what options
/// made is a template for more.
#[test]
fn templates() {
    let world = World::new();
    let spec = |name: &str, options: &[&str]| -> Value {
        let mut command = Command::new(hako().with_file_name("hako-runtime"));
        command
            .arg("spec")
            .args(options)
            .arg("--file")
            .arg(world.path(name));
        assert!(command.status().unwrap().success());
        serde_json::from_slice(&fs::read(world.path(name)).unwrap()).unwrap()
    };
    // Which depends on the machine in one thing.
    let cgroup = |mut config: Value| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|it| it["type"] != "cgroup");
        config
    };
    assert_eq!(cgroup(generated(&world, &[])), cgroup(spec("plain", &[])));
    let rootless = cgroup(spec("rootless", &["--rootless"]));
    assert_eq!(cgroup(generated(&world, &["--rootless"])), rootless);
    let plain = world.path("plain").to_str().unwrap().to_owned();
    assert_eq!(
        cgroup(generated(&world, &["--rootless", "--template", &plain])),
        rootless
    );
    let first = world.ok(&[
        "bundle",
        "generate",
        "--rootfs-path",
        "/r",
        "--label",
        "a=b",
    ]);
    let again = world.input(
        &["bundle", "generate", "--template", "-", "--hostname="],
        first.as_bytes(),
    );
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(
        (&again["root"]["path"], &again["annotations"]["a"]),
        (&json!("/r"), &json!("b"))
    );
    assert_eq!(again["hostname"], Value::Null);
    let in_order = [
        "--unset",
        "/mounts/0",
        "--set",
        "/mounts/0/source=\"x\"",
        "--unset",
        "/mounts/1",
    ];
    let mounts = &generated(&world, &in_order)["mounts"];
    assert_eq!(
        (&mounts[0]["source"], mounts.as_array().unwrap().len()),
        (&json!("x"), 5)
    );
    let only = generated(
        &world,
        &[
            "--linux-seccomp-only",
            "--linux-seccomp-default",
            "log",
            "--linux-seccomp-remove-all",
        ],
    );
    assert_eq!(only["defaultAction"], "SCMP_ACT_LOG");
    assert_eq!(only["syscalls"], Value::Null);
}

/// Refused with words, and what was in the file stays there.
#[test]
fn what_is_refused() {
    let world = World::new();
    let file = world.path("config.json");
    fs::write(&file, "before").unwrap();
    fs::write(world.path("bad.json"), "{\"ociVersion\":1}").unwrap();
    let bad = world.path("bad.json").to_str().unwrap().to_owned();
    for (options, words) in [
        (
            &["--process-cwd", "rel"][..],
            "process.cwd: \"rel\" is not an absolute path (config.md \"Process\", from --process-cwd)",
        ),
        (
            &["--linux-pids-limit", "lots"],
            "--linux-pids-limit \"lots\"",
        ),
        (&["--linux-pids-limit", "-2"], "from --linux-pids-limit"),
        (&["--set", "/hostname=x"], "--set \"/hostname=x\""),
        (&["--unset", "/process/args"], "from --unset /process/args"),
        (&["--process-terminal=maybe"], "--process-terminal"),
        (&["--env-file", "/no/such/file"], "/no/such/file"),
        (&["--template", "/no/such/file"], "/no/such/file"),
        (&["--template", &bad], "at `ociVersion`"),
        (
            &["--windows-servicing"],
            "unexpected argument '--windows-servicing'",
        ),
        (&["--os", "solaris"], "solaris"),
    ] {
        let output = ["--output", file.to_str().unwrap()];
        let args = [&["bundle", "generate"], options, &output].concat();
        let err = world.fails(&args, 125);
        assert!(err.contains(words), "{options:?}: {err}");
        assert_eq!(fs::read(&file).unwrap(), b"before", "{options:?}");
    }
    // The misspelling of oci-runtime-tool's manual; a slip of the pen is told of.
    let args = [
        "bundle",
        "generate",
        "--linux-hugepape-limits-add",
        "2MB:1",
        "--set",
        "/hostnam=\"x\"",
        "--output",
        file.to_str().unwrap(),
    ];
    let result = world.run(&args);
    assert!(
        result.status == 0 && result.err.starts_with("warning: hostnam: is no property"),
        "{result:?}"
    );
    let config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        config["linux"]["resources"]["hugepageLimits"][0]["limit"],
        1
    );
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 2);
}

#[test]
fn completions_and_manuals_have_it() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = world.ok(&["internal", "completions", shell]);
        assert!(text.contains("linux-uidmappings"), "{shell}");
    }
    let man = world.path("man");
    world.ok(&["internal", "man", man.to_str().unwrap()]);
    let page = fs::read_to_string(man.join("hako-bundle-generate.1")).unwrap();
    assert!(page.contains("linux\\-uidmappings") && page.contains("hako bundle generate"));
}
