//! `checkpoint` and `restore`, by the machine's criu where `criu check` says
//! that it works on this kernel, and else its failure, told; and by one that is
//! this very program and only writes down what it was asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use crate::harness::{Bundle, Out, until};
use crate::terminal::{read_until, receive};

/// Whether the criu of this machine works on this kernel.
fn works() -> bool {
    let check = Command::new("criu").arg("check").output();
    check.expect("criu is needed").status.success()
}

/// `run --detach` with streams that criu can leave as they are.
fn up(b: &Bundle) {
    let dir = b.dir.path().to_str().unwrap();
    let mut command = b.command(&["run", "-d", "-b", dir, &b.id]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

/// The verb with the images, and more flags.
fn criu(b: &Bundle, verb: &str, flags: &[&str]) -> Out {
    let images = b.path("images");
    let mut args = vec![verb, "--image-path", images.to_str().unwrap()];
    args.extend(flags);
    args.push(&b.id);
    let mut command = b.command(&args);
    command.current_dir(b.dir.path());
    let mut out = b.finish(command);
    if out.code != 0 {
        // Why, for whoever reads that a test has failed.
        let log = fs::read_to_string(images.join("dump.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(25));
        out.stderr.extend(last.flat_map(|line| ["\n", line]));
    }
    out
}

/// `restore --detach` with the streams of [`up`].
fn back(b: &Bundle, flags: &[&str]) {
    let images = b.path("images");
    let mut args = vec!["restore", "-d", "--image-path", images.to_str().unwrap()];
    args.extend(flags);
    args.push(&b.id);
    let mut command = b.command(&args);
    command.current_dir(b.dir.path());
    command.stdout(Stdio::null());
    let out = command.output().unwrap();
    let log = fs::read_to_string(images.join("restore.log")).unwrap_or_default();
    assert!(out.status.success(), "{out:?}\n{log}");
}

/// A failure of criu's leaves the container as it was and nothing of another.
fn fails_cleanly(b: &Bundle) {
    let told = criu(b, "checkpoint", &[]).fails();
    assert!(told.contains("criu could not checkpoint: Error"), "{told}");
    assert_eq!(b.status(), "running");
}

fn count(b: &Bundle) -> u32 {
    let text = fs::read_to_string(b.rootfs().join("tmp/count"));
    text.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

const COUNTER: &str = "i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done";

#[test]
fn there_and_back() {
    go_and_come_back(Bundle::sh(COUNTER));
}

#[test]
fn there_and_back_with_a_user_namespace() {
    go_and_come_back(Bundle::sh(COUNTER).user_namespace());
}

fn go_and_come_back(b: Bundle) {
    let source = b.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("hello"), "there").unwrap();
    std::os::unix::fs::symlink("new", b.rootfs().join("link")).unwrap();
    let outer = b.path("outer");
    fs::create_dir(&outer).unwrap();
    fs::set_permissions(&outer, fs::Permissions::from_mode(0o777)).unwrap();
    let b = b
        .bind(&source, "/link/place", &["rbind", "ro"])
        .bind(&outer, "/outer", &["bind"])
        .bind(Path::new("./source"), "/outer/for/nested", &["bind"]);
    let b = b.edit(|c| c["linux"]["resources"]["pids"] = json!({ "limit": 77 }));
    up(&b);
    until(|| count(&b) > 3);
    if !works() {
        return fails_cleanly(&b);
    }
    criu(&b, "checkpoint", &["--leave-running", "--file-locks"]).ok();
    assert_eq!(b.status(), "running");
    fs::remove_dir_all(b.path("images")).unwrap();
    let work = b.path("work");
    criu(&b, "checkpoint", &["--work-path", work.to_str().unwrap()]).ok();
    assert!(work.join("dump.log").exists());
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
    assert!(b.cgroups().is_empty());
    fs::remove_dir_all(outer.join("for")).unwrap();
    // It may have been stopped between emptying the file and writing it.
    let at = count(&b).max(3);
    let file = b.path("pid");
    back(&b, &["--pid-file", file.to_str().unwrap()]);
    assert_eq!(b.status(), "running");
    let pid: i32 = fs::read_to_string(file).unwrap().parse().unwrap();
    assert_eq!(b.pid(), pid);
    // It goes on where it was, in its namespaces, mounts and cgroups.
    until(|| count(&b) > at + 3);
    let both = ["cat", "/link/place/hello", "/outer/for/nested/hello"];
    assert_eq!(b.exec(&both).ok(), "therethere");
    assert_eq!(b.exec(&["hostname"]).ok(), "hako");
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(own.lines().all(|line| line.ends_with(&b.cgroup)), "{own}");
    let limit = b
        .cgroups()
        .into_iter()
        .find_map(|dir| fs::read(dir.join("pids.max")).ok());
    assert_eq!(limit.unwrap(), b"77\n");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("criu-root"), "{mounts}");
    // A second time, and to the end.
    criu(&b, "checkpoint", &[]).ok();
    back(&b, &[]);
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    b.call(&["delete", &b.id]).ok();
    assert!(b.cgroups().is_empty());
}

#[test]
fn in_the_foreground_the_status_is_the_programs() {
    let b = Bundle::sh("while ! test -e /tmp/go; do sleep 0.05; done; exit 7");
    up(&b);
    if !works() {
        return fails_cleanly(&b);
    }
    criu(&b, "checkpoint", &[]).ok();
    fs::write(b.rootfs().join("tmp/go"), "").unwrap();
    assert_eq!(
        criu(&b, "restore", &["-b", b.dir.path().to_str().unwrap()]).code,
        7
    );
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
}

#[test]
fn a_terminal_is_made_again() {
    let b = Bundle::sh("while read line; do echo got $line; done");
    let b = b.edit(|c| c["process"]["terminal"] = json!(true));
    let path = b.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = ["--console-socket", path.to_str().unwrap()];
    b.verb("run", &["-d", socket[0], socket[1]]).ok();
    let mut master = receive(&listener);
    master.write_all(b"one\n").unwrap();
    read_until(&mut master, "got one");
    if !works() {
        return fails_cleanly(&b);
    }
    criu(&b, "checkpoint", &[]).ok();
    back(&b, &socket);
    let mut master = receive(&listener);
    master.write_all(b"two\n").unwrap();
    read_until(&mut master, "got two");
}

#[test]
fn what_is_refused_before_criu() {
    let b = Bundle::sleeper();
    b.create().ok();
    assert!(criu(&b, "checkpoint", &[]).fails().contains("is created"));
    b.start().ok();
    for (flags, says) in [
        (&["--manage-cgroups-mode", "x"][..], "--manage-cgroups-mode"),
        (&["--page-server", "x"], "ADDRESS:PORT"),
        (&["--status-fd", "999"], "--status-fd"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let told = criu(&b, "checkpoint", flags).fails();
        assert!(told.contains(says), "{told}");
    }
    for verb in ["checkpoint", "restore"] {
        let mut command = b.command(&[verb, "--image-path", "images", &b.id]);
        command.current_dir(b.dir.path()).env("PATH", "/nowhere");
        let told = b.finish(command).fails();
        let says = "criu is not installed: install the package";
        assert!(told.contains(says), "{told}");
        let told = b.call(&["--criu", "/etc/passwd", verb, &b.id]).fails();
        assert!(
            told.contains("--criu /etc/passwd: no such program"),
            "{told}"
        );
    }
    assert!(criu(&b, "restore", &[]).fails().contains("images"));
    assert_eq!(b.status(), "running");
    // What is no checkpoint restores to nothing.
    b.call(&["delete", "-f", &b.id]).ok();
    fs::create_dir(b.path("images")).unwrap();
    fs::write(b.path("images/descriptors.json"), "[]").unwrap();
    let mut command = b.command(&["restore", "--image-path", "images", &b.id]);
    command.current_dir(b.dir.path()).env("PATH", "/nowhere");
    assert!(b.finish(command).fails().contains("criu is not installed"));
    assert!(
        criu(&b, "restore", &[])
            .fails()
            .contains("criu could not restore")
    );
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
    assert!(b.cgroups().is_empty());
}

/// The fields of a message: numbers as text, all else as it is.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for at in 0.. {
            value |= u64::from(bytes[at] & 0x7f) << (7 * at);
            if bytes[at] < 0x80 {
                *bytes = &bytes[at + 1..];
                break;
            }
        }
        value
    }
    let mut all: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let number = varint(&mut bytes);
        let value = match tag & 7 {
            0 => number.to_string().into_bytes(),
            2 => {
                let (value, rest) = bytes.split_at(usize::try_from(number).unwrap());
                bytes = rest;
                value.to_vec()
            }
            other => panic!("{other}"),
        };
        all.entry(tag >> 3).or_default().push(value);
    }
    all
}

