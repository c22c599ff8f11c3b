//! `hako conformance runtime`: what it says of our runtime, of a peer's, and of
//! programs that are none.

use std::path::Path;

use serde_json::Value;

use crate::support::{World, hako};

/// Runs the tester for as long as it takes, with its output in files: what an
/// unruly runtime leaves behind may hold on to them.
fn tester(runtime: &Path, more: &[&str]) -> (i32, String, String) {
    let world = World::new();
    let mut args = vec!["conformance", "runtime", runtime.to_str().unwrap()];
    args.extend(more);
    let (out, err) = (world.path("out"), world.path("err"));
    let mut command = world.command(&args);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::fs::File::create(&out).unwrap());
    command.stderr(std::fs::File::create(&err).unwrap());
    let status = command.status().unwrap().code().unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    (status, text(out), text(err))
}

fn ours() -> std::path::PathBuf {
    hako().with_file_name("hako-runtime")
}

/// The status and the report of a runtime's checks of these documents.
fn reported(runtime: &Path, documents: &[&str]) -> (i32, Value) {
    let mut args = vec!["--format", "json", "--timeout", "60"];
    for document in documents {
        args.extend(["--filter", document]);
    }
    let (code, text, _) = tester(runtime, &args);
    (code, serde_json::from_str(&text).unwrap())
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
    "process.apparmor-",
    "process.oom-score-adj-lower",
    "process.selinux-",
    "rlimits.",
];

#[test]
fn our_runtime_passes_everything() {
    let (code, text, errors) = tester(&ours(), &["--format", "json", "--timeout", "60"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let results = report[0]["results"].as_array().unwrap();
    assert!(results.len() >= 650, "{}", results.len());
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
    let (code, report) = reported(Path::new("runc"), &["runtime.md"]);
    let bad = names(&report, &["fail", "error", "skip"]);
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
    let (code, report) = reported(Path::new("runc"), &["config.md", "bundle.md"]);
    let bad = names(&report, &["fail", "error"]);
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
    let skipped = names(&report, &["skip"]);
    assert!(skipped.contains(&"scheduler.other") && skipped.contains(&"mount-option.idmap"));
}

/// The same of the chapters on Linux and of the features document, on a machine
/// whose huge pages are limited by version 2 alone, which runc does not look at
/// beside version 1.
#[test]
fn runc_deviates_where_it_is_known_to_on_linux() {
    let (code, report) = reported(Path::new("runc"), &["linux.md", "features.md"]);
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

/// On a slow machine a second is over before a hook's program has begun: here
/// each starts late.
#[test]
fn hooks_that_are_slow_to_begin() {
    let world = World::new();
    let (runtime, slow) = (world.path("slow-runtime"), world.path("slow"));
    let script = format!(
        r##"#!/bin/sh
for word; do
    if [ "$last" = --bundle ]; then
        probe=$(sed -n 's/.*"path":"\([^"]*hako-probe\)".*/\1/p' "$word/config.json")
        if [ -n "$probe" ]; then
            printf '#!/bin/sh\nsleep 1.5\nexec %s "$@"\n' "$probe" > {slow}
            chmod 755 {slow}
            sed -i "s#\"path\":\"$probe\"#\"path\":\"{slow}\"#" "$word/config.json"
        fi
    fi
    last=$word
done
exec {ours} "$@"
"##,
        slow = slow.display(),
        ours = ours().display()
    );
    std::fs::write(&runtime, script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
    let check = ["--exact", "--filter", "hook.poststart.timeout"];
    let (code, text, _) = tester(&runtime, &[&check[..], &["--format", "tap"]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(
        std::fs::read_to_string(&slow)
            .unwrap()
            .contains("sleep 1.5")
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
    let listed = |more: &[&str]| {
        let list = ["conformance", "runtime", "--list", "--filter"];
        world.ok(&[&list[..], more].concat()).lines().count()
    };
    assert!(listed(&["cpu.period"]) == 1 && listed(&["cpu."]) > 1);
    assert!(listed(&["hook.poststart.state", "--exact"]) == 1);
    for none in [&["nothing"][..], &["cpu.", "--exact"]] {
        let list = ["conformance", "runtime", "--list", "--filter"];
        world.fails(&[&list[..], none].concat(), 125);
    }
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
