//! Mounts, masked and read-only paths, devices, and what propagates.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{BIN, Bundle, is_unified};

fn data(b: &Bundle) -> std::path::PathBuf {
    let dir = b.path("data");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("file"), "content").unwrap();
    dir
}

#[test]
fn bind_mounts_read_write_and_read_only() {
    let b = Bundle::sh(
        "cat /a/file; echo new > /a/file && echo wrote; echo x > /b/file || echo refused; cat /f",
    );
    let dir = data(&b);
    let b = b
        .bind(&dir, "/a", &["bind"])
        .bind(&dir, "/b", &["bind", "ro"])
        .bind(&dir.join("file"), "/deep/er/f", &["bind"])
        .bind(&dir.join("file"), "/f", &["bind", "ro"]);
    assert_eq!(b.run().ok(), "contentwrote\nrefused\nnew");
    assert!(b.rootfs().join("deep/er/f").is_file());
}

#[test]
fn a_relative_source_is_in_the_bundle() {
    let b = Bundle::sh("cat /a/file");
    data(&b);
    let b = b.mount("data", "/a", "bind", &["rbind"]);
    assert_eq!(b.run().ok(), "content");
}

#[test]
fn a_missing_source_is_an_error_of_the_mount() {
    let b = Bundle::new().mount("/no/such/source", "/a", "bind", &["bind"]);
    let out = b.run();
    assert_eq!(out.code, 1, "not 127: the program is there");
    for word in ["/no/such/source", "/a", "no such file or directory"] {
        assert!(out.stderr.contains(word), "{word}: {}", out.stderr);
    }
    assert!(!b.rootfs().join("a").exists());
}

#[test]
fn unknown_options_are_errors() {
    let b = Bundle::new().mount("/tmp", "/a", "bind", &["bind", "nonsense"]);
    assert!(b.run().fails().contains("\"nonsense\""));
    let b = Bundle::new().mount("tmpfs", "/a", "tmpfs", &["nonsense"]);
    assert!(b.run().fails().contains("\"nonsense\""));
    let b = Bundle::new().mount("x", "/a", "nosuchfs", &[]);
    assert!(b.run().fails().contains("mount x at /a"));
}

#[test]
fn a_bind_mount_with_options_has_those_alone() {
    let b = Bundle::sh("grep -E ' /(none|some|dev1) ' /proc/mounts | cut -d' ' -f2,4");
    let dir = data(&b);
    let b = b
        .bind(&dir, "/none", &["bind"])
        .bind(&dir, "/some", &["bind", "ro", "noexec"])
        .bind(&dir, "/dev1", &["bind", "dev"]);
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,nosuid,nodev,noatime {0} && {1} --root {2} \
         run -b {3} {4}",
        dir.display(),
        BIN,
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let run = |b: &Bundle| {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-ec", &script]);
        let out = b.finish(command).ok();
        let words = |at: &str| {
            let line = out.lines().find(|l| l.starts_with(at)).unwrap();
            let all = line.split([' ', ',']).skip(1);
            let own = |w: &&str| ["ro", "nosuid", "nodev", "noexec", "noatime"].contains(w);
            all.filter(own).collect::<Vec<_>>().join(",")
        };
        ["/none", "/some", "/dev1"].map(words)
    };
    let [none, some, dev] = run(&b);
    assert_eq!(none, "nosuid,nodev,noatime");
    assert_eq!(some, "ro,noexec,noatime");
    assert_eq!(dev, "noatime");
    // What the owner of a user namespace could not clear stays.
    let [none, some, dev] = run(&b.user_namespace());
    assert_eq!(none, "nosuid,nodev,noatime");
    assert_eq!(some, "ro,nosuid,nodev,noexec,noatime");
    assert_eq!(dev, "nosuid,noatime");
}

