//! "Root".

use serde_json::{Value, json};

use super::support::{invalid, runs, write_file};
use crate::check::{Check, Verdict, demand};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::edit::remove;
use crate::runtime::trial::{self, Trial};

const SECTION: &str = "config.md#root";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "root.missing",
        SECTION,
        "A configuration without root is an error.",
        |bench| invalid(bench, |config| remove(config, "root")),
    ),
    Check::must(
        "root.path-missing",
        SECTION,
        "A root without path is an error.",
        |bench| invalid(bench, |config| config["root"] = json!({ "readonly": true })),
    ),
    Check::must(
        "root.path-relative",
        SECTION,
        "A relative path of the root starts at the bundle, wherever the runtime is called.",
        |bench| named(bench, |_| "other/place".to_owned()),
    ),
    Check::must(
        "root.path-absolute",
        SECTION,
        "The path of the root may be absolute.",
        |bench| {
            named(bench, |trial| {
                trial::text(&trial.bundle().join("other/place"))
            })
        },
    ),
    Check::must(
        "root.no-such-directory",
        SECTION,
        "It is an error when nothing is at the path of the root.",
        |bench| invalid(bench, |config| config["root"]["path"] = json!("nothing")),
    ),
    Check::must(
        "root.not-a-directory",
        SECTION,
        "It is an error when what is at the path of the root is no directory.",
        |bench| {
            invalid(bench, |config| {
                config["root"]["path"] = json!("config.json");
            })
        },
    ),
    Check::must(
        "root.readonly",
        SECTION,
        "With readonly nothing in the root can be written inside.",
        readonly,
    ),
    Check::must(
        "root.readonly-false",
        SECTION,
        "Without readonly, or with it false, the root can be written inside.",
        |bench| {
            writable(bench, |_| ())?;
            writable(bench, |config| config["root"]["readonly"] = json!(false))
        },
    ),
];

fn named(bench: &Bench, path: impl FnOnce(&Trial<'_>) -> String) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/tmp/file".into())])?;
    let other = trial.bundle().join("other/place");
    std::fs::create_dir_all(trial.bundle().join("other"))
        .and_then(|()| std::fs::rename(trial.rootfs(), &other))
        .map_err(crate::check::Stop::broken("cannot move the root"))?;
    write_file(&other.join("tmp/file"), "here")?;
    let path = path(&trial);
    let trial = trial.edit(|config| config["root"]["path"] = json!(path));
    let seen = trial.live()?;
    demand(seen.text(0)? == "here", || seen.told())?;
    trial.passed()
}

fn readonly(bench: &Bench) -> Verdict {
    let steps = [
        Step::Create("/tmp/file".into(), "x".into()),
        Step::Mkdir("/directory".into()),
        Step::Write("/etc/file".into(), "x".into()),
        Step::Read("/etc/file".into()),
    ];
    let trial = Trial::new(bench, &steps)?.edit(|config| config["root"]["readonly"] = json!(true));
    write_file(&trial.rootfs().join("etc/file"), "as it was")?;
    let seen = trial.live()?;
    let erofs = Answer::Errno(rustix::io::Errno::ROFS.raw_os_error());
    for n in 0..3 {
        demand(*seen.answer(n)? == erofs, || seen.told())?;
    }
    demand(seen.text(3)? == "as it was", || seen.told())?;
    trial.passed()
}

fn writable(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let steps = [
        Step::Create("/tmp/file".into(), "x".into()),
        Step::Mkdir("/directory".into()),
    ];
    let seen = runs(bench, &steps, change)?;
    seen.value(0)?;
    seen.value(1).map(drop)
}
