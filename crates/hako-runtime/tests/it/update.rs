//! `update` and `events`, on whatever hierarchy there is.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Bundle, until};

/// What the first of these control files says.
fn control(b: &Bundle, names: &[&str]) -> String {
    let paths = b
        .cgroups()
        .into_iter()
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    let text = paths.filter_map(|path| std::fs::read_to_string(path).ok());
    text.map(|text| text.trim().to_owned())
        .next()
        .unwrap_or_else(|| panic!("none of {names:?}"))
}

const MEMORY: &[&str] = &["memory.limit_in_bytes", "memory.max"];
const PIDS: &[&str] = &["pids.max"];
const CPUS: &[&str] = &["cpuset.cpus"];

/// What 0 tasks are depends on when the configuration was written.
#[test]
fn zero_tasks_are_no_limit_before_version_1_3() {
    let none = json!({ "pids": { "limit": 0 } });
    let b = Bundle::sleeper().edit(|c| {
        c["ociVersion"] = json!("1.0.2-dev");
        c["linux"]["resources"] = none.clone();
    });
    b.up();
    assert_eq!(control(&b, PIDS), "max");
    b.call(&["update", "--pids-limit", "9", &b.id]).ok();
    assert_eq!(control(&b, PIDS), "9");
    let file = b.path("limits");
    std::fs::write(&file, none.to_string()).unwrap();
    b.call(&["update", "-r", file.to_str().unwrap(), &b.id])
        .ok();
    assert_eq!(control(&b, PIDS), "max");
    let b = b.edit(|c| c["ociVersion"] = json!("1.3.0"));
    b.call(&["delete", "--force", &b.id]).ok();
    b.up();
    assert_eq!(control(&b, PIDS), "1");
}

#[test]
fn limits_change_by_flags() {
    let b = Bundle::sleeper().edit(|c| {
        c["linux"]["resources"] = json!({
            "memory": { "limit": 67_108_864 }, "pids": { "limit": 20 },
            "cpu": { "quota": 50_000, "period": 100_000 },
        });
    });
    b.up();
    let update = |flags: &[&str]| b.call(&[&["update"], flags, &[b.id.as_str()]].concat());
    update(&["--memory", "96M", "--pids-limit", "31"]).ok();
    assert_eq!(control(&b, MEMORY), "100663296");
    assert_eq!(control(&b, PIDS), "31");
    // What is not named stays, and an empty value names nothing.
    update(&["--memory=", "--cpuset-cpus", "0", "--pids-limit", "32"]).ok();
    assert_eq!(control(&b, MEMORY), "100663296");
    assert_eq!(
        (control(&b, CPUS), control(&b, PIDS)),
        ("0".into(), "32".into())
    );
    // A quota alone keeps its period.
    update(&["--cpu-quota", "70000"]).ok();
    let quota = control(&b, &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(
        ["70000", "70000 100000"].contains(&quota.as_str()),
        "{quota}"
    );
    update(&["--memory", "-1"]).ok();
    let limit = control(&b, MEMORY);
    assert!(
        ["max", "9223372036854771712"].contains(&limit.as_str()),
        "{limit}"
    );

    for (flags, word) in [
        (["--memory", "lots"], "--memory"),
        (["--cpu-period", "-3"], "period"),
        (["--cpu-share", "1x"], "--cpu-share"),
        (["--cpuset-cpus", "900"], "cpus"),
        (["--l3-cache-schema", "L3:0=f"], "no resctrl group"),
        (["--resources", "/no/such/file"], "/no/such/file"),
    ] {
        let text = update(&flags).fails();
        assert!(text.contains(word), "{flags:?}: {text}");
    }
    assert_eq!(control(&b, PIDS), "32");
    let warned = update(&["--kernel-memory", "1000000"]);
    warned.ok();
    assert!(warned.stderr.contains("kernel memory"), "{warned:#?}");
}

#[test]
fn limits_change_by_a_document() {
    let b = Bundle::sleeper();
    b.up();
    let update = |text: &str| {
        let mut command = b.command(&["update", "--resources", "-", &b.id]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let done = update(r#"{"pids":{"limit":44},"cpu":{"cpus":"0"}}"#);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        (control(&b, PIDS), control(&b, CPUS)),
        ("44".into(), "0".into())
    );
    for bad in ["", "{", "[]", r#"{"pids":{"limit":"many"}}"#] {
        let done = update(bad);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && text.contains("--resources -"),
            "{bad}: {text}"
        );
    }
    let path = b.path("limits.json");
    std::fs::write(&path, r#"{"pids":{"limit":45}}"#).unwrap();
    b.call(&["update", "-r", path.to_str().unwrap(), &b.id])
        .ok();
    assert_eq!(control(&b, PIDS), "45");

    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    let text = b.call(&["update", "--pids-limit", "9", &b.id]).fails();
    assert!(text.contains("container not running"), "{text}");
}

#[test]
fn statistics_once() {
    let b = Bundle::sh("while :; do :; done").edit(|c| {
        c["linux"]["resources"] = json!({ "pids": { "limit": 20 } });
    });
    b.up();
    let stats = || -> Value {
        let text = b.call(&["events", "--stats", &b.id]).ok();
        let start = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":", b.id);
        assert!(text.starts_with(&start), "{text}");
        serde_json::from_str(&text).unwrap()
    };
    until(|| stats()["data"]["cpu"]["usage"]["total"].as_u64() > Some(20_000_000));
    let all = stats();
    assert_eq!((&all["type"], &all["id"]), (&json!("stats"), &json!(b.id)));
    let data = &all["data"];
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 20 }));
    assert!(
        data["memory"]["usage"]["usage"].as_u64() > Some(0),
        "{data}"
    );
    assert!(data["memory"]["raw"].is_object(), "{data}");
    assert!(data["cpu"]["usage"]["user"].is_u64(), "{data}");
    for name in ["cpuset", "blkio", "hugetlb", "intel_rdt"] {
        assert!(data[name].is_object(), "{name}: {data}");
    }
    for bad in ["0s", "x", "-1s"] {
        let text = b.call(&["events", "--interval", bad, &b.id]).fails();
        assert!(text.contains("--interval"), "{text}");
    }
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    assert!(
        b.call(&["events", "--stats", &b.id])
            .fails()
            .contains("not running")
    );
}

/// Statistics again and again, the end of memory, and an end with the
/// container's.
#[test]
fn events_until_the_end() {
    // A string that doubles until there is no room for it.
    // Not the first process: systemd removes the cgroup of an ended one, and
    // its counts with it.
    let script = "s=x; cat /tmp/go; (while :; do s=$s$s; done); sleep 1";
    let b = Bundle::sh(script).edit(|c| {
        c["linux"]["resources"] = json!({ "memory": { "limit": 16_777_216 } });
    });
    let fifo = b.rootfs().join("tmp/go");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    b.up();
    let (out, told) = (b.path("events"), || {
        std::fs::read_to_string(b.path("events")).unwrap()
    });
    let mut command = b.command(&["events", "--interval", "50ms", &b.id]);
    command.stdout(std::fs::File::create(&out).unwrap());
    let mut child = command.spawn().unwrap();
    until(|| told().lines().count() >= 2);
    assert!(
        told().lines().all(|line| line.contains("\"stats\"")),
        "{}",
        told()
    );
    std::fs::write(&fifo, "").unwrap();
    until(|| child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    let oom = json!({ "type": "oom", "id": b.id });
    let found = told()
        .lines()
        .any(|line| serde_json::from_str::<Value>(line).unwrap() == oom);
    assert!(found, "{}", told());
}