#[test]
fn paths_of_the_host_in_the_root_are_places_in_the_container() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("file"), "host").unwrap();
    let b = Bundle::sh("cat /there/file; cat /link/file");
    let dir = data(&b);
    let root = b.rootfs();
    fs::create_dir_all(root.join(secret.path().strip_prefix("/").unwrap())).unwrap();
    std::os::unix::fs::symlink(secret.path(), root.join("away")).unwrap();
    let inner = root.join(secret.path().strip_prefix("/").unwrap());
    fs::write(inner.join("file"), "image").unwrap();
    let b = b
        .bind(&dir, "/first", &["bind"])
        // The earlier mount is seen, and the link of the image does not lead out.
        .bind(
            &root.join("first"),
            root.join("there").to_str().unwrap(),
            &["bind"],
        )
        .bind(&root.join("away"), "/link", &["bind"]);
    assert_eq!(b.run().ok(), "contentimage");
    assert!(root.join("there").is_dir() && !root.join("tmp/there").exists());
    assert_eq!(b.user_namespace().run().ok(), "contentimage");
}

#[test]
fn rbind_brings_what_is_below_and_bind_does_not() {
    let b = Bundle::sh("ls /with/sub /without/sub; touch /with/sub/x || echo ro");
    let dir = data(&b);
    let b = b
        .bind(&dir, "/with", &["rbind", "rro"])
        .bind(&dir, "/without", &["bind"]);
    let script = format!(
        "mount -t tmpfs t {0}/sub && touch {0}/sub/below && {1} --root {2} run -b {3} {4}",
        dir.display(),
        BIN,
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", &script]);
    assert_eq!(
        b.finish(command).ok(),
        "/with/sub:\nbelow\n\n/without/sub:\nro"
    );
}

#[test]
fn tmpfs_with_options() {
    let b = Bundle::sh("grep ' /t ' /proc/mounts; stat -c %a /t; touch /t/x && echo made; touch /r/x || echo ro; [ -e /r/given ] && echo kept")
        .mount("tmpfs", "/t", "tmpfs", &["nosuid", "nodev", "noexec", "noatime", "size=64k", "mode=1750"])
        .mount("tmpfs", "/r", "tmpfs", &["ro", "tmpcopyup"]);
    fs::create_dir(b.rootfs().join("r")).unwrap();
    fs::write(b.rootfs().join("r/given"), "").unwrap();
    let out = b.run().ok();
    let line = out.lines().next().unwrap();
    for word in [
        "nosuid",
        "nodev",
        "noexec",
        "noatime",
        "size=64k",
        "mode=1750",
    ] {
        assert!(line.contains(word), "{word} in {line}");
    }
    let rest: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(rest, ["1750", "made", "ro", "kept"]);
}

/// It takes the place of the image's directory with that one's mode; a new one
/// is for everybody, as `/tmp` is.
#[test]
fn a_tmpfs_is_as_open_as_what_it_covers() {
    let mut b = Bundle::sh("cd /; stat -c '%n %a' old old-up new new-up given");
    for (name, options) in [
        ("old", &[][..]),
        ("old-up", &["tmpcopyup"]),
        ("new", &[]),
        ("new-up", &["tmpcopyup"]),
        ("given", &["mode=711"]),
    ] {
        if name != "new" && name != "new-up" {
            let dir = b.rootfs().join(name);
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
        }
        b = b.mount("tmpfs", &format!("/{name}"), "tmpfs", options);
    }
    assert_eq!(
        b.run().ok(),
        "old 750\nold-up 750\nnew 1777\nnew-up 1777\ngiven 711"
    );
}

/// The words that undo others do so for the file system as for the mount.
#[test]
fn later_options_undo_earlier_ones() {
    let b = Bundle::sh("grep ' /t ' /proc/self/mountinfo").mount(
        "tmpfs",
        "/t",
        "tmpfs",
        &[
            "sync",
            "async",
            "lazytime",
            "nolazytime",
            "strictatime",
            "nostrictatime",
            "iversion",
            "noiversion",
        ],
    );
    let line = b.run().ok();
    assert!(line.contains(" rw,relatime - tmpfs tmpfs rw"), "{line}");
    assert!(
        !line.contains("sync") && !line.contains("lazytime"),
        "{line}"
    );
}

#[test]
fn remount_changes_the_mount_that_is_there() {
    let b = Bundle::sh(
        "grep -c ' /[tb] ' /proc/self/mountinfo; grep -o ' /t .*' /proc/self/mountinfo; \
         touch /t/x || echo ro; touch /b/x || echo ro",
    );
    let dir = data(&b);
    let b = b
        .mount("tmpfs", "/t", "tmpfs", &["size=64k"])
        .mount(
            "tmpfs",
            "/t",
            "tmpfs",
            &["remount", "ro", "nosuid", "size=128k"],
        )
        .bind(&dir, "/b", &["bind"])
        .bind(&dir, "/b", &["bind", "remount", "ro"]);
    let out = b.run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], &lines[2..]), ("2", &["ro", "ro"][..]), "{out}");
    for word in ["ro,nosuid", "size=128k"] {
        assert!(lines[1].contains(word), "{word} in {out}");
    }
    assert!(!dir.join("x").exists());
    // Where nothing is mounted there is nothing to change.
    let b = Bundle::new().mount("tmpfs", "/t", "tmpfs", &["remount", "ro"]);
    assert!(b.run().fails().contains("mount tmpfs at /t"));
}

