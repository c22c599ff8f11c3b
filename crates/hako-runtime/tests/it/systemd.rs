//! `--systemd-cgroup`: what needs no systemd, and for a machine that systemd
//! has booted (`cargo xtask vm-test --systemd`), what it sees of a container.

use serde_json::json;

use crate::harness::Bundle;

mod booted;

fn with_path(path: &str) -> Bundle {
    Bundle::new().edit(|c| c["linux"]["cgroupsPath"] = json!(path))
}

#[test]
fn a_path_is_no_unit() {
    for flag in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let bundle = with_path("/a/b");
        let mut args = flag.to_vec();
        let dir = bundle.path("").to_str().unwrap().to_owned();
        args.extend(["run", "--bundle", &dir, &bundle.id]);
        let text = bundle.call(&args).fails();
        assert!(
            text.contains("linux.cgroupsPath") && text.contains("slice:prefix:name"),
            "{text}"
        );
        assert!(!bundle.records().join(&bundle.id).exists());
    }
}

#[test]
fn without_a_systemd_it_is_said() {
    let bundle = with_path("");
    let dir = bundle.path("").to_str().unwrap().to_owned();
    let args = [
        "--systemd-cgroup",
        "--rootless=true",
        "run",
        "--bundle",
        &dir,
        &bundle.id,
    ];
    let mut command = bundle.command(&args);
    command.env("XDG_RUNTIME_DIR", bundle.path("none"));
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    let text = bundle.finish(command).fails();
    match crate::harness::is_unified() {
        true => assert!(
            text.contains("none/systemd/private (cannot connect"),
            "{text}"
        ),
        false => assert!(text.contains("cgroup v1"), "{text}"),
    }
    assert!(!bundle.records().join(&bundle.id).exists());
}
