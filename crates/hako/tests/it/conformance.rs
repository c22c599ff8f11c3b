//! `hako conformance runtime`: what it says of our runtime, of a peer's, and of
//! programs that are none.

use std::path::Path;

use serde_json::Value;

use crate::support::{World, hako};

fn tester(runtime: &Path, more: &[&str]) -> (i32, String, String) {
    let world = World::new();
    let mut args = vec!["conformance", "runtime", runtime.to_str().unwrap()];
    args.extend(more);
    let done = world.run(&args);
    (done.status, done.out, done.err)
}

fn ours() -> std::path::PathBuf {
    hako().with_file_name("hako-runtime")
}

/// The names of the checks with one of `outcomes`.
fn names<'a>(report: &'a Value, outcomes: &[&str]) -> Vec<&'a str> {
    let results = report[0]["results"].as_array().unwrap();
    let has = |it: &&Value| outcomes.contains(&it["outcome"].as_str().unwrap());
    let names = results.iter().filter(has);
    names.map(|it| it["name"].as_str().unwrap()).collect()
}

/// What some kernel or machine lacks, or what is optional in a document; all
/// else has to be tried.
const MAY_BE_SKIPPED: &[&str] = &[
    "namespaces.",
    "time-offsets.",
    "cgroup",
    "device-rules.",
    "memory.",
    "cpu.",
    "block-io.",
    "hugepages.",
    "network.",
    "net-devices.",
    "rdma.",
    "pids.",
    "unified.",
    "intel-rdt.",
    "memory-policy.",
    "seccomp.arch-",
    "seccomp.flag-",
    "mount-label.",
    "features.annotations",
    "features.unsafe-annotations",
];

#[test]
fn our_runtime_passes_everything() {
    let (code, text, errors) = tester(&ours(), &["--format", "json", "--timeout", "60"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let results = report[0]["results"].as_array().unwrap();
    assert!(results.len() >= 365, "{}", results.len());
    let bad: Vec<&Value> = results
        .iter()
        .filter(|it| it["outcome"] == "fail" || it["outcome"] == "error")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let mut skipped = names(&report, &["skip"]);
    skipped.retain(|name| !MAY_BE_SKIPPED.iter().any(|may| name.starts_with(may)));
    assert_eq!(skipped, [""; 0]);
    assert_eq!(
        (code, &report[0]["compliant"], errors.as_str()),
        (0, &Value::from(true), "")
    );
}

/// Debian's runc, whose deviations are known: a tester that sees none of them,
/// or others, has changed.
#[test]
fn runc_deviates_where_it_is_known_to() {
    let filter = [
        "--filter",
        "runtime.md",
        "--format",
        "json",
        "--timeout",
        "60",
    ];
    let (code, text, _) = tester(Path::new("runc"), &filter);
    let report: Value = serde_json::from_str(&text).unwrap();
    let results = report[0]["results"].as_array().unwrap();
    let bad: Vec<&str> = results
        .iter()
        .filter(|it| it["outcome"] != "pass")
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        bad,
        [
            "delete.created",
            "hooks.poststart",
            "hooks.sequence",
            "hooks.poststart-fails",
            "hooks.poststop-fails",
        ]
    );
    assert_eq!(code, 1);
}

/// The same of the chapters on Linux and of the features document, on a machine
/// whose huge pages are limited by version 2 alone, which runc does not look at
/// beside version 1.
#[test]
fn runc_deviates_where_it_is_known_to_on_linux() {
    let (code, text, _) = tester(
        Path::new("runc"),
        &[
            "--filter",
            "linux.md",
            "--filter",
            "features.md",
            "--format",
            "json",
            "--timeout",
            "60",
        ],
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        names(&report, &["fail", "error"]),
        [
            "namespaces.path-user",
            "mappings.without-container-id",
            "mappings.without-host-id",
            "devices.existing-file",
            "devices.existing-directory",
            "devices.existing-link",
            "devices.existing-other-device",
            "devices.without-path",
            "devices.without-major",
            "devices.without-minor",
            "device-rules.without-allow",
            "memory.kernel-tcp",
            "hugepages.limit",
            "block-io.no-weight",
            "block-io.no-rate",
            "hugepages.unknown-size",
            "hugepages.without-size",
            "hugepages.without-limit",
            "intel-rdt.no-resctrl",
            "seccomp.flag-tsync",
            "seccomp.flag-log",
            "seccomp.flag-spec-allow",
            "seccomp.no-names",
            "seccomp.empty-names",
            "seccomp.no-index",
            "seccomp.no-value",
            "rootfs-propagation.shared",
            "rootfs-propagation.slave",
            "rootfs-propagation.unbindable",
            "masked-paths.relative",
            "readonly-paths.relative",
            "personality.linux32",
            "personality.unknown-domain",
            "personality.no-domain",
            "personality.flags",
            "features.mount-options",
        ]
    );
    assert_eq!(code, 1);
}

/// What does nothing at all, well or badly, is no runtime.
#[test]
fn no_runtimes() {
    let filter = ["--format", "json", "--timeout", "1"];
    for program in ["/bin/true", "/bin/false"] {
        let (code, text, _) = tester(Path::new(program), &filter);
        let report: Value = serde_json::from_str(&text).unwrap();
        let results = report[0]["results"].as_array().unwrap();
        let passed = results.iter().filter(|it| it["outcome"] == "pass").count();
        assert_eq!(code, 1);
        assert_eq!(passed, 0, "{program} of {}", results.len());
    }
    let (code, _, errors) = tester(Path::new("/no/such/runtime"), &[]);
    assert_eq!(code, 125);
    assert!(
        errors.contains("/no/such/runtime is not a program"),
        "{errors}"
    );
}

#[test]
fn forms_of_the_results() {
    let few = ["--filter", "state.", "--format"];
    let (_, tap, _) = tester(&ours(), &[&few[..], &["tap"]].concat());
    let (plan, lines) = tap
        .strip_prefix("TAP version 13\n1..")
        .unwrap()
        .split_once('\n')
        .unwrap();
    assert_eq!(plan.parse::<usize>().unwrap(), lines.lines().count());
    assert!(lines.lines().all(|line| line.starts_with("ok ")), "{tap}");
    let (_, xml, _) = tester(&ours(), &[&few[..], &["junit"]].concat());
    assert_eq!(xml.matches("<testcase ").count().to_string(), plan);
    assert!(xml.contains("failures=\"0\" errors=\"0\""), "{xml}");
    let (_, table, _) = tester(&ours(), &[&few[..], &["table"]].concat());
    assert!(table.contains("runtime.md"), "{table}");
    // TAP of what fails says why.
    let quick = [&few[..], &["tap", "--timeout", "1"]].concat();
    let (code, tap, _) = tester(Path::new("/bin/true"), &quick);
    assert_eq!(code, 1);
    assert!(tap.contains("\nnot ok 1 - "), "{tap}");
    assert!(tap.contains("\n  seen: \""), "{tap}");
    let world = World::new();
    let list = world.ok(&["conformance", "runtime", "--list", "--level", "must"]);
    assert!(list.lines().all(|line| line.starts_with("MUST ")), "{list}");
    world.fails(
        &["conformance", "runtime", "--list", "--filter", "nothing"],
        125,
    );
}
