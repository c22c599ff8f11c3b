//! "Mounts" and "POSIX-platform Mounts", but for the table of options.

use serde_json::{Value, json};

use super::support::{apart, invalid, make_dirs, mounted, write_file};
use crate::check::{Check, Verdict, demand, fails};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::trial::{self, Trial};

const SECTION: &str = "config.md#mounts";
const POSIX: &str = "config.md#posix-platform-mounts";
const OPTIONS: &str = "config.md#linux-mount-options";

/// A check of one type of file system.
macro_rules! kind {
    ($name:literal, $kind:literal, $option:literal) => {
        Check::must(
            $name,
            POSIX,
            concat!("A mount's type may be one of the kernel's: ", $kind, "."),
            |bench| kind(bench, $kind, $option),
        )
    };
}

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "mounts.order",
        SECTION,
        "The mounts are made in the listed order: the later one covers the earlier.",
        order,
    ),
    Check::must(
        "mounts.destination-missing",
        SECTION,
        "A mount without destination is an error.",
        |bench| added(bench, json!({ "type": "tmpfs", "source": "tmpfs" })),
    ),
    Check::must(
        "mounts.destination-relative",
        SECTION,
        "A relative destination starts at '/', whatever the working directory.",
        destination_relative,
    ),
    Check::must(
        "mounts.source-absolute",
        SECTION,
        "A bind mount's source may be an absolute path.",
        |bench| source(bench, |trial| trial::text(&trial.bundle().join("source"))),
    ),
    Check::must(
        "mounts.source-relative",
        SECTION,
        "A bind mount's relative source starts at the bundle, wherever the runtime is called.",
        |bench| source(bench, |_| "source".to_owned()),
    ),
    Check::must(
        "mounts.source-file",
        SECTION,
        "A bind mount's source may be a file.",
        source_file,
    ),
    Check::must(
        "mounts.bind-type",
        POSIX,
        "What has 'bind' among its options is a bind mount, whatever its type, and without one.",
        |bench| dummy_type(bench, "bind"),
    ),
    Check::must(
        "mounts.rbind-type",
        POSIX,
        "What has 'rbind' among its options is a bind mount, whatever its type, and without one.",
        |bench| dummy_type(bench, "rbind"),
    ),
    kind!("mounts.type-tmpfs", "tmpfs", "size=64k"),
    kind!("mounts.type-ramfs", "ramfs", "mode=755"),
    kind!("mounts.type-proc", "proc", "nosuid"),
    kind!("mounts.type-sysfs", "sysfs", "nosuid"),
    kind!("mounts.type-devpts", "devpts", "newinstance"),
    kind!("mounts.type-mqueue", "mqueue", "nosuid"),
    Check::must(
        "mounts.type-unknown",
        POSIX,
        "A type that the kernel does not know is an error.",
        |bench| {
            added(
                bench,
                json!({ "destination": "/tmp", "type": "hako-no-such-type", "source": "x" }),
            )
        },
    ),
    Check::must(
        "mounts.file-system-options",
        OPTIONS,
        "Options that are not the specification's are the file system's own: tmpfs takes 'size' and 'mode'.",
        own_options,
    )
    .should(),
    Check::must(
        "mounts.file-system-options-unknown",
        OPTIONS,
        "An option that the file system refuses is an error.",
        |bench| {
            added(
                bench,
                json!({
                    "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
                    "options": ["hako_no_such_option=1"],
                }),
            )
        },
    )
    .should(),
];

fn added(bench: &Bench, entry: Value) -> Verdict {
    invalid(bench, |config| {
        if let Some(all) = config["mounts"].as_array_mut() {
            all.push(entry);
        }
    })
}

fn order(bench: &Bench) -> Verdict {
    let steps = ["/a/b/one", "/a/b/two", "/c/file"].map(|path| Step::Read(path.into()));
    let trial = Trial::new(bench, &steps)?;
    make_dirs(&trial, &["a", "c/d"])?;
    let file = |name: &str| write_file(&trial.bundle().join(name), name);
    file("first/b/one")?;
    file("second/two")?;
    file("third/file")?;
    file("fourth/file")?;
    let bind = |source: &str, destination: &str| {
        json!({
            "destination": destination, "type": "none", "source": source, "options": ["bind"],
        })
    };
    // Below a mount that has to be there first; and twice at one place.
    let mut trial = trial;
    for (source, destination) in [
        ("first", "/a"),
        ("second", "/a/b"),
        ("third", "/c"),
        ("fourth", "/c"),
    ] {
        trial = mounted(trial, bind(source, destination));
    }
    let seen = trial.live()?;
    demand(
        matches!(seen.answer(0)?, Answer::Errno(_))
            && seen.text(1)? == "second/two"
            && seen.text(2)? == "fourth/file",
        || seen.told(),
    )?;
    trial.passed()
}

