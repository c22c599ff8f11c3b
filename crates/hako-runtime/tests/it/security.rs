//! Known attacks on runtimes, each named after where it was seen first
//! (descriptors that leak: `passing`; capabilities: `process`; terminals:
//! `terminal`).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{BIN, Bundle, copy_program, host_mounts, patience, until};

/// A copy of the runtime that an attack may destroy.
fn copy_of_runtime(b: &Bundle) -> PathBuf {
    let path = b.path("hako-runtime");
    copy_program(BIN.as_ref(), &path);
    path
}

fn executable(path: &Path, content: &[u8]) {
    let text = path.with_extension("new");
    fs::write(&text, content).unwrap();
    copy_program(&text, path);
    fs::remove_file(text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An ELF file whose interpreter is `/proc/self/exe`.
fn elf_with_interpreter() -> Vec<u8> {
    let interpreter = b"/proc/self/exe\0";
    let mut elf: Vec<u8> = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let machine: u16 = if cfg!(target_arch = "x86_64") {
        62
    } else {
        183
    };
    let head = 64 + 2 * 56u64;
    let size = head + interpreter.len() as u64;
    for v in [3u16, machine] {
        elf.extend(v.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    for v in [head, 64, 0u64] {
        elf.extend(v.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for v in [64u16, 56, 2, 64, 0, 0] {
        elf.extend(v.to_le_bytes());
    }
    let interp_size = interpreter.len() as u64;
    for (kind, flags, offset, address, length) in
        [(3u32, 4u32, head, head, interp_size), (1, 5, 0, 0, size)]
    {
        elf.extend(kind.to_le_bytes());
        elf.extend(flags.to_le_bytes());
        for v in [offset, address, address, length, length, 0x1000] {
            elf.extend(v.to_le_bytes());
        }
    }
    elf.extend(interpreter);
    elf
}

/// CVE-2019-5736: a program that is the runtime's own binary, by name, by a
/// link, in a `#!` line, and as an interpreter.
#[test]
fn cve_2019_5736_the_program_is_never_the_hosts_binary() {
    let mut b = Bundle::sleeper();
    let bin = b.rootfs().join("bin");
    symlink("/proc/self/exe", bin.join("link")).unwrap();
    executable(&bin.join("script"), b"#!/proc/self/exe\n");
    executable(&bin.join("elf"), &elf_with_interpreter());
    let runtime = copy_of_runtime(&b);
    let before = fs::read(&runtime).unwrap();
    let ways = [
        "/proc/self/exe",
        "/bin/link",
        "/bin/script",
        "/bin/elf",
        "/proc/self/fd/3",
    ];
    let call = |b: &Bundle, args: &[&str]| {
        let mut command = Command::new(&runtime);
        command
            .arg("--root")
            .arg(b.records())
            .args(args)
            .stdin(Stdio::null());
        b.finish(command)
    };
    b.up();
    for way in ways {
        // The host's binary would print its version.
        let out = call(&b, &["exec", &b.id, way, "--version"]);
        assert!(!out.stdout.contains("hako-runtime"), "{way}: {out:#?}");
        assert!(matches!(out.code, 126 | 255 | 139), "{way}: {out:#?}");
    }
    b.call(&["delete", "-f", &b.id]).ok();
    for way in ways {
        b.args(&[way, "--version"]);
        let dir = b.dir.path().to_str().unwrap().to_owned();
        let out = call(&b, &["run", "-b", &dir, &b.id]);
        assert!(!out.stdout.contains("hako-runtime"), "{way}: {out:#?}");
        assert!(matches!(out.code, 126 | 127 | 139), "{way}: {out:#?}");
    }
    assert!(
        fs::read(&runtime).unwrap() == before,
        "the binary was written"
    );
}

/// The same for a hook that is a file of the image.
#[test]
fn cve_2019_5736_a_hook_in_the_container_is_never_the_hosts_binary() {
    let b = Bundle::new();
    symlink("/proc/self/exe", b.rootfs().join("bin/link")).unwrap();
    let b = b.edit(|c| {
        let hook = json!({ "path": "/bin/link", "args": ["hako-runtime", "--version"] });
        c["hooks"] = json!({ "startContainer": [hook] });
    });
    let out = b.run();
    assert!(!out.stderr.contains("hako-runtime version"), "{out:#?}");
    assert!(
        out.fails().contains("startContainer hook #0: /bin/link"),
        "{out:#?}"
    );
}

/// Takes hold of the executable of every process that appears, waits until
/// that is over, and tries to write to it.
fn watcher() -> Bundle {
    // So long that the slowed process is through when the wait is over.
    let wait = 600 * patience();
    let wait = format!("sleep {}.{:03}", wait / 1000, wait % 1000);
    Bundle::sh(&WATCHER.replace("WAIT", &wait))
}

const WATCHER: &str = "echo up; while :; do for p in /proc/[0-9]*; do \
    case $p in /proc/1) continue;; esac; \
    l=$(readlink $p/exe) || { [ -e $p/stat ] && grep -q hako $p/stat && echo hidden; continue; }; \
    case $l in *busybox*|*runc_cloned*) continue;; esac; \
    ls -l $p/fd; [ -e $p/root/etc/shadow ] && echo OUTSIDE; \
    ( exec 3<$p/exe && WAIT && { echo evil >> /proc/self/fd/3; } 2>&1 && echo PWNED ); \
    done; done";

/// For strace: so slow that a watcher has the time to look.
fn slow_setsid() -> String {
    format!("inject=setsid:delay_enter={}", 1_500_000 * patience())
}

/// `exec` under a watcher, slowed down while its process is in the container's
/// pid namespace.
fn watched_exec(b: &Bundle) -> String {
    let runtime = copy_of_runtime(b);
    let before = fs::read(&runtime).unwrap();
    let out = b.up();
    until(|| out.now().starts_with("up"));
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", "/dev/null", "-e", "trace=setsid"])
        .args(["-e", &slow_setsid()])
        .arg(&runtime)
        .arg("--root")
        .arg(b.records())
        .args(["exec", &b.id, "true"])
        .stdin(Stdio::null());
    let done = b.finish(command);
    done.ok();
    std::thread::sleep(std::time::Duration::from_millis(800) * patience());
    assert!(
        fs::read(&runtime).unwrap() == before,
        "the binary was written"
    );
    out.now()
}

/// CVE-2019-5736: root of a container that may trace looks at the runtime's
/// process while `exec` sets it up.
#[test]
fn cve_2019_5736_a_tracer_inside_cannot_write_the_hosts_binary() {
    let b = watcher().edit(|c| {
        for set in ["bounding", "permitted", "effective"] {
            c["process"]["capabilities"][set] = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        }
    });
    let seen = watched_exec(&b);
    // It was seen, or this test would show nothing.
    assert!(seen.contains("Read-only file system"), "{seen}");
    assert!(!seen.contains("PWNED"), "{seen}");
    // Nor is there a way to the host by its root or its descriptors.
    assert!(!seen.contains("OUTSIDE"), "{seen}");
    let host: Vec<&str> = seen
        .lines()
        .filter_map(|l| l.split(" -> ").nth(1))
        .filter(|to| !to.starts_with("socket:") && !to.contains("/out-") && !to.contains("/err-"))
        .filter(|to| *to != "/dev/null" && *to != "/")
        .collect();
    assert!(host.is_empty(), "{host:?} in {seen}");
}

/// The capability may have come by an earlier exec, or with a container that
/// joined.
#[test]
fn cve_2019_5736_later_watchers_are_watchers_too() {
    let b = Bundle::sleeper();
    let runtime = copy_of_runtime(&b);
    b.up();
    let executed = |b: &Bundle| {
        let mut command = Command::new("strace");
        let log = b.path("calls");
        command
            .args(["-f", "-e", "trace=execve,execveat", "-o"])
            .arg(&log)
            .arg(&runtime);
        command
            .arg("--root")
            .arg(b.records())
            .args(["exec", &b.id, "true"]);
        b.finish(command).ok();
        fs::read_to_string(&log).unwrap().matches("execve").count()
    };
    // The runtime, the stub and the program.
    assert_eq!(executed(&b), 3);
    b.call(&["exec", "--cap", "CAP_SYS_PTRACE", &b.id, "true"])
        .ok();
    assert_eq!(executed(&b), 4);
    let first = Bundle::sleeper();
    first.up();
    assert_eq!(executed(&first), 3);
    let second = Bundle::sleeper()
        .namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid())))
        .edit(|c| c["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_PTRACE"]));
    let mut run = first.command(&[
        "run",
        "-d",
        "-b",
        second.dir.path().to_str().unwrap(),
        &second.id,
    ]);
    run.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(run.status().unwrap().success());
    assert_eq!(executed(&first), 4);
    first.call(&["delete", "-f", &second.id]).ok();
}

#[test]
fn cve_2019_5736_without_that_capability_there_is_nothing_to_see() {
    for user_namespace in [false, true] {
        let mut b = watcher().edit(|c| {
            for set in ["bounding", "permitted", "effective"] {
                c["process"]["capabilities"][set] = match user_namespace {
                    true => json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]),
                    false => json!(["CAP_DAC_OVERRIDE"]),
                };
            }
        });
        if user_namespace {
            b = b.user_namespace();
        }
        let seen = watched_exec(&b);
        assert!(seen.contains("hidden"), "{seen}");
        assert!(
            !seen.contains("Read-only") && !seen.contains("PWNED"),
            "{seen}"
        );
    }
}

