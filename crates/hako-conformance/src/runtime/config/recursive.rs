//! "Linux mount options": those that act on a mount and on all below it.

use rustix::mount::MountFlags;
use serde_json::json;

use super::support::{Tmpfs, apart, make_dirs, mounted, of_or_listed};
use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::trial;

/// A check of one option: what its mounts have before and after, or have not.
macro_rules! option {
    ($word:literal, $before:expr, $name:literal, $after:literal) => {
        Check::must(
            concat!("mount-option.", $word),
            "config.md#linux-mount-options",
            match $after {
                true => concat!(
                    "The option '",
                    $word,
                    "' gives a mount and all below it '",
                    $name,
                    "'."
                ),
                false => concat!(
                    "The option '",
                    $word,
                    "' takes '",
                    $name,
                    "' from a mount and all below it."
                ),
            },
            |bench| option(bench, &[$word], $before, $name, $after),
        )
        .should()
    };
}

const NONE: MountFlags = MountFlags::empty();
/// MS_NOSYMFOLLOW of mount(2).
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(256);

pub(super) const CHECKS: &[Check] = &[
    option!("ratime", MountFlags::NOATIME, "noatime", false),
    option!("rdev", MountFlags::NODEV, "nodev", false),
    option!("rdiratime", MountFlags::NODIRATIME, "nodiratime", false),
    option!("rexec", MountFlags::NOEXEC, "noexec", false),
    option!("rnoatime", NONE, "noatime", true),
    option!("rnodev", NONE, "nodev", true),
    option!("rnodiratime", NONE, "nodiratime", true),
    option!("rnoexec", NONE, "noexec", true),
    Check::must(
        "mount-option.rnorelatime",
        "config.md#linux-mount-options",
        "The option 'rnorelatime' is taken.",
        |bench| option(bench, &["rnorelatime"], NONE, "noatime", false),
    )
    .should(),
    Check::must(
        "mount-option.rnostrictatime",
        "config.md#linux-mount-options",
        "The option 'rnostrictatime' undoes 'rstrictatime'.",
        |bench| {
            let options = ["rstrictatime", "rnostrictatime"];
            option(bench, &options, NONE, "relatime", true)
        },
    )
    .should(),
    option!("rnosuid", NONE, "nosuid", true),
    option!("rnosymfollow", NONE, "nosymfollow", true),
    option!("rrelatime", MountFlags::NOATIME, "relatime", true),
    option!("rro", NONE, "ro", true),
    option!("rrw", MountFlags::RDONLY, "ro", false),
    option!("rstrictatime", NONE, "relatime", false),
    option!("rsuid", MountFlags::NOSUID, "nosuid", false),
    option!("rsymfollow", NOSYMFOLLOW, "nosymfollow", false),
];

/// A mount and one below it, both made with `before`, bound with the options.
fn option(bench: &Bench, options: &[&str], before: MountFlags, name: &str, after: bool) -> Verdict {
    let word = options.last().copied().unwrap_or_default();
    apart(|| {
        let steps = [Step::Read("/proc/self/mountinfo".into())];
        let trial = of_or_listed(bench, "1.1.0", word, &steps)?;
        make_dirs(&trial, &["with", "without"])?;
        let (source, below) = (trial.beside("source"), trial.beside("source/below"));
        let outer = Tmpfs::at(&source, MountFlags::empty())?;
        let inner = Tmpfs::at(&below, before)?;
        outer.remount(before)?;
        inner.remount(before)?;
        let entry = |at: &str, options: &[&str]| {
            let options = [&["rbind"], options].concat();
            json!({
                "destination": at, "type": "none", "source": trial::text(&source),
                "options": options,
            })
        };
        let (one, two) = (entry("/with", options), entry("/without", &[]));
        let trial = mounted(mounted(trial, one), two);
        let seen = trial.live()?;
        for place in ["", "/below"] {
            let at = |top: &str| Mounted::at(seen.text(0)?, &format!("{top}{place}"));
            let (with, without) = (at("/with")?, at("/without")?);
            demand(with.has(name) == after, || {
                format!("with '{word}' at '{place}': {:?}", with.options)
            })?;
            // Two options ask for what is so by itself; and the uppermost mount
            // may have changed by being bound.
            let usual = matches!(word, "rnorelatime" | "rnostrictatime") || place.is_empty();
            demand(usual || without.has(name) != after, || {
                format!("without '{word}' at '{place}': {:?}", without.options)
            })?;
        }
        trial.passed()
    })
}
