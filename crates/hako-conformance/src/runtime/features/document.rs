//! The document itself: versions, types, annotations.

use serde_json::{Value, json};

use super::{document, names, part};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::runtime::Bench;
use crate::runtime::bench::numbers;
use crate::runtime::trial::Trial;

const FEATURES: &str = "features.md#features-structure";
const VERSION: &str = "features.md#specification-version";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "features.document",
        FEATURES,
        "The runtime prints a features document.",
        |bench| match document(bench) {
            Ok(_) => Ok(()),
            Err(_) => fails("'features' prints no JSON object"),
        },
    )
    .may(),
    Check::must(
        "features.types",
        FEATURES,
        "The properties have the types that the specification gives them.",
        |bench| {
            let wrong = walk(document(bench)?, |property, value| {
                !value.is_null() && !property.kind.fits(value)
            });
            demand(wrong.is_empty(), || format!("of another type: {wrong:?}"))
        },
    ),
    Check::must(
        "features.same",
        FEATURES,
        "The document does not depend on when it is printed.",
        |bench| {
            let first = document(bench)?;
            let done = Trial::new(bench, &[])?.call(&["features"])?;
            let second: Value = serde_json::from_str(&done.out).unwrap_or_default();
            demand(*first == second, || "it differs from call to call".into())
        },
    )
    .should(),
    Check::must(
        "features.version-min",
        VERSION,
        "ociVersionMin is there, and is accepted as the ociVersion of a configuration.",
        |bench| accepted(bench, "ociVersionMin"),
    ),
    Check::must(
        "features.version-max",
        VERSION,
        "ociVersionMax is there, and is accepted as the ociVersion of a configuration.",
        |bench| accepted(bench, "ociVersionMax"),
    ),
    Check::must(
        "features.version-order",
        VERSION,
        "ociVersionMax is not less than ociVersionMin.",
        |bench| {
            let (min, max) = (
                version(bench, "ociVersionMin")?,
                version(bench, "ociVersionMax")?,
            );
            demand(numbers(min) <= numbers(max), || {
                format!("{max} is less than {min}")
            })
        },
    ),
    Check::must(
        "features.defined",
        VERSION,
        "Nothing is in the document that the specification of ociVersionMax does not define.",
        defined,
    ),
    Check::must(
        "features.annotations",
        "features.md#annotations",
        "The annotations are a map of strings whose keys are not empty.",
        |bench| {
            let map = part(bench, "/annotations")?;
            let good = map.as_object().is_some_and(|map| {
                map.iter()
                    .all(|(key, value)| !key.is_empty() && value.is_string())
            });
            demand(good, || format!("the annotations are {map}"))
        },
    ),
    Check::must(
        "features.unsafe-annotations",
        "features.md#unsafe-annotations-in-configjson",
        "potentiallyUnsafeConfigAnnotations is an array of strings.",
        |bench| names(bench, "/potentiallyUnsafeConfigAnnotations").map(drop),
    ),
];

fn version<'a>(bench: &'a Bench, name: &str) -> Result<&'a str, Stop> {
    let value = &document(bench)?[name];
    match value.as_str() {
        Some(version) if numbers(version).len() == 3 => Ok(version),
        _ => fails(format!("{name} is {value}")),
    }
}

fn accepted(bench: &Bench, name: &str) -> Verdict {
    let version = version(bench, name)?;
    let trial = Trial::new(bench, &[])?.edit(|config| config["ociVersion"] = json!(version));
    trial.live()?;
    trial.passed()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Flag,
    Names,
    Object,
    /// An object with names of its own.
    Map,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Kind::Text => value.is_string(),
            Kind::Flag => value.is_boolean(),
            Kind::Names => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
            Kind::Object | Kind::Map => value.is_object(),
        }
    }
}

/// A property: its path, the version that it came with, and its type.
struct Property {
    path: &'static str,
    since: &'static str,
    kind: Kind,
}

const fn property(path: &'static str, since: &'static str, kind: Kind) -> Property {
    Property { path, since, kind }
}

