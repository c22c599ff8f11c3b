//! What runs in the guest: the programs under test as they are shipped, the
//! test programs of the crates that need a kernel of their own, and the tester
//! of runtimes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::binaries;
use crate::command::{cargo, show};
use crate::vm::plan::{Kind, Suite};
use crate::vm::tree::Tree;
use crate::vm::{Guest, systemd};

/// Crates whose tests run in the guest.
const CRATES: [&str; 4] = ["hako-cgroup", "hako-runtime", "hako-monitor", "hako"];

/// The suite whose tests are the checks of `hako conformance runtime`.
const CONFORMANCE: &str = "hako-conformance::runtime";

/// Tests that cannot run in the guest: suite, start of the name, and why.
const LEFT_OUT: [(&str, &str, &str); 7] = [
    (
        "hako-cgroup::processes",
        "legacy::",
        "is about cgroup v1, which the guest does not have",
    ),
    (
        "hako-runtime::it",
        "under::",
        "needs podman, docker, containerd and buildah, of which the guest has no copy",
    ),
    (
        "hako-runtime::it",
        "systemd::booted::",
        "needs systemd as the first process (--systemd)",
    ),
    (
        "hako::it",
        "conformance::our_runtime_passes_everything",
        "is a suite of its own here, with a test for each check",
    ),
    (
        "hako::it",
        "conformance::runc_deviates",
        "is about runc with hybrid cgroups, and takes longer in emulation than a test may",
    ),
    (
        "hako::it",
        "packages::",
        "needs apt sources and a mirror of Debian",
    ),
    (
        "hako::it",
        "peers::",
        "needs skopeo and buildah, of which the guest has no copy",
    ),
];

/// Where programs lie in the guest.
const BIN: &str = "hako/bin";
const TESTS: &str = "hako/tests";

/// Builds everything and puts it into the tree.
pub(crate) fn build(tree: &mut Tree, guest: Guest) -> Result<Vec<Suite>> {
    let (crates, left_out) = match guest {
        Guest::Bare => (&CRATES[..], &LEFT_OUT[..]),
        Guest::Systemd => (&systemd::CRATES[..], &systemd::LEFT_OUT[..]),
    };
    let programs = binaries::release()?;
    tree.file(&format!("{BIN}/hako"), &programs.hako);
    tree.file(&format!("{BIN}/hako-runtime"), &programs.runtime);
    tree.file(&format!("{BIN}/hako-monitor"), &programs.runtime);

    let mut command = cargo(["test", "--no-run", "--message-format=json"]);
    for name in crates {
        command.args(["--package", name]);
    }
    eprintln!("+ {}", show(&command));
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", show(&command)))?;
    if !out.status.success() {
        bail!("{}: {}", show(&command), out.status);
    }
    let mut suites = Vec::new();
    for (name, program) in test_programs(&String::from_utf8_lossy(&out.stdout)) {
        let at = format!("{TESTS}/{}", name.replace("::", "-"));
        tree.file(&at, &program);
        let left_out = left_out.iter().filter(|(suite, ..)| *suite == name);
        suites.push(Suite {
            program: format!("/{at}"),
            kind: Kind::Harness,
            left_out: left_out
                .map(|(_, start, reason)| ((*start).to_owned(), (*reason).to_owned()))
                .collect(),
            name,
        });
    }
    // In the order of the layers.
    suites.sort_by_key(|suite| {
        let name = suite.name.split("::").next().unwrap_or_default();
        CRATES.iter().position(|c| *c == name)
    });
    suites.push(conformance(guest));
    Ok(suites)
}

fn conformance(guest: Guest) -> Suite {
    let mut arguments = vec![format!("/{BIN}/hako-runtime")];
    if guest == Guest::Systemd {
        arguments.extend(["--runtime-arg", "--systemd-cgroup"].map(str::to_owned));
    }
    Suite {
        name: CONFORMANCE.to_owned(),
        program: format!("/{BIN}/hako"),
        kind: Kind::Conformance(arguments),
        left_out: Vec::new(),
    }
}

/// The environment by which the tests find the programs.
pub(crate) fn environment() -> [(&'static str, String); 2] {
    [
        ("HAKO_BIN", format!("/{BIN}/hako")),
        ("HAKO_RUNTIME", format!("/{BIN}/hako-runtime")),
    ]
}

/// Suites and their programs, out of cargo's messages: `hako-cgroup` has the
/// tests inside the crate, `hako-cgroup::it` those of `tests/it`.
fn test_programs(messages: &str) -> Vec<(String, PathBuf)> {
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        if message.pointer("/profile/test")? != true {
            return None;
        }
        let package = Path::new(message.get("manifest_path")?.as_str()?);
        let package = package.parent()?.file_name()?.to_str()?;
        let target = message.pointer("/target/name")?.as_str()?;
        let kind = message.pointer("/target/kind/0")?.as_str()?;
        let name = match kind {
            "test" => format!("{package}::{target}"),
            _ => package.to_owned(),
        };
        Some((name, PathBuf::from(path)))
    };
    messages.lines().filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says() {
        let line = |kind: &str, target: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/crates/hako-cgroup/Cargo.toml",
                "target":{{"name":"{target}","kind":["{kind}"]}},"profile":{{"test":{test}}},
                "executable":{executable}}}"#
            )
            .replace('\n', "")
        };
        let text = [
            line("lib", "hako_cgroup", true, r#""/t/unit""#),
            line("test", "it", true, r#""/t/it""#),
            line("bin", "hako", false, r#""/t/hako""#),
            line("lib", "hako_sys", false, "null"),
            "no json".to_owned(),
        ];
        let found = test_programs(&text.join("\n"));
        let expected = [("hako-cgroup", "/t/unit"), ("hako-cgroup::it", "/t/it")];
        assert_eq!(
            found,
            expected.map(|(n, p)| (n.to_owned(), PathBuf::from(p)))
        );
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        for (suite, start, reason) in LEFT_OUT.into_iter().chain(systemd::LEFT_OUT) {
            let name = suite.split("::").next().unwrap();
            assert!(CRATES.contains(&name), "{suite}");
            assert!(start.ends_with("::") || start.contains("::") && reason.len() > 10);
        }
    }
}
