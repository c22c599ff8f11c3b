//! "Specification version".

use serde_json::json;

use super::support::{invalid, runs};
use crate::check::{Check, Verdict};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::remove;

const SECTION: &str = "config.md#specification-version";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "version.missing",
        SECTION,
        "A configuration without ociVersion is an error.",
        |bench| invalid(bench, |config| remove(config, "ociVersion")),
    ),
    Check::must(
        "version.not-semver",
        SECTION,
        "An ociVersion that is no SemVer 2.0.0 is an error.",
        not_semver,
    ),
    Check::must(
        "version.same-major",
        SECTION,
        "A configuration of an earlier version 1 is taken by every later runtime.",
        |bench| {
            for version in ["1.0.0", "1.0.1", "1.0.2"] {
                taken(bench, version)?;
            }
            Ok(())
        },
    ),
    Check::must(
        "version.unsupported",
        SECTION,
        "A version whose major number the runtime does not know is an error.",
        |bench| invalid(bench, |config| config["ociVersion"] = json!("77.0.0")),
    ),
];

fn not_semver(bench: &Bench) -> Verdict {
    for version in ["", "one", "1", "1.0.0.0", "v1.0.2", "1.0.x"] {
        invalid(bench, |config| config["ociVersion"] = json!(version))
            .map_err(|stop| super::valid::with(stop, version))?;
    }
    Ok(())
}

fn taken(bench: &Bench, version: &str) -> Verdict {
    let seen = runs(bench, &[Step::Say("taken".into())], |config| {
        config["ociVersion"] = json!(version);
    })?;
    seen.text(0).map(drop)
}