#[test]
fn mounts_are_mapped() {
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 10 }]);
    let mapped = |b: Bundle, host: u32| {
        b.edit(|config| {
            let mount = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
            mount["uidMappings"] = map(host);
            mount["gidMappings"] = map(host + 1);
        })
    };
    let bound = |b: Bundle, options: &[&str]| {
        let dir = data(&b);
        b.bind(&dir, "/a", options)
    };
    let look = "stat -c %u:%g /a/file";
    let b = mapped(bound(Bundle::sh(look), &["bind", "idmap"]), 70);
    assert_eq!(b.run().ok(), "70:71");
    // Who is nobody's image there cannot write.
    let b = mapped(bound(Bundle::sh("touch /a/new"), &["rbind", "ridmap"]), 5);
    assert!(b.run().fails().contains("Value too large"));
    // The mappings alone ask for it as well.
    let b = mapped(bound(Bundle::sh(look), &["bind"]), 80);
    assert_eq!(b.run().ok(), "80:81");
    // By the container's own mapping, root of the host is root inside.
    let b = bound(Bundle::sh(look).user_namespace(), &["bind", "idmap"]);
    assert_eq!(b.run().ok(), "0:0");
    // By that of a user namespace that is joined.
    let other = Bundle::sleeper().user_namespace();
    other.up();
    let path = format!("/proc/{}/ns/user", other.pid());
    let b = bound(Bundle::sh(look).user_namespace(), &["bind", "idmap"])
        .namespace("user", Some(&path))
        .edit(|c| {
            for map in ["uidMappings", "gidMappings"] {
                c["linux"].as_object_mut().unwrap().remove(map);
            }
        });
    assert_eq!(b.run().ok(), "0:0");
    // By a mapping in the option, also relative to the container's.
    let text = "idmap=uids=5-5-1#0-70-2;gids=0-71-2";
    assert_eq!(bound(Bundle::sh(look), &["bind", text]).run().ok(), "70:71");
    let b = Bundle::sh(look).user_namespace();
    let b = bound(b, &["bind", "ridmap=uids=@0-3-1;gids=@0-4-1"]);
    assert_eq!(b.run().ok(), "3:4");
    for wrong in [
        "uids=0-1-1",
        "uids=0-1;gids=0-1-1",
        "uids=@0-0-1;gids=@0-0-1",
    ] {
        let b = bound(Bundle::sh(look), &["bind", &format!("idmap={wrong}")]);
        assert!(b.run().fails().contains("idmap=uids="), "{wrong}");
    }
    let b = bound(Bundle::sh(look), &["bind", "idmap"]);
    assert!(
        b.run()
            .fails()
            .contains("needs uidMappings and gidMappings")
    );
    let b = Bundle::sh(look).mount("tmpfs", "/a", "tmpfs", &["idmap"]);
    assert!(b.run().fails().contains("only the source of a bind mount"));
}

