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

#[test]
fn our_runtime_passes_everything() {
    let (code, text, errors) = tester(&ours(), &["--format", "json", "--timeout", "60"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let results = report[0]["results"].as_array().unwrap();
    assert!(results.len() >= 350, "{}", results.len());
    // What this kernel lacks may be skipped, what the runtime lacks may not.
    let skipped = |it: &Value| {
        let why = it["seen"].as_str().unwrap();
        it["outcome"] == "skip" && !why.contains("came with")
    };
    let bad: Vec<&Value> = results
        .iter()
        .filter(|it| it["outcome"] != "pass" && !skipped(it))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
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

/// The same for the configuration's chapter.
#[test]
fn runc_deviates_from_config_where_it_is_known_to() {
    let filter = [
        "--filter",
        "config.md",
        "--filter",
        "bundle.md",
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
        .filter(|it| it["outcome"] != "pass" && it["outcome"] != "skip")
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        bad,
        [
            "version.missing",
            "version.not-semver",
            "version.unsupported",
            "mounts.file-system-options",
            "mount-option.defaults",
            "mount-option.ratime",
            "mount-option.rnostrictatime",
            "rlimits.duplicate",
            "hook.prestart.path-relative",
            "hook.create-runtime.path-relative",
            "hook.create-container.path-relative",
            "hook.start-container.path-relative",
            "hook.poststart.path-relative",
            "hook.poststart.state",
            "hook.poststop.path-relative",
            "annotations.empty-key",
        ]
    );
    assert_eq!(code, 1);
    // What came after the version that it knows is not held against it.
    let skipped = |name: &str| {
        results
            .iter()
            .any(|it| it["name"] == name && it["outcome"] == "skip")
    };
    assert!(skipped("scheduler.other") && skipped("mount-option.idmap"));
}

/// What does nothing at all, well or badly, is no runtime.
#[test]
fn no_runtimes() {
    let filter = ["--format", "json", "--timeout", "2", "--jobs", "16"];
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

#[test]
fn bundles_are_looked_at() {
    let world = World::new();
    let bundle = world.path("bundle");
    std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let dir = bundle.to_str().unwrap();
    let error = world.fails(&["conformance", "bundle", dir], 125);
    assert!(error.contains("bundle/config.json"), "{error}");
    let spec = std::process::Command::new(ours())
        .args(["spec", "--bundle", dir])
        .status();
    assert!(spec.unwrap().success());
    // The example's program is not there.
    let text = world.ok(&["conformance", "bundle", dir]);
    assert!(
        text.starts_with("warning: process.args[0]: no program"),
        "{text}"
    );
    assert_eq!(world.ok(&["conformance", "bundle", "--quiet", dir]), "");
    let path = bundle.join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"rootfs\"", "\"elsewhere\"")).unwrap();
    let done = world.run(&["conformance", "bundle", "--format", "json", dir]);
    let findings: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (done.status, &findings[0]["place"]),
        (1, &Value::from("root.path"))
    );
}
