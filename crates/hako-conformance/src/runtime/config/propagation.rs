//! "Linux mount options": propagation of bind mounts.

use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::json;

use super::support::{Tmpfs, apart, make_dirs, mounted};
use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::trial::{self, Trial};

/// A check of one option.
macro_rules! option {
    ($word:literal, $recursive:literal, $demand:literal) => {
        Check::must(
            concat!("mount-option.", $word),
            "config.md#linux-mount-options",
            concat!("The option '", $word, "' makes a bind mount ", $demand),
            |bench| option(bench, $word, $recursive),
        )
    };
}

pub(super) const CHECKS: &[Check] = &[
    option!("private", false, "neither give nor take mounts."),
    option!(
        "rprivate",
        true,
        "and all below neither give nor take mounts."
    ),
    option!("shared", false, "give and take mounts."),
    option!("rshared", true, "and all below give and take mounts."),
    option!("slave", false, "take mounts and give none."),
    option!("rslave", true, "and all below take mounts and give none."),
    option!("unbindable", false, "one that cannot be bound again."),
    option!(
        "runbindable",
        true,
        "and all below such as cannot be bound again."
    ),
    Check::must(
        "mount-option.slave-takes",
        "config.md#linux-mount-options",
        "What is mounted outside in the source of a bind mount with 'rslave' is seen inside.",
        takes,
    ),
];

/// Of a shared source, once with the option and once with another: the two
/// differ.
fn option(bench: &Bench, word: &'static str, recursive: bool) -> Verdict {
    apart(|| {
        let trial = Trial::new(bench, &[Step::Read("/proc/self/mountinfo".into())])?;
        make_dirs(&trial, &["with", "other"])?;
        let (source, below) = (trial.beside("source"), trial.beside("source/below"));
        let outer = Tmpfs::at(&source, MountFlags::empty())?;
        let _inner = Tmpfs::at(&below, MountFlags::empty())?;
        outer.change(MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
        let other = match word.trim_start_matches('r') {
            "private" | "unbindable" => "rslave",
            _ => "rprivate",
        };
        let entry = |at: &str, option: &str| {
            json!({
                "destination": at, "type": "none", "source": trial::text(&source),
                "options": ["rbind", option],
            })
        };
        let (one, two) = (entry("/with", word), entry("/other", other));
        // So that a shared source is one inside as well.
        let trial = mounted(mounted(trial, one), two)
            .edit(|config| config["linux"]["rootfsPropagation"] = json!("slave"));
        let seen = trial.live()?;
        let mut places = vec![""];
        places.extend(recursive.then_some("/below"));
        for place in places {
            let at = |top: &str| Mounted::at(seen.text(0)?, &format!("{top}{place}"));
            for (option, found) in [(word, at("/with")?), (other, at("/other")?)] {
                demand(is(option, &found), || {
                    format!("with '{option}' at '{place}': {:?}", found.propagation)
                })?;
            }
        }
        trial.passed()
    })
}

/// Whether a mount is what an option says.
fn is(option: &str, found: &Mounted) -> bool {
    let (shared, slave) = (found.spreads("shared:"), found.spreads("master:"));
    match option.trim_start_matches('r') {
        "shared" => shared,
        "slave" => slave && !shared,
        "unbindable" => found.spreads("unbindable"),
        _ => !shared && !slave && !found.spreads("unbindable"),
    }
}

fn takes(bench: &Bench) -> Verdict {
    apart(|| {
        let steps = [Step::Block, Step::Wait, Step::Read("/tmp/late/file".into())];
        let trial = Trial::new(bench, &steps)?;
        let source = trial.beside("source");
        let outer = Tmpfs::at(&source, MountFlags::empty())?;
        outer.change(MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
        let trial = mounted(
            trial,
            json!({
                "destination": "/tmp", "type": "none", "source": trial::text(&source),
                "options": ["rbind", "rslave"],
            }),
        )
        .edit(|config| config["linux"]["rootfsPropagation"] = json!("slave"));
        trial.launch()?;
        trial.answers(1)?;
        let late = source.join("late");
        let _late = Tmpfs::at(&late, MountFlags::empty())?;
        super::support::write_file(&late.join("file"), "late")?;
        trial.kill("TERM")?;
        trial.becomes("stopped")?;
        let seen = trial.seen()?;
        demand(seen.text(2)? == "late", || seen.told())?;
        trial.passed()
    })
}