/// Which the runtime cannot open before the container's process has mounted it.
#[test]
fn a_mapped_source_may_be_in_the_containers_own_tree() {
    for user_namespace in [false, true] {
        let b = Bundle::sh("stat -c %u:%g /b/file /c/a/file; touch /b/x && stat -c %u /a/x");
        let b = if user_namespace {
            b.user_namespace()
        } else {
            b
        };
        let dir = data(&b);
        let root = b.rootfs();
        let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 10 }]);
        let host = if user_namespace { 100_000 } else { 0 };
        let mut b = b
            .bind(&dir, "/deep/a", &["bind"])
            .bind(&root.join("deep/a"), "/b", &["bind", "rprivate"])
            .bind(&root.join("deep"), "/c", &["rbind", "rprivate"])
            .bind(&root.join("b"), "/a", &["bind"]);
        b = b.edit(|config| {
            let own = if user_namespace { host } else { 70 };
            let mounts = config["mounts"].as_array_mut().unwrap();
            let at = mounts.len() - 3;
            mounts[at]["uidMappings"] = map(own);
            mounts[at]["gidMappings"] = map(own);
        });
        let out = b.run();
        let want = match user_namespace {
            true => "0:0\n65534:65534\n0",
            false => "70:70\n0:0\n",
        };
        assert_eq!(out.stdout.trim(), want.trim(), "{out:#?}");
        assert_eq!(out.code == 0, user_namespace, "{out:#?}");
    }
}