/// A directory with a criu that writes requests down.
fn recorder(b: &Bundle) -> PathBuf {
    let dir = b.path("fake");
    fs::create_dir(&dir).unwrap();
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexport FAKE_CRIU={} FAKE_CRIU_FD=$2\nexec {} --exact checkpoint::acts_as_criu\n",
        dir.display(),
        own.display()
    );
    fs::write(dir.join("criu"), script).unwrap();
    fs::set_permissions(dir.join("criu"), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The other side of [`recorder`]: `criu swrk`, when it is called so.
#[test]
fn acts_as_criu() {
    let (Some(dir), Ok(fd)) = (std::env::var_os("FAKE_CRIU"), std::env::var("FAKE_CRIU_FD")) else {
        return;
    };
    let dir = Path::new(&dir);
    let mut socket = fs::File::from(hako_sys::fds::inherit(fd.parse().unwrap()).unwrap());
    let mut buffer = vec![0; 1 << 16];
    let n = socket.read(&mut buffer).unwrap();
    let kind = fields(&buffer[..n])[&1][0].clone();
    let kind = String::from_utf8(kind).unwrap();
    fs::write(dir.join(format!("request-{kind}")), &buffer[..n]).unwrap();
    fs::copy("/proc/self/cgroup", dir.join("cgroup")).unwrap();
    fs::copy("/proc/self/mountinfo", dir.join("mounts")).unwrap();
    let message = |field: u8, text: &[u8]| [&[field << 3 | 2, text.len() as u8], text].concat();
    let mut notice = |name: &str, fd: Option<&OwnedFd>| {
        let text = [
            &[8, 6, 16, 1][..],
            &message(5, &message(1, name.as_bytes())),
        ]
        .concat();
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(
            &socket,
            &[IoSlice::new(&text)],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        let n = socket.read(&mut buffer).unwrap();
        assert_eq!(fields(&buffer[..n])[&3], [b"1"], "{name}");
    };
    let answer = match kind.as_str() {
        // It can track memory, and no more.
        "9" => [&[8, 9, 16, 1][..], &message(8, &[8, 1, 16, 0])].concat(),
        "2" => {
            notice("setup-namespaces", None);
            let terminal = fs::File::open("/dev/null").unwrap().into();
            notice("orphan-pts-master", Some(&terminal));
            let child = Command::new("sleep")
                .arg("1000")
                .stdout(Stdio::null())
                .spawn();
            let mut pid = child.unwrap().id();
            let mut restored = vec![8];
            while pid > 0x7f {
                restored.push(pid as u8 | 0x80);
                pid >>= 7;
            }
            restored.push(pid as u8);
            [&[8, 2, 16, 1][..], &message(4, &restored)].concat()
        }
        kind => {
            notice("network-lock", None);
            notice("status-ready", None);
            vec![8, kind.parse().unwrap(), 16, 1]
        }
    };
    socket.write_all(&answer).unwrap();
}

/// What criu is told.
#[test]
fn what_criu_is_asked() {
    let other = Bundle::sleeper();
    other.up();
    let b = Bundle::sleeper();
    let source = b.path("source");
    fs::create_dir(&source).unwrap();
    let net = format!("/proc/{}/ns/net", other.pid());
    let b = b
        .bind(&source, "/place", &["bind"])
        .bind(Path::new("source"), "/place/for/nested", &["bind"])
        // It has no source of its own, and so no place to be made.
        .edit(|c| {
            let again = json!({ "destination": "/place", "options": ["bind", "remount", "ro"] });
            c["mounts"].as_array_mut().unwrap().push(again);
        })
        .namespace("network", Some(&net))
        .namespace("ipc", Some(&format!("/proc/{}/ns/ipc", other.pid())))
        .edit(|c| c["annotations"] = json!({ "org.criu.config": "/etc/own.conf" }));
    up(&b);
    let dir = recorder(&b);
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let call = |flags: &[&str]| {
        let mut command = b.command(flags);
        command.current_dir(b.dir.path()).env("PATH", &path);
        b.finish(command)
    };
    let asked = |kind: u32| {
        let bytes = fs::read(dir.join(format!("request-{kind}"))).unwrap();
        fields(&fields(&bytes)[&2][0])
    };
    let texts = |fields: &BTreeMap<u64, Vec<Vec<u8>>>, at: u64| {
        let all = fields.get(&at).cloned().unwrap_or_default();
        all.into_iter()
            .map(|b| String::from_utf8(b).unwrap())
            .collect::<Vec<_>>()
    };
    let pairs = |fields: &BTreeMap<u64, Vec<Vec<u8>>>, at: u64| {
        let all = fields.get(&at).cloned().unwrap_or_default();
        let pair = |b: &Vec<u8>| {
            let inner = self::fields(b);
            (texts(&inner, 1).concat(), texts(&inner, 2).concat())
        };
        all.iter().map(pair).collect::<Vec<_>>()
    };
    // Memory first, which this one can track, and then the rest.
    call(&["checkpoint", "--pre-dump", "--image-path", "first", &b.id]).ok();
    let pre = asked(4);
    assert_eq!(texts(&pre, 2), [b.pid().to_string()]);
    assert!(!pre.contains_key(&23) && !b.path("first/descriptors.json").exists());
    assert_eq!(b.status(), "running");
    let told = call(&[
        "checkpoint",
        "--lazy-pages",
        "--image-path",
        "images",
        &b.id,
    ])
    .fails();
    assert!(told.contains("--lazy-pages"), "{told}");
    let told = call(&[
        "checkpoint",
        "--parent-path",
        "../none",
        "--image-path",
        "images",
        &b.id,
    ]);
    assert!(told.fails().contains("--parent-path"));
    let flags = [
        "checkpoint",
        "--image-path",
        "images",
        "--parent-path",
        "../first",
        "--shell-job",
        "--tcp-established",
        &b.id,
    ];
    call(&flags).ok();
    let dump = asked(1);
    assert_eq!(texts(&dump, 13), [b.rootfs().to_str().unwrap()]);
    assert_eq!(texts(&dump, 14), ["../first"]);
    assert_eq!(texts(&dump, 51), ["/etc/own.conf"]);
    for on in [5, 7, 12, 15, 24, 50] {
        assert_eq!(texts(&dump, on), ["1"], "{on}");
    }
    for off in [3, 4, 8, 46, 48] {
        assert!(!dump.contains_key(&off), "{off}");
    }
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&net).unwrap());
    assert_eq!(texts(&dump, 37), [format!("net[{inode}]:extRootNetNS")]);
    assert_eq!(
        pairs(&dump, 23),
        ["/place", "/place/for/nested"].map(|at| (at.to_owned(), at.to_owned()))
    );
    assert!(texts(&dump, 44).concat().ends_with(&b.cgroup));
    let streams = fs::read_to_string(b.path("images/descriptors.json")).unwrap();
    assert_eq!(streams, r#"["/dev/null","/dev/null","/dev/null"]"#);
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));

    fs::write(
        b.path("images/descriptors.json"),
        r#"["pipe:[1]","/x","pipe:[2]"]"#,
    )
    .unwrap();
    // The places of mounts are made again, also in the sources of others.
    fs::remove_dir_all(source.join("for")).unwrap();
    let hook = b.path("hook");
    let b = b.edit(|c| {
        let script = format!("cat > {}", hook.display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        c["hooks"] = json!({ "createRuntime": [hook] });
    });
    let socket = b.path("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = b.command(&[
        "restore",
        "-d",
        "--image-path",
        "images",
        "--console-socket",
        socket.to_str().unwrap(),
        "--lsm-profile",
        "apparmor:p",
        "--empty-ns",
        "network",
        &b.id,
    ]);
    command.current_dir(b.dir.path()).env("PATH", &path);
    b.finish(command).ok();
    drop(listener.accept().unwrap());
    assert_eq!(b.status(), "running");
    let restore = asked(2);
    let top = texts(&restore, 13).concat();
    assert!(top.ends_with("/criu-root") && !Path::new(&top).exists());
    let mounts = fs::read_to_string(dir.join("mounts")).unwrap();
    assert!(mounts.contains(&top), "{mounts}");
    assert!(!mounts.contains("criu-root/place"), "{mounts}");
    assert!(source.join("for/nested").is_dir());
    assert!(
        !fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(&top)
    );
    let own = fs::read_to_string(dir.join("cgroup")).unwrap();
    assert!(own.lines().all(|line| line.ends_with(&b.cgroup)), "{own}");
    let roots = pairs(&restore, 25);
    assert!(!roots.is_empty() && roots.iter().all(|(_, place)| *place == b.cgroup));
    assert_eq!(
        pairs(&restore, 23),
        ["/place", "/place/for/nested"].map(|at| (at.to_owned(), source.display().to_string()))
    );
    let inherited: Vec<String> = pairs(&restore, 27)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(inherited, ["pipe:[1]", "pipe:[2]", "extRootNetNS"]);
    assert_eq!(pairs(&restore, 39)[0].0, "ipc");
    assert_eq!(texts(&restore, 26), ["1"]);
    assert_eq!(texts(&restore, 38), ["1073741824"]);
    assert_eq!(texts(&restore, 53), ["apparmor:p"]);
    assert!(fs::read_to_string(hook).unwrap().contains(&b.id));
    b.call(&["kill", &b.id, "KILL"]).ok();
}