/// A container that joins another one's pid namespace is watched in the same
/// way while it is made.
#[test]
fn cve_2019_5736_a_tracer_in_a_shared_pid_namespace_cannot_write_it_either() {
    let watcher = watcher().edit(|c| {
        for set in ["bounding", "permitted", "effective"] {
            c["process"]["capabilities"][set] = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        }
    });
    let out = watcher.up();
    until(|| out.now().starts_with("up"));
    let b = Bundle::new().namespace("pid", Some(&format!("/proc/{}/ns/pid", watcher.pid())));
    let runtime = copy_of_runtime(&b);
    let before = fs::read(&runtime).unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", "/dev/null", "-e", "trace=setsid"])
        .args(["-e", &slow_setsid()])
        .arg(&runtime)
        .arg("--root")
        .arg(b.records())
        .args(["run", "-b", b.dir.path().to_str().unwrap(), &b.id])
        .stdin(Stdio::null());
    b.finish(command).ok();
    std::thread::sleep(std::time::Duration::from_millis(800) * patience());
    assert!(
        fs::read(&runtime).unwrap() == before,
        "the binary was written"
    );
    let seen = out.now();
    assert!(
        seen.contains("Read-only file system") && !seen.contains("PWNED"),
        "{seen}"
    );
}

/// CVE-2024-21626: a working directory by a descriptor of the host.
/// While it waits for its start, for as long as that takes.
#[test]
fn cve_2024_21626_a_created_container_holds_nothing_of_the_host() {
    let b = Bundle::new();
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let log = b.path("log").display().to_string();
    let mut command = Command::new("bash");
    let script = format!("exec 7<{dir}; exec \"$@\"");
    command.args(["-c", &script, "x", BIN.path(), "--log", &log, "--root"]);
    command.arg(b.records()).args(["create", "-b", &dir, &b.id]);
    b.finish(command).ok();
    let pid = b.state()["pid"].as_i64().unwrap();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        let target = target.to_str().unwrap();
        let fine = [
            "socket:",
            "/memfd:runc_cloned:/proc/self/exe",
            "anon_inode:[signalfd]",
        ];
        let fine = number < 3 || target == "/" || fine.iter().any(|f| target.starts_with(f));
        assert!(fine, "{number}: {target}");
    }
    b.start().ok();
}