#[test]
fn tmpcopyup_copies_everything() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let script = "cd /c; cat a/b; readlink l; stat -c '%a %u %F' a/b p .; touch new";
    let b = Bundle::sh(script).mount("tmpfs", "/c", "tmpfs", &["tmpcopyup"]);
    let c = b.rootfs().join("c");
    fs::create_dir_all(c.join("a")).unwrap();
    fs::write(c.join("a/b"), "text\n").unwrap();
    fs::set_permissions(c.join("a/b"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(c.join("a/b"), Some(77), None).unwrap();
    fs::set_permissions(c.join("a/b"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("../x", c.join("l")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(c.join("p"))
            .status()
            .unwrap()
            .success()
    );
    fs::set_permissions(&c, fs::Permissions::from_mode(0o710)).unwrap();
    let out = b.run().ok();
    assert_eq!(
        out,
        "text\n../x\n4755 77 regular file\n644 0 fifo\n710 0 directory"
    );
    assert!(!c.join("new").exists());
}

#[test]
fn later_options_win_and_times_work() {
    let b = Bundle::sh("grep -e ' /a ' -e ' /b ' /proc/mounts");
    let dir = data(&b);
    let b = b
        .bind(
            &dir,
            "/a",
            &["bind", "ro", "rw", "noatime", "strictatime", "nosuid"],
        )
        .bind(
            &dir,
            "/b",
            &[
                "bind",
                "nodev",
                "dev",
                "noexec",
                "nosymfollow",
                "nodiratime",
            ],
        );
    let out = b.run().ok();
    let words = |at: usize| {
        let line = out.lines().nth(at).unwrap();
        line.split(' ')
            .nth(3)
            .unwrap()
            .split(',')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let has = |at, w: &str| words(at).iter().any(|x| x == w);
    assert!(
        has(0, "rw") && has(0, "nosuid") && !has(0, "noatime") && !has(0, "relatime"),
        "{out}"
    );
    assert!(
        !has(1, "nodev") && has(1, "noexec") && has(1, "nosymfollow") && has(1, "nodiratime"),
        "{out}"
    );
}

#[test]
fn a_read_only_root() {
    let b = Bundle::sh("touch /x || echo ro; touch /dev/x && echo dev; touch /tmp/x && echo tmp")
        .mount("tmpfs", "/tmp", "tmpfs", &[])
        .edit(|c| c["root"]["readonly"] = json!(true));
    assert_eq!(b.run().ok(), "ro\ndev\ntmp");
    let b = b.user_namespace();
    assert_eq!(b.run().ok(), "ro\ndev\ntmp");
}

#[test]
fn mounts_land_in_order_and_through_links_of_the_image() {
    let b = Bundle::sh("cat /var/run/inner/f /run/inner/f; ls /run");
    let dir = data(&b);
    fs::create_dir_all(b.rootfs().join("var")).unwrap();
    std::os::unix::fs::symlink("/run", b.rootfs().join("var/run")).unwrap();
    let b = b.mount("tmpfs", "/run", "tmpfs", &[]).bind(
        &dir.join("file"),
        "/var/run/inner/f",
        &["bind"],
    );
    assert_eq!(b.run().ok(), "contentcontentinner");
}

#[test]
fn a_path_masked_twice_is_masked_once() {
    let b = Bundle::sh("grep -c ' /secret ' /proc/self/mountinfo").edit(|c| {
        let list = c["linux"]["maskedPaths"].as_array_mut().unwrap();
        list.extend([json!("/secret"), json!("/secret")]);
    });
    fs::write(b.rootfs().join("secret"), "text").unwrap();
    assert_eq!(b.run().ok(), "1");
}

#[test]
fn masked_paths_show_nothing() {
    let script = "cat /secret; ls /hidden; echo x > /hidden/y || echo ro; echo y > /secret && cat /secret; cat /proc/kcore; ls /proc/acpi /sys/firmware";
    let b = Bundle::sh(script).edit(|c| {
        let list = c["linux"]["maskedPaths"].as_array_mut().unwrap();
        list.extend([
            json!("/secret"),
            json!("/hidden"),
            json!("/hidden2"),
            json!("/not/there"),
            json!("/secret/x"),
        ]);
    });
    fs::write(b.rootfs().join("secret"), "text").unwrap();
    for dir in ["hidden", "hidden2"] {
        fs::create_dir(b.rootfs().join(dir)).unwrap();
        fs::write(b.rootfs().join(dir).join("file"), "text").unwrap();
    }
    let out = b.run();
    assert!(
        !out.stdout.contains("text") && !out.stdout.contains("file"),
        "{out:#?}"
    );
    assert!(out.stdout.contains("ro"), "{out:#?}");
    assert_eq!(
        fs::read_to_string(b.rootfs().join("secret")).unwrap(),
        "text"
    );
}

#[test]
fn readonly_paths_cannot_be_written() {
    let script = "echo 1 > /proc/sys/kernel/panic || echo sys; echo x > /ro/file || echo file; echo h > /proc/sysrq-trigger || echo sysrq; mount -o remount,rw /ro || echo remount";
    let b = Bundle::sh(script).edit(|c| {
        let list = c["linux"]["readonlyPaths"].as_array_mut().unwrap();
        list.extend([json!("/ro"), json!("/not/there")]);
    });
    fs::create_dir(b.rootfs().join("ro")).unwrap();
    assert_eq!(b.run().ok(), "sys\nfile\nsysrq\nremount");
    let b = b.user_namespace();
    assert_eq!(b.run().ok(), "sys\nfile\nsysrq\nremount");
}

#[test]
fn the_default_devices_and_links() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t %T %a' /dev/$d; done; \
        for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; \
        echo x > /dev/null && head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/full || echo full";
    let nodes = "/dev/null 1 3 666\n/dev/zero 1 5 666\n/dev/full 1 7 666\n/dev/random 1 8 666\n/dev/urandom 1 9 666\n/dev/tty 5 0 666\n";
    let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
    let wanted = format!("{nodes}{links}3\n3\nfull");
    assert_eq!(Bundle::sh(script).run().ok(), wanted);
    let out = Bundle::sh(script).user_namespace().run().ok();
    assert_eq!(
        out.lines().skip(6).collect::<Vec<_>>().join("\n"),
        format!("{links}3\n3\nfull")
    );
}

#[test]
fn devices_of_the_configuration() {
    let b = Bundle::sh("stat -c '%n %F %t %T %a %u:%g' /dev/mine /dev/sub/pipe; cat /dev/loopish; echo $?").edit(|c| {
        c["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o620, "uid": 7, "gid": 8 },
            { "path": "/dev/sub/pipe", "type": "p", "fileMode": 0o600 },
            { "path": "/dev/loopish", "type": "b", "major": 7, "minor": 250 }
        ]);
    });
    let out = b.run();
    assert_eq!(
        out.stdout,
        "/dev/mine character special file 1 3 620 7:8\n/dev/sub/pipe fifo 0 0 600 0:0\n1\n"
    );
    // Made, but nothing allows to open it.
    assert!(out.stderr.contains("Operation not permitted"), "{out:#?}");
}

#[test]
fn another_file_in_a_devices_place_is_an_error() {
    let b = Bundle::new()
        .without_mount("/dev")
        .without_mount("/dev/pts");
    let b = b.without_mount("/dev/shm").without_mount("/dev/mqueue");
    fs::write(b.rootfs().join("dev/zero"), "not zero").unwrap();
    assert!(b.run().fails().contains("/dev/zero"));
}

#[test]
fn access_to_devices_follows_the_rules() {
    let script = "cat /dev/z | head -c 1 | wc -c; cat /dev/denied 2>/dev/null || echo denied";
    let b = Bundle::sh(script).edit(|c| {
        c["linux"]["devices"] = json!([
            { "path": "/dev/z", "type": "c", "major": 1, "minor": 5 },
            { "path": "/dev/denied", "type": "c", "major": 1, "minor": 11 }
        ]);
        c["linux"]["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    });
    assert_eq!(b.run().ok(), "1\ndenied");
}

#[test]
fn propagation_of_the_root() {
    for (mode, out_mark) in [
        ("private", false),
        ("slave", false),
        ("rslave", false),
        ("unbindable", false),
        ("shared", true),
    ] {
        let b = Bundle::sh(
            "grep ' / / ' /proc/self/mountinfo >/dev/null; grep -c -e shared: /proc/self/mountinfo; sleep 0",
        );
        let b = b.edit(|c| c["linux"]["rootfsPropagation"] = json!(mode));
        // A shared tree on the "host" of a private namespace.
        let script = format!(
            "mount --make-rshared / && n=$(wc -l < /proc/self/mountinfo) && {} --root {} run -b {} {} && [ $(wc -l < /proc/self/mountinfo) = $n ] && echo clean",
            BIN,
            b.records().display(),
            b.dir.path().display(),
            b.id
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "bash", "-c", &script]);
        let out = b.finish(command).ok();
        let mut lines = out.lines();
        let shared: u32 = lines.next().unwrap().parse().unwrap();
        assert_eq!(shared > 0, out_mark, "{mode}: {out}");
        assert_eq!(lines.next(), Some("clean"), "{mode}: {out}");
    }
}

#[test]
fn mounts_of_the_host_come_in_where_asked_and_never_go_out() {
    for (option, seen) in [("rslave", "in"), ("rprivate", "")] {
        let b = Bundle::sh("while [ ! -e /data/go ]; do sleep 0.02; done; ls /data/sub; mount -t tmpfs x /data/out; touch /data/out/x").edit(|c| {
            let caps = json!(["CAP_SYS_ADMIN"]);
            for set in ["bounding", "effective", "permitted"] {
                c["process"]["capabilities"][set] = caps.clone();
            }
        });
        let dir = data(&b);
        fs::create_dir(dir.join("out")).unwrap();
        let b = b.bind(&dir, "/data", &["rbind", option]);
        let script = format!(
            "mount --bind {0} {0}; mount --make-rshared /; {1} --root {2} run -b {3} {4} & \
             until {1} --root {2} state {4} 2>/dev/null | grep -q running; do sleep 0.02; done; \
             mount -t tmpfs t {0}/sub; touch {0}/sub/in; touch {0}/go; wait; ls {0}/out; umount {0}/sub",
            dir.display(),
            BIN,
            b.records().display(),
            b.dir.path().display(),
            b.id
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "bash", "-c", &script]);
        assert_eq!(b.finish(command).ok(), seen, "{option}");
    }
}

#[test]
fn the_old_root_is_gone() {
    let b = Bundle::sh("ls /; cat /proc/self/mountinfo");
    let out = b.run().ok();
    assert!(!out.contains("usr") || !Path::new("/usr").exists(), "{out}");
    let root = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let host_only = root
        .lines()
        .filter(|l| l.contains(" /sys/fs/cgroup/freezer "))
        .count();
    assert!(host_only <= 1);
    let points: Vec<&str> = out
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .filter(|p| p.starts_with('/'))
        .collect();
    assert!(
        points.contains(&"/") && points.contains(&"/proc"),
        "{points:?}"
    );
    assert_eq!(
        points.iter().filter(|p| **p == "/").count(),
        1,
        "{points:?}"
    );
}

#[test]
fn no_pivot_works_as_well() {
    let b = Bundle::sh("cat /here; ls /proc/self/fd >/dev/null && echo proc");
    fs::write(b.rootfs().join("here"), "yes\n").unwrap();
    assert_eq!(b.verb("run", &["--no-pivot"]).ok(), "yes\nproc");
}

/// Below the root that was moved over it, the host's mount tree is still there,
/// and a procfs in it that shows everything would let a user namespace inside
/// mount one of its own.
#[test]
fn no_pivot_leaves_no_procfs_of_the_host_anywhere() {
    let b = Bundle::sh("unshare -Urmpf sh -c 'mount -t proc none /proc && echo mounted'");
    let b = b.edit(|c| {
        for set in ["bounding", "effective", "permitted"] {
            let set = c["process"]["capabilities"][set].as_array_mut().unwrap();
            set.push(json!("CAP_SETFCAP"));
        }
    });
    let elsewhere = b.path("another procfs");
    fs::create_dir(&elsewhere).unwrap();
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let mut command = Command::new("unshare");
    let script = "mount -t proc proc \"$0\" && exec \"$@\"";
    command
        .args(["--mount", "sh", "-c", script])
        .arg(&elsewhere);
    command.arg(BIN.path()).arg("--root").arg(b.records());
    command.args(["run", "--no-pivot", "-b", &dir, &b.id]);
    let out = b.finish(command);
    assert!(!out.stdout.contains("mounted"), "{out:#?}");
    assert!(out.stderr.contains("ermission denied"), "{out:#?}");
}

#[test]
fn the_cgroup_mount_shows_the_own_groups() {
    // Version 1 has a directory for each controller.
    let pids = if is_unified() { "." } else { "pids" };
    let script = format!(
        "cd /sys/fs/cgroup; cat {pids}/pids.max; ls; mkdir {pids}/x 2>/dev/null || echo ro; \
         cat /proc/self/cgroup | cut -d: -f3 | sort -u"
    );
    let shown = if is_unified() {
        ["memory.current", "cgroup.freeze"]
    } else {
        ["memory", "freezer"]
    };
    let b = Bundle::sh(&script)
        .mount(
            "cgroup",
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        )
        .edit(|c| c["linux"]["resources"]["pids"] = json!({ "limit": 42 }));
    let b = b.namespace("cgroup", None);
    let out = b.run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.first(), Some(&"42"), "{out}");
    assert!(
        shown.iter().all(|name| lines.contains(name)) && lines.contains(&"ro"),
        "{out}"
    );
    assert_eq!(lines.last(), Some(&"/"), "{out}");
    // Without a cgroup namespace the group itself is bound there, or version 2 is
    // seen as the host sees it.
    let b = b.without_namespace("cgroup");
    let out = b.run().ok();
    match is_unified() {
        false => assert_eq!(out.lines().next(), Some("42"), "{out}"),
        true => assert!(!out.contains("memory.current\n"), "{out}"),
    }
    assert_eq!(out.lines().last(), Some(b.cgroup.as_str()), "{out}");
}

#[test]
fn iversion_is_taken_where_it_means_nothing() {
    let b = Bundle::sh("grep ' /tmp ' /proc/mounts").edit(|c| {
        let mount = json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["iversion"],
        });
        c["mounts"].as_array_mut().unwrap().push(mount);
    });
    assert!(b.run().ok().starts_with("tmpfs /tmp tmpfs"));
}
