//! Images that other tools made and pushed to another registry: the process is
//! the right one, and the tree that it sees is the one that umoci unpacks.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::debian::Registry;
use crate::support::{World, must};

/// Files that a runtime or an engine gives each container of its own.
const PROVIDED: [&str; 6] = [
    "./dev",
    "./proc",
    "./sys",
    "./etc/hosts",
    "./etc/hostname",
    "./etc/resolv.conf",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What GNU tar sees of a tree, line by line and then byte by byte: names, modes,
/// owners, times, links, devices, extended attributes, contents.
fn tree(root: &Path) -> (String, Vec<u8>) {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root).args([
        "--create",
        "--format=pax",
        "--pax-option=delete=atime,delete=ctime",
        "--one-file-system",
        "--sort=name",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
    ]);
    for name in PROVIDED {
        tar.arg(format!("--exclude={name}"));
    }
    let out = tar.arg(".").stdin(Stdio::null()).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &out.stdout).unwrap();
    let list = Command::new("tar")
        .args([
            "--list",
            "-vv",
            "--full-time",
            "--numeric-owner",
            "--xattrs",
            "--file",
        ])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(list.status.success());
    (
        String::from_utf8_lossy(&list.stdout).into_owned(),
        out.stdout,
    )
}

/// Fills the first layer.
fn first_layer(root: &Path) {
    for name in [
        "bin",
        "etc",
        "dev",
        "proc",
        "sys",
        "data/deep/er",
        "gone",
        "hidden",
    ] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in ["sh", "id", "sleep", "cat"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(root.join("etc").join(name), "").unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1234:77:a person:/data:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    let data = root.join("data");
    std::fs::write(data.join("one"), "one\n".repeat(50_000)).unwrap();
    std::fs::hard_link(data.join("one"), data.join("deep/two")).unwrap();
    std::fs::write(data.join("empty"), "").unwrap();
    std::fs::write(data.join("caf\u{e9} \u{7bb1}\nline"), "odd name").unwrap();
    let long = ["n".repeat(120), "m".repeat(200)];
    std::fs::create_dir(data.join(&long[0])).unwrap();
    std::fs::write(data.join(&long[0]).join(&long[1]), "long").unwrap();
    symlink("/not/there", data.join("dangling")).unwrap();
    symlink(format!("../{}", "x".repeat(150)), data.join("far")).unwrap();
    for (name, mode) in [
        ("one", 0o4750),
        ("empty", 0o2711),
        ("deep", 0o1777),
        ("deep/er", 0o500),
    ] {
        std::fs::set_permissions(data.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(data.join("deep/er"), Some(1234), Some(77)).unwrap();
    std::os::unix::fs::chown(data.join("empty"), Some(3_000_000), Some(4_000_000)).unwrap();
    must("mknod", &[text(&data.join("null")), "c", "1", "3"]);
    must("mknod", &[text(&data.join("block")), "b", "7", "200"]);
    must("mkfifo", &[text(&data.join("fifo"))]);
    must(
        "setfattr",
        &["-n", "user.word", "-v", "a value", text(&data.join("one"))],
    );
    must(
        "setfattr",
        &["-n", "user.dir", "-v", "0x00ff00", text(&data.join("deep"))],
    );
    must(
        "setcap",
        &["cap_net_raw+ep", text(&root.join("bin/busybox"))],
    );
    must(
        "touch",
        &["-d", "2001-02-03 04:05:06.789", text(&data.join("empty"))],
    );
    must(
        "touch",
        &["-h", "-d", "1999-12-31 23:59:59", text(&data.join("far"))],
    );
    std::fs::write(root.join("gone/file"), "gone").unwrap();
    std::fs::write(root.join("hidden/file"), "hidden").unwrap();
}

/// What the second layer changes: a file and a directory go, one comes back as
/// something else, one changes its owner alone.
fn second_layer(root: &Path) {
    std::fs::remove_dir_all(root.join("gone")).unwrap();
    std::fs::remove_dir_all(root.join("hidden")).unwrap();
    std::fs::write(root.join("hidden"), "a file now").unwrap();
    std::fs::remove_file(root.join("data/dangling")).unwrap();
    std::fs::create_dir(root.join("data/dangling")).unwrap();
    std::os::unix::fs::chown(root.join("data/block"), Some(5), Some(6)).unwrap();
    std::fs::write(root.join("etc/second"), "second\n").unwrap();
}

/// Makes the image `1` of two layers in a layout and unpacks it with umoci.
fn make(world: &World) -> (String, std::path::PathBuf) {
    let layout = world.path("layout");
    let image = format!("{}:1", text(&layout));
    must("umoci", &["init", "--layout", text(&layout)]);
    must("umoci", &["new", "--image", &image]);
    for (number, fill) in [first_layer, second_layer].iter().enumerate() {
        let bundle = world.path(&format!("bundle{number}"));
        must("umoci", &["unpack", "--image", &image, text(&bundle)]);
        fill(&bundle.join("rootfs"));
        must("umoci", &["repack", "--image", &image, text(&bundle)]);
    }
    let config = [
        "config",
        "--image",
        &image,
        "--config.env=PATH=/bin",
        "--config.env=FROM=umoci",
        "--config.user=ann",
        "--config.workingdir=/data",
        "--config.entrypoint=/bin/sh",
        "--config.entrypoint=-c",
        "--config.cmd=id -u; id -g; echo $FROM; pwd; cat /etc/second",
    ];
    must("umoci", &config);
    (format!("oci:{image}"), unpacked(world, &image, "oracle"))
}

fn unpacked(world: &World, image: &str, name: &str) -> std::path::PathBuf {
    let bundle = world.path(name);
    must("umoci", &["unpack", "--image", image, text(&bundle)]);
    bundle.join("rootfs")
}

fn skopeo(flags: &[&str], from: &str, to: &str) {
    let common = [
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "-q",
    ];
    must("skopeo", &[&common[..], flags, &[from, to]].concat());
}

/// Runs a container of the image and compares its tree with umoci's.
fn same_tree(world: &World, name: &str, oracle: &Path) {
    let args = [
        "run",
        "-d",
        "--network",
        "none",
        "--entrypoint",
        "/bin/sleep",
        name,
        "1000",
    ];
    let id = world.ok(&args);
    let pid = world.ok(&["inspect", "-f", "{{.State.Pid}}", &id]);
    let root = Path::new("/proc").join(pid).join("root");
    let (ours, our_bytes) = tree(&root);
    let (theirs, their_bytes) = tree(oracle);
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(ours, theirs, "{name}");
    assert!(
        our_bytes == their_bytes,
        "{name}: attributes or contents differ"
    );
    assert_eq!(
        std::fs::metadata(root.join("data/one")).unwrap().nlink(),
        std::fs::metadata(oracle.join("data/one")).unwrap().nlink()
    );
    world.ok(&["rm", "-f", &id]);
}

#[test]
fn skopeo_pushes_every_format() {
    let world = World::new();
    let (source, oracle) = make(&world);
    assert!(
        tree(&oracle).0.contains("user.word"),
        "the oracle sees attributes"
    );
    let plain = format!("dir:{}", text(&world.path("plain")));
    skopeo(&["--dest-decompress"], &source, &plain);
    let formats: [(&str, &[&str], &str); 5] = [
        ("docker", &["--format", "v2s2"], &source),
        ("docker-plain", &["--format", "v2s2"], &plain),
        ("oci", &["--format", "oci"], &source),
        (
            "oci-zstd",
            &["--format", "oci", "--dest-compress-format", "zstd"],
            &plain,
        ),
        ("oci-plain", &["--preserve-digests"], &plain),
    ];
    for (tag, flags, from) in formats {
        // skopeo would take a layer of another compression that a registry has.
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path(), None);
        let name = format!("{}/made/by-umoci:{tag}", registry.host);
        skopeo(flags, from, &format!("docker://{name}"));
        let run = world.run(&["run", "--rm", "--network", "none", &name]);
        let right = "1234\n77\numoci\n/data\nsecond\n";
        assert_eq!((run.status, run.out.as_str()), (0, right), "{tag}: {run:?}");
        same_tree(&world, &name, &oracle);
        // Unpacked from nothing for each format.
        world.ok(&["system", "prune", "-f", "-a"]);
    }
    world.assert_empty();
}

#[test]
fn buildah_builds_and_an_index_has_many_platforms() {
    let world = World::new();
    let registry = Registry::start(&world.path("."), None);
    let root = world.path("buildah");
    let run_root = world.path("buildah-run");
    let common = [
        "--root",
        text(&root),
        "--runroot",
        text(&run_root),
        "--storage-driver",
        "vfs",
    ];
    let buildah = |args: &[&str]| {
        let out = Command::new("buildah")
            .args(common)
            .args(args)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "buildah {args:?}: {err}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let policy = world.path("policy.json");
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let files = world.path("files");
    first_layer(&files);
    let name = |tag: &str| format!("{}/built:{tag}", registry.host);
    for format in ["oci", "docker"] {
        for architecture in ["arm64", "amd64"] {
            let container = buildah(&["from", "scratch"]);
            buildah(&["copy", &container, text(&files), "/"]);
            let words = format!("echo {format} {architecture}");
            let cmd = serde_json::json!(["/bin/sh", "-c", words]).to_string();
            buildah(&["config", "--arch", architecture, "--cmd", &cmd, &container]);
            let tag = format!("{format}-{architecture}");
            let to = format!("docker://{}", name(&tag));
            let flags = [
                "--signature-policy",
                text(&policy),
                "--tls-verify=false",
                "-q",
            ];
            buildah(
                &[
                    &["commit", "--format", format][..],
                    &flags,
                    &[&container, &to],
                ]
                .concat(),
            );
            buildah(&["rm", &container]);
        }
        let run = world.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            &name(&format!("{format}-amd64")),
        ]);
        assert_eq!(
            (run.status, run.out),
            (0, format!("{format} amd64\n")),
            "{}",
            run.err
        );

        let list = format!("localhost/list-{format}");
        buildah(&["manifest", "create", &list]);
        for architecture in ["arm64", "amd64"] {
            let from = format!("docker://{}", name(&format!("{format}-{architecture}")));
            buildah(&["manifest", "add", "--tls-verify=false", &list, &from]);
        }
        let kind = if format == "oci" { "oci" } else { "v2s2" };
        let to = format!("docker://{}", name(format));
        let flags = ["--signature-policy", text(&policy), "--tls-verify=false"];
        buildah(&[&["manifest", "push", "-f", kind][..], &flags, &[&list, &to]].concat());
        let run = world.run(&["run", "--rm", "--network", "none", &name(format)]);
        assert_eq!(
            (run.status, run.out),
            (0, format!("{format} amd64\n")),
            "{}",
            run.err
        );

        let copy = format!("{}:{format}", text(&world.path("copy")));
        skopeo(
            &[],
            &format!("docker://{}", name(&format!("{format}-amd64"))),
            &format!("oci:{copy}"),
        );
        let oracle = unpacked(&world, &copy, &format!("oracle-{format}"));
        same_tree(&world, &name(format), &oracle);
        // The other platform is refused where it cannot run, not run by mistake.
        let other = world.run(&["pull", "--platform", "linux/s390x", &name(format)]);
        assert_eq!(other.status, 125, "{other:?}");
        assert!(other.err.contains("linux/s390x"), "{other:?}");
    }
    world.assert_empty();
}
