//! The capability sets of the process. Values are lists with commas; a name may
//! lack its `CAP_`, and its case does not matter.

use hako_spec::runtime::{Capabilities, Config, capability};

use super::Act::{Each, When};
use super::{Entry, Wrong, process};

/// One of the sets.
type Set = fn(&mut Capabilities) -> &mut Vec<String>;

const AMBIENT: Set = |it| &mut it.ambient;
const BOUNDING: Set = |it| &mut it.bounding;
const EFFECTIVE: Set = |it| &mut it.effective;
const INHERITABLE: Set = |it| &mut it.inheritable;
const PERMITTED: Set = |it| &mut it.permitted;
const SETS: &[Set] = &[AMBIENT, BOUNDING, EFFECTIVE, INHERITABLE, PERMITTED];

/// An option that adds to or drops from sets.
macro_rules! entry {
    ($name:literal, $help:literal, $field:literal, $do:ident, $sets:expr) => {
        Entry::new(
            $name,
            "CAP,…",
            $help,
            &[$field],
            Each(|config, value| $do(config, value, $sets)),
        )
    };
}

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "process-cap-drop-all",
        "",
        "Drop all capabilities",
        &["process.capabilities"],
        When(|config| {
            for set in SETS {
                set(of(config)).clear();
            }
        }),
    ),
    entry!(
        "process-cap-add",
        "Add to all five sets",
        "process.capabilities",
        add,
        SETS
    ),
    entry!(
        "process-cap-add-ambient",
        "Add to the ambient set",
        "process.capabilities.ambient",
        add,
        &[AMBIENT]
    ),
    entry!(
        "process-cap-add-bounding",
        "Add to the bounding set",
        "process.capabilities.bounding",
        add,
        &[BOUNDING]
    ),
    entry!(
        "process-cap-add-effective",
        "Add to the effective set",
        "process.capabilities.effective",
        add,
        &[EFFECTIVE]
    ),
    entry!(
        "process-cap-add-inheritable",
        "Add to the inheritable set",
        "process.capabilities.inheritable",
        add,
        &[INHERITABLE]
    ),
    entry!(
        "process-cap-add-permitted",
        "Add to the permitted set",
        "process.capabilities.permitted",
        add,
        &[PERMITTED]
    ),
    entry!(
        "process-cap-drop",
        "Drop from all five sets",
        "process.capabilities",
        drop,
        SETS
    ),
    entry!(
        "process-cap-drop-ambient",
        "Drop from the ambient set",
        "process.capabilities.ambient",
        drop,
        &[AMBIENT]
    ),
    entry!(
        "process-cap-drop-bounding",
        "Drop from the bounding set",
        "process.capabilities.bounding",
        drop,
        &[BOUNDING]
    ),
    entry!(
        "process-cap-drop-effective",
        "Drop from the effective set",
        "process.capabilities.effective",
        drop,
        &[EFFECTIVE]
    ),
    entry!(
        "process-cap-drop-inheritable",
        "Drop from the inheritable set",
        "process.capabilities.inheritable",
        drop,
        &[INHERITABLE]
    ),
    entry!(
        "process-cap-drop-permitted",
        "Drop from the permitted set",
        "process.capabilities.permitted",
        drop,
        &[PERMITTED]
    ),
];

fn of(config: &mut Config) -> &mut Capabilities {
    process::of(config).capabilities.get_or_insert_default()
}

/// Every capability in every set.
pub(super) fn all(config: &mut Config) {
    for set in SETS {
        *set(of(config)) = capability::NAMES
            .iter()
            .map(|it| (*it).to_owned())
            .collect();
    }
}

fn add(config: &mut Config, value: &str, sets: &[Set]) -> Result<(), Wrong> {
    for name in names(value)? {
        for set in sets {
            let set = set(of(config));
            if !set.iter().any(|it| it.eq_ignore_ascii_case(name)) {
                set.push(name.to_owned());
            }
        }
    }
    Ok(())
}

fn drop(config: &mut Config, value: &str, sets: &[Set]) -> Result<(), Wrong> {
    for name in names(value)? {
        for set in sets {
            set(of(config)).retain(|it| !it.eq_ignore_ascii_case(name));
        }
    }
    Ok(())
}

fn names(value: &str) -> Result<Vec<&'static str>, Wrong> {
    let known = |text: &str| {
        let upper = text.trim().to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let is = |name: &&&str| name.strip_prefix("CAP_") == Some(plain);
        let name = capability::NAMES.iter().find(is);
        name.copied()
            .ok_or_else(|| format!("{text:?} is no capability of Linux"))
    };
    value.split(',').map(known).collect()
}
