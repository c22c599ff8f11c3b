//! "Linux Process": what is neither capabilities nor scheduling.

use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities};
use serde_json::json;

use super::support::{field, invalid, own_field, runs};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;

const SECTION: &str = "config.md#linux-process";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "process.apparmor-unknown",
        SECTION,
        "An apparmorProfile that cannot be applied is an error: one that is not loaded, or any without AppArmor.",
        |bench| {
            invalid(bench, |config| {
                config["process"]["apparmorProfile"] = json!("hako-no-such-profile");
            })
        },
    ),
    Check::must(
        "process.selinux-unknown",
        SECTION,
        "A selinuxLabel that cannot be applied is an error: one that is none, or any without SELinux.",
        |bench| {
            invalid(bench, |config| {
                config["process"]["selinuxLabel"] = json!("hako_no_such_label");
            })
        },
    ),
    Check::must(
        "process.apparmor-unconfined",
        SECTION,
        "The program has the AppArmor profile 'unconfined' when it is asked for.",
        |bench| {
            if !Path::new("/sys/module/apparmor").exists() {
                return Err(Stop::Skipped("this kernel has no AppArmor".to_owned()));
            }
            let steps = [Step::Read("/proc/self/attr/current".into())];
            let seen = runs(bench, &steps, |config| {
                config["process"]["apparmorProfile"] = json!("unconfined");
            })?;
            demand(seen.text(0)?.trim() == "unconfined", || seen.told())
        },
    ),
    Check::must(
        "process.no-new-privileges",
        SECTION,
        "With noNewPrivileges the program can gain no privileges.",
        |bench| no_new_privileges(bench, true),
    ),
    Check::must(
        "process.no-new-privileges-false",
        SECTION,
        "Without noNewPrivileges the program is as the runtime.",
        |bench| no_new_privileges(bench, false),
    ),
    Check::must(
        "process.oom-score-adj",
        SECTION,
        "The program's oom_score_adj is oomScoreAdj.",
        |bench| {
            let own = own_score()?;
            for more in [10, 100] {
                oom(bench, Some(own + more), own + more)?;
            }
            oom(bench, Some(1000), 1000)
        },
    ),
    Check::must(
        "process.oom-score-adj-lower",
        SECTION,
        "The program's oom_score_adj is oomScoreAdj, where that is lower than the runtime's.",
        |bench| {
            let own = capabilities(None).map_err(Stop::broken("cannot read capabilities"))?;
            match own.effective.contains(CapabilitySet::SYS_RESOURCE) {
                true => oom(bench, Some(-500), -500),
                false => Err(Stop::Skipped(
                    "oom_score_adj cannot be lowered without CAP_SYS_RESOURCE".to_owned(),
                )),
            }
        },
    ),
    Check::must(
        "process.oom-score-adj-unset",
        SECTION,
        "Without oomScoreAdj the program's oom_score_adj is that of the runtime.",
        |bench| oom(bench, None, own_score()?),
    ),
    Check::must(
        "process.oom-score-adj-out-of-range",
        SECTION,
        "An oomScoreAdj that the kernel cannot take is an error.",
        |bench| {
            for score in [1001, -1001] {
                invalid(bench, |config| {
                    config["process"]["oomScoreAdj"] = json!(score);
                })?;
            }
            Ok(())
        },
    ),
];

fn no_new_privileges(bench: &Bench, wanted: bool) -> Verdict {
    if !wanted && own_field("NoNewPrivs")? == "1" {
        return Err(Stop::Skipped(
            "the tester itself can gain no privileges".to_owned(),
        ));
    }
    let steps = [Step::Read("/proc/self/status".into())];
    let seen = runs(bench, &steps, |config| {
        config["process"]["noNewPrivileges"] = json!(wanted);
    })?;
    let found = field(seen.text(0)?, "NoNewPrivs")?;
    demand(found == if wanted { "1" } else { "0" }, || {
        format!("NoNewPrivs is {found}")
    })
}

fn own_score() -> Result<i64, Stop> {
    let path = "/proc/self/oom_score_adj";
    let text =
        std::fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    let score = text.trim().parse().unwrap_or(0);
    match score {
        0..=800 => Ok(score),
        _ => Err(Stop::Skipped(format!(
            "the tester's own oom_score_adj is {score}"
        ))),
    }
}

fn oom(bench: &Bench, score: Option<i64>, wanted: i64) -> Verdict {
    let steps = [Step::Read("/proc/self/oom_score_adj".into())];
    let seen = runs(bench, &steps, |config| {
        if let Some(score) = score {
            config["process"]["oomScoreAdj"] = json!(score);
        }
    })?;
    let found = seen.text(0)?.trim();
    demand(found == wanted.to_string(), || {
        format!("oom_score_adj is {found}, not {wanted}")
    })
}