fn destination_relative(bench: &Bench) -> Verdict {
    let steps = [Step::Read("/a/b/file".into()), Step::Cwd];
    // Before they were not allowed.
    let trial =
        Trial::of(bench, "1.2.0", &steps)?.edit(|config| config["process"]["cwd"] = json!("/a"));
    make_dirs(&trial, &["a/b", "a/a/b"])?;
    write_file(&trial.bundle().join("source/file"), "mounted")?;
    let trial = mounted(
        trial,
        json!({ "destination": "a/b", "type": "none", "source": "source", "options": ["bind"] }),
    );
    let seen = trial.live()?;
    demand(seen.text(0)? == "mounted", || seen.told())?;
    trial.passed()
}

fn source(bench: &Bench, path: impl FnOnce(&Trial<'_>) -> String) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/tmp/file".into())])?;
    write_file(&trial.bundle().join("source/file"), "mounted")?;
    let path = path(&trial);
    let trial = mounted(
        trial,
        json!({ "destination": "/tmp", "type": "none", "source": path, "options": ["bind"] }),
    );
    let seen = trial.live()?;
    demand(seen.text(0)? == "mounted", || seen.told())?;
    trial.passed()
}

fn source_file(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/etc/file".into())])?;
    write_file(&trial.bundle().join("source"), "mounted")?;
    write_file(&trial.rootfs().join("etc/file"), "covered")?;
    let trial = mounted(
        trial,
        json!({
            "destination": "/etc/file", "type": "none", "source": "source", "options": ["bind"],
        }),
    );
    let seen = trial.live()?;
    demand(seen.text(0)? == "mounted", || seen.told())?;
    trial.passed()
}

fn dummy_type(bench: &Bench, option: &'static str) -> Verdict {
    apart(|| {
        for kind in [json!("none"), json!("tmpfs"), json!("dummy"), Value::Null] {
            let trial = Trial::new(bench, &[Step::Read("/tmp/file".into())])?;
            write_file(&trial.bundle().join("source/file"), "mounted")?;
            let mut entry =
                json!({ "destination": "/tmp", "source": "source", "options": [option] });
            if !kind.is_null() {
                entry["type"] = kind.clone();
            }
            let trial = mounted(trial, entry);
            let seen = trial.live()?;
            demand(seen.text(0)? == "mounted", || {
                format!("with the type {kind}: {}", seen.told())
            })?;
            trial.passed()?;
        }
        Ok(())
    })
}

fn kind(bench: &Bench, kind: &str, option: &str) -> Verdict {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known
        .lines()
        .any(|line| line.split('\t').nth(1) == Some(kind))
    {
        return Err(crate::check::Stop::Skipped(format!(
            "this kernel has no {kind}"
        )));
    }
    let trial = Trial::new(bench, &[Step::Read("/proc/self/mountinfo".into())])?;
    make_dirs(&trial, &["place"])?;
    let trial = mounted(
        trial,
        json!({ "destination": "/place", "type": kind, "source": kind, "options": [option] }),
    );
    let seen = trial.live()?;
    let found = Mounted::at(seen.text(0)?, "/place")?;
    if found.kind != kind {
        return fails(format!("at /place is a {}, not a {kind}", found.kind));
    }
    trial.passed()
}

fn own_options(bench: &Bench) -> Verdict {
    let steps = [
        Step::Read("/proc/self/mountinfo".into()),
        Step::Stat("/tmp".into()),
    ];
    let trial = mounted(
        Trial::new(bench, &steps)?,
        json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "size=128k", "mode=1710"],
        }),
    );
    let seen = trial.live()?;
    let found = Mounted::at(seen.text(0)?, "/tmp")?;
    let sized = found.superblock.iter().any(|it| it == "size=128k");
    demand(sized && seen.value(1)?["mode"] == 0o1710, || {
        format!("{found:?}, {}", seen.told())
    })?;
    trial.passed()
}