#[test]
fn cve_2024_21626_the_directory_is_never_the_hosts() {
    let b = Bundle::sleeper();
    let made = b.path("made-by-the-container");
    let dir = b.dir.path().to_str().unwrap().to_owned();
    b.up();
    for number in 3..24 {
        for below in ["", "/made-by-the-container", "/../../../.."] {
            let cwd = format!("/proc/self/fd/{number}{below}");
            // The runtime gets the bundle's directory as one descriptor more.
            let script = format!("exec {number}<{dir}; exec \"$@\"");
            let mut command = Command::new("bash");
            command
                .args(["-c", &script, "x", BIN.path(), "--root"])
                .arg(b.records());
            command.args(["exec", "--cwd", &cwd, &b.id, "pwd"]);
            let out = b.finish(command);
            assert!(out.fails().contains("process.cwd"), "{cwd}: {out:#?}");
            assert!(!made.exists(), "{cwd}");
        }
    }
    b.call(&["delete", "-f", &b.id]).ok();
    for cwd in [
        "/proc/self/fd/7",
        "/proc/self/fd/7/made-by-the-container",
        "/proc/self/cwd",
        "/link",
    ] {
        let mut command = Command::new("bash");
        let script = format!("exec 7<{dir}; exec \"$@\"");
        let b = Bundle::sh("pwd").edit(|c| c["process"]["cwd"] = json!(cwd));
        symlink("/proc/self/fd/7", b.rootfs().join("link")).unwrap();
        command
            .args(["-c", &script, "x", BIN.path(), "--root"])
            .arg(b.records());
        command.args(["run", "-b", b.dir.path().to_str().unwrap(), &b.id]);
        let out = b.finish(command);
        assert!(out.fails().contains("process.cwd"), "{cwd}: {out:#?}");
        assert!(!made.exists(), "{cwd}");
    }
}

