//! "Annotations".

use serde_json::{Value, json};

use super::support::{invalid, runs};
use crate::check::{Check, Verdict};
use crate::probe::Step;
use crate::runtime::Bench;

const SECTION: &str = "config.md#annotations";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "annotations.unknown-key",
        SECTION,
        "Keys that the runtime does not know are ignored, whoever's they are.",
        |bench| {
            taken(
                bench,
                json!({
                    "plain": "value", "org.example.key": "value",
                    "org.opencontainers.hako-no-such-key": "value",
                }),
            )
        },
    ),
    Check::must(
        "annotations.known-key",
        SECTION,
        "The keys that the specification lists are taken.",
        |bench| {
            taken(
                bench,
                json!({
                    "org.opencontainers.image.os": "linux",
                    "org.opencontainers.image.architecture": "amd64",
                    "org.opencontainers.image.author": "somebody",
                    "org.opencontainers.image.created": "2020-01-02T03:04:05Z",
                    "org.opencontainers.image.stopSignal": "SIGTERM",
                }),
            )
        },
    )
    .may(),
    Check::must(
        "annotations.empty-value",
        SECTION,
        "A value may be empty.",
        |bench| taken(bench, json!({ "org.example.key": "" })),
    )
    .may(),
    Check::must(
        "annotations.empty-map",
        SECTION,
        "There may be an empty map of annotations.",
        |bench| taken(bench, json!({})),
    )
    .may(),
    Check::must(
        "annotations.empty-key",
        SECTION,
        "An empty key is an error.",
        |bench| refused(bench, json!({ "": "value" })),
    ),
    Check::must(
        "annotations.value-type",
        SECTION,
        "A value that is no string is an error.",
        |bench| {
            for value in [json!(1), json!(true), json!({}), json!(["value"])] {
                refused(bench, json!({ "org.example.key": value }))?;
            }
            Ok(())
        },
    ),
    Check::must(
        "annotations.not-a-map",
        SECTION,
        "Annotations that are no map are an error.",
        |bench| {
            for value in [json!(["a", "b"]), json!("a=b"), json!(1)] {
                refused(bench, value)?;
            }
            Ok(())
        },
    ),
];

fn taken(bench: &Bench, annotations: Value) -> Verdict {
    let seen = runs(bench, &[Step::Say("ran".into())], |config| {
        config["annotations"] = annotations;
    })?;
    seen.text(0).map(drop)
}

fn refused(bench: &Bench, annotations: Value) -> Verdict {
    let told = annotations.to_string();
    invalid(bench, |config| config["annotations"] = annotations)
        .map_err(|stop| super::valid::with(stop, &told))
}