const PROPERTIES: &[Property] = &[
    property("/ociVersionMin", "1.1.0", Kind::Text),
    property("/ociVersionMax", "1.1.0", Kind::Text),
    property("/hooks", "1.1.0", Kind::Names),
    property("/mountOptions", "1.1.0", Kind::Names),
    property("/annotations", "1.1.0", Kind::Map),
    property("/potentiallyUnsafeConfigAnnotations", "1.2.0", Kind::Names),
    property("/linux", "1.1.0", Kind::Object),
    property("/linux/namespaces", "1.1.0", Kind::Names),
    property("/linux/capabilities", "1.1.0", Kind::Names),
    property("/linux/cgroup", "1.1.0", Kind::Object),
    property("/linux/cgroup/v1", "1.1.0", Kind::Flag),
    property("/linux/cgroup/v2", "1.1.0", Kind::Flag),
    property("/linux/cgroup/systemd", "1.1.0", Kind::Flag),
    property("/linux/cgroup/systemdUser", "1.1.0", Kind::Flag),
    property("/linux/cgroup/rdma", "1.1.0", Kind::Flag),
    property("/linux/seccomp", "1.1.0", Kind::Object),
    property("/linux/seccomp/enabled", "1.1.0", Kind::Flag),
    property("/linux/seccomp/actions", "1.1.0", Kind::Names),
    property("/linux/seccomp/operators", "1.1.0", Kind::Names),
    property("/linux/seccomp/archs", "1.1.0", Kind::Names),
    property("/linux/seccomp/knownFlags", "1.1.0", Kind::Names),
    property("/linux/seccomp/supportedFlags", "1.1.0", Kind::Names),
    property("/linux/apparmor", "1.1.0", Kind::Object),
    property("/linux/apparmor/enabled", "1.1.0", Kind::Flag),
    property("/linux/selinux", "1.1.0", Kind::Object),
    property("/linux/selinux/enabled", "1.1.0", Kind::Flag),
    property("/linux/intelRdt", "1.1.0", Kind::Object),
    property("/linux/intelRdt/enabled", "1.1.0", Kind::Flag),
    property("/linux/intelRdt/schemata", "1.3.0", Kind::Flag),
    property("/linux/intelRdt/monitoring", "1.3.0", Kind::Flag),
    property("/linux/memoryPolicy", "1.3.0", Kind::Object),
    property("/linux/memoryPolicy/modes", "1.3.0", Kind::Names),
    property("/linux/memoryPolicy/flags", "1.3.0", Kind::Names),
    property("/linux/mountExtensions", "1.2.0", Kind::Object),
    property("/linux/mountExtensions/idmap", "1.2.0", Kind::Object),
    property("/linux/mountExtensions/idmap/enabled", "1.2.0", Kind::Flag),
    property("/linux/netDevices", "1.3.0", Kind::Object),
    property("/linux/netDevices/enabled", "1.3.0", Kind::Flag),
];

/// The paths of properties that `bad` says so of.
fn walk(document: &Value, bad: impl Fn(&Property, &Value) -> bool) -> Vec<&'static str> {
    let found = |property: &&Property| {
        let value = document.pointer(property.path);
        value.is_some_and(|value| bad(property, value))
    };
    PROPERTIES.iter().filter(found).map(|it| it.path).collect()
}

/// The paths of everything in a document that no release defines.
fn unknown(value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(members) = value.as_object() else {
        return;
    };
    for (name, value) in members {
        let path = format!("{path}/{name}");
        match PROPERTIES.iter().find(|it| it.path == path) {
            None => found.push(path),
            Some(it) if it.kind == Kind::Object => unknown(value, &path, found),
            Some(_) => {}
        }
    }
}

fn defined(bench: &Bench) -> Verdict {
    let document = document(bench)?;
    let newest = version(bench, "ociVersionMax")?;
    let mut found = Vec::new();
    // Newer releases may define more than this tester knows.
    if numbers(newest) <= numbers("1.3.0") {
        unknown(document, "", &mut found);
    }
    // The document as such came with 1.1.0.
    let newest = numbers(newest).max(numbers("1.1.0"));
    let newer = walk(document, |it, value| {
        !value.is_null() && numbers(it.since) > newest
    });
    found.extend(newer.into_iter().map(str::to_owned));
    demand(found.is_empty(), || format!("not defined there: {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_properties() {
        let document = json!({
            "ociVersionMin": "1.0.0", "odd": 1, "annotations": { "any": "thing" },
            "linux": { "cgroup": { "v3": true }, "selinux": { "enabled": "yes" } },
        });
        let mut found = Vec::new();
        unknown(&document, "", &mut found);
        assert_eq!(found, ["/linux/cgroup/v3", "/odd"]);
        let wrong = walk(&document, |it, value| !it.kind.fits(value));
        assert_eq!(wrong, ["/linux/selinux/enabled"]);
    }
}