/// CVE-2024-45310: nothing is made on the host by way of links of the image.
#[test]
fn cve_2024_45310_nothing_is_made_on_the_host() {
    let outside = tempfile::tempdir().unwrap();
    let host = outside.path().to_str().unwrap();
    let b = Bundle::sh("true");
    symlink(host, b.rootfs().join("abs")).unwrap();
    symlink(
        format!("../../../../../../../../../..{host}"),
        b.rootfs().join("rel"),
    )
    .unwrap();
    let file = b.path("file");
    fs::write(&file, "").unwrap();
    let b = b
        .bind(&file, "/abs/a/file", &["bind"])
        .bind(&file, "/rel/b/file", &["bind"])
        .mount("tmpfs", "/abs/c", "tmpfs", &[])
        .edit(|c| {
            c["process"]["cwd"] = json!("/rel/d");
            c["linux"]["devices"] =
                json!([{ "path": "/abs/e/null", "type": "c", "major": 1, "minor": 3 }]);
        });
    b.run().ok();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // They are where the container sees them.
    assert!(
        b.rootfs()
            .join(host.trim_start_matches('/'))
            .join("a/file")
            .is_file()
    );
}

/// CVE-2019-16884, CVE-2023-27561: a directory of the image in procfs' place.
#[test]
fn cve_2019_16884_a_fake_proc_is_not_written() {
    let b = Bundle::sh(
        "cat /real/sys/net/ipv4/ip_unprivileged_port_start; cat /real/self/attr/current; cat /real/self/oom_score_adj",
    );
    let fake = b.path("fake");
    fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    let file = fake.join("sys/net/ipv4/ip_unprivileged_port_start");
    fs::write(&file, "fake").unwrap();
    fs::write(fake.join("self/oom_score_adj"), "fake").unwrap();
    let b = b
        .without_mount("/proc")
        .bind(&fake, "/proc", &["bind"])
        .mount("proc", "/real", "proc", &[])
        .edit(|c| {
            c["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "9" });
            c["process"]["oomScoreAdj"] = json!(111);
        });
    let out = b.run();
    assert!(
        out.stdout.starts_with("9\n") && out.stdout.contains("111"),
        "{out:#?}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "fake");
    assert_eq!(
        fs::read_to_string(fake.join("self/oom_score_adj")).unwrap(),
        "fake"
    );
}

/// CVE-2019-19921, CVE-2023-28642: procfs behind a link of the image.
#[test]
fn cve_2019_19921_proc_is_not_mounted_on_a_link() {
    for name in ["proc", "sys"] {
        let b = Bundle::new();
        fs::remove_dir(b.rootfs().join(name)).unwrap();
        fs::create_dir(b.rootfs().join("other")).unwrap();
        symlink("other", b.rootfs().join(name)).unwrap();
        let text = b.run().fails();
        assert!(text.contains("symbolic link"), "{name}: {text}");
    }
    let b = Bundle::new();
    fs::remove_dir(b.rootfs().join("proc")).unwrap();
    fs::write(b.rootfs().join("proc"), "").unwrap();
    assert!(b.run().fails().contains("not a directory"));
}

/// CVE-2026-41579: a /dev that is a link, with no mount on it.
#[test]
fn cve_2026_41579_a_linked_dev_is_the_containers_own() {
    let outside = tempfile::tempdir().unwrap();
    let host = outside.path().to_str().unwrap();
    fs::write(outside.path().join("ptmx"), "host's").unwrap();
    for target in [host.to_owned(), format!("../../../../../../..{host}")] {
        let mut b = Bundle::sh("ls -l /dev/null /dev/ptmx");
        for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            b = b.without_mount(at);
        }
        fs::remove_dir(b.rootfs().join("dev")).unwrap();
        symlink(&target, b.rootfs().join("dev")).unwrap();
        b.run().ok();
        let list: Vec<_> = fs::read_dir(outside.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(list, ["ptmx"]);
        assert_eq!(
            fs::read_to_string(outside.path().join("ptmx")).unwrap(),
            "host's"
        );
    }
}

/// CVE-2021-30465: a volume whose directories are exchanged for links while
/// mounts are made in it.
#[test]
fn cve_2021_30465_exchanged_links_lead_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let b = Bundle::sh("ls /");
    let volume = b.path("volume");
    fs::create_dir_all(volume.join("a/x")).unwrap();
    symlink("/", volume.join("b")).unwrap();
    let data = b.path("data");
    fs::create_dir(&data).unwrap();
    let b = b
        .bind(&volume, "/volume", &["rbind"])
        .bind(&data, "/volume/a/x", &["bind"])
        .mount("tmpfs", "/volume/a/y/z", "tmpfs", &[]);
    let mounts = host_mounts();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir =
                rustix::fs::open(&volume, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                    .unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(&dir, "a", &dir, "b", flags);
            }
        });
        for _ in 0..40 {
            b.run();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(host_mounts(), mounts);
    assert!(!Path::new("/x").exists() && !Path::new("/y").exists());
}

/// CVE-2025-31133: /dev/null, with which files are masked, is something else.
#[test]
fn cve_2025_31133_files_are_masked_by_the_null_device_or_not_at_all() {
    for trick in ["link", "file", "other device"] {
        let b = Bundle::sh("cat /secret");
        fs::write(b.rootfs().join("secret"), "secret").unwrap();
        let dev = b.path("dev");
        fs::create_dir_all(dev.join("pts")).unwrap();
        match trick {
            "link" => symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap(),
            "file" => fs::write(dev.join("null"), "evil").unwrap(),
            _ => {
                let made = Command::new("mknod")
                    .arg(dev.join("null"))
                    .args(["c", "1", "5"])
                    .status();
                assert!(made.unwrap().success());
            }
        }
        let mut b = b.edit(|c| c["linux"]["maskedPaths"] = json!(["/secret"]));
        for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            b = b.without_mount(at);
        }
        let b = b.bind(&dev, "/dev", &["bind"]);
        let text = b.run().fails();
        assert!(
            text.contains("/dev/null is not the null device"),
            "{trick}: {text}"
        );
    }
}

/// CVE-2025-52565: /dev/console, on which the terminal is bound, is a link.
#[test]
fn cve_2025_52565_the_console_is_not_bound_through_a_link() {
    use std::os::unix::net::UnixListener;
    let b = Bundle::new();
    let path = b.path("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut b = b.edit(|c| c["process"]["terminal"] = json!(true));
    let dev = b.path("dev");
    for dir in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(dev.join(dir)).unwrap();
    }
    let made = Command::new("mknod")
        .arg(dev.join("null"))
        .args(["c", "1", "3"])
        .status();
    assert!(made.unwrap().success());
    symlink("/proc/sys/kernel/core_pattern", dev.join("console")).unwrap();
    b = b.without_mount("/dev").edit(|c| {
        let mount = json!({
            "destination": "/dev", "type": "bind", "source": dev.to_str().unwrap(), "options": ["bind"]
        });
        c["mounts"].as_array_mut().unwrap().insert(1, mount);
    });
    let out = b.verb("create", &["--console-socket", path.to_str().unwrap()]);
    assert!(
        out.fails().contains("/dev/console is a symbolic link"),
        "{out:#?}"
    );
}

/// A passwd file, read for HOME, that is a descriptor of the host.
#[test]
fn a_linked_passwd_is_not_the_hosts() {
    let b = Bundle::sh("echo $HOME");
    fs::remove_file(b.rootfs().join("etc/passwd")).unwrap();
    symlink("/proc/self/fd/9", b.rootfs().join("etc/passwd")).unwrap();
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "exec 9</etc/passwd; exec \"$@\"",
        "x",
        BIN.path(),
        "--root",
    ]);
    command
        .arg(b.records())
        .args(["run", "-b", b.dir.path().to_str().unwrap(), &b.id]);
    assert_eq!(b.finish(command).ok(), "/");
    // Nor does a pipe in its place hold anybody up.
    fs::remove_file(b.rootfs().join("etc/passwd")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(b.rootfs().join("etc/passwd"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(b.run().ok(), "/");
}
