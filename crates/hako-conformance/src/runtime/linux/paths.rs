//! "Rootfs Mount Propagation", "Masked Paths" and "Readonly Paths".

use std::fs;

use serde_json::json;

use super::{BASE, faulty, read};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::holder::Holder;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::trial::Trial;

const PROPAGATION: &str = "config-linux.md#rootfs-mount-propagation";
const MASKED: &str = "config-linux.md#masked-paths";
const READONLY: &str = "config-linux.md#readonly-paths";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "rootfs-propagation.shared",
        PROPAGATION,
        "With shared, the root mount belongs to a peer group.",
        |bench| {
            marked(bench, "shared", |marks| {
                marks.iter().any(|it| it.starts_with("shared:"))
            })
        },
    ),
    Check::must(
        "rootfs-propagation.slave",
        PROPAGATION,
        "With slave, a mount that the host makes in the root file system is there inside.",
        |bench| events(bench, "slave", true),
    ),
    Check::must(
        "rootfs-propagation.slave-one-way",
        PROPAGATION,
        "With slave, the root mount sends no events.",
        |bench| {
            marked(bench, "slave", |marks| {
                !marks.iter().any(|it| it.starts_with("shared:"))
            })
        },
    ),
    Check::must(
        "rootfs-propagation.private",
        PROPAGATION,
        "With private, a mount that the host makes in the root file system is not there inside.",
        |bench| events(bench, "private", false),
    ),
    Check::must(
        "rootfs-propagation.private-mark",
        PROPAGATION,
        "With private, the root mount neither sends nor receives events.",
        |bench| marked(bench, "private", |marks| marks.is_empty()),
    ),
    Check::must(
        "rootfs-propagation.unbindable",
        PROPAGATION,
        "With unbindable, the root mount is private and cannot be bound.",
        |bench| marked(bench, "unbindable", |marks| marks == ["unbindable"]),
    ),
    Check::must(
        "rootfs-propagation.unknown",
        PROPAGATION,
        "Any other value is an error.",
        |bench| {
            faulty(
                bench,
                BASE,
                |config| config["linux"]["rootfsPropagation"] = json!("private"),
                |config| config["linux"]["rootfsPropagation"] = json!("hako"),
            )
        },
    ),
    Check::must(
        "masked-paths.file",
        MASKED,
        "A masked file's content cannot be read.",
        |bench| masked(bench, false),
    ),
    Check::must(
        "masked-paths.directory",
        MASKED,
        "A masked directory's content cannot be seen.",
        |bench| masked(bench, true),
    ),
    Check::must(
        "masked-paths.proc",
        MASKED,
        "A file of /proc can be masked.",
        |bench| {
            let steps = [Step::Read("/proc/cpuinfo".into())];
            let plain = Trial::new(bench, &steps)?;
            demand(!plain.live()?.text(0)?.is_empty(), || {
                "/proc/cpuinfo is empty".into()
            })?;
            plain.passed()?;
            let trial = Trial::new(bench, &steps)?
                .edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/cpuinfo"]));
            hidden(trial.live()?.answer(0)?)?;
            trial.passed()
        },
    ),
    Check::must(
        "masked-paths.relative",
        MASKED,
        "A masked path that is not absolute is an error.",
        |bench| {
            faulty(
                bench,
                BASE,
                |config| config["linux"]["maskedPaths"] = json!(["/proc/keys"]),
                |config| config["linux"]["maskedPaths"] = json!(["proc/keys"]),
            )
        },
    ),
    Check::must(
        "readonly-paths.file",
        READONLY,
        "A read-only file cannot be written, and can be read.",
        |bench| read_only(bench, "/etc/file", "/etc/file"),
    ),
    Check::must(
        "readonly-paths.directory",
        READONLY,
        "Nothing below a read-only directory can be written.",
        |bench| read_only(bench, "/etc", "/etc/file"),
    ),
    Check::must(
        "readonly-paths.proc",
        READONLY,
        "A directory of /proc can be made read-only.",
        |bench| {
            let path = "/proc/sys/net/ipv4/ip_default_ttl";
            let steps = [
                Step::Access(path.into(), "w".into()),
                Step::Read(path.into()),
            ];
            writable(bench, &steps)?;
            let trial = Trial::new(bench, &steps)?
                .edit(|config| config["linux"]["readonlyPaths"] = json!(["/proc/sys"]));
            refused(trial.live()?.answer(0)?)?;
            trial.passed()
        },
    ),
    Check::must(
        "readonly-paths.relative",
        READONLY,
        "A read-only path that is not absolute is an error.",
        |bench| {
            faulty(
                bench,
                BASE,
                |config| config["linux"]["readonlyPaths"] = json!(["/proc/sys"]),
                |config| config["linux"]["readonlyPaths"] = json!(["proc/sys"]),
            )
        },
    ),
];

/// Where the root file system is a shared mount, in a mount namespace of our
/// own, so that whatever a runtime changes is not the host's.
fn shared_root(trial: &Trial<'_>) -> Result<Holder, Stop> {
    let root = trial.rootfs().to_string_lossy().into_owned();
    Holder::new(
        trial,
        &[
            Step::Unshare(vec!["mnt".into()]),
            Step::Bind(root.clone(), root.clone()),
            Step::Propagation(root, "shared".into()),
        ],
    )
}

fn marked(bench: &Bench, kind: &str, right: fn(&[String]) -> bool) -> Verdict {
    let trial =
        Trial::new(bench, &[])?.edit(|config| config["linux"]["rootfsPropagation"] = json!(kind));
    let holder = shared_root(&trial)?;
    let trial = trial.within(&[Step::Join(holder.ns("mnt"))]);
    trial.create()?;
    let text = read(format!("/proc/{}/mountinfo", trial.pid()?))?;
    let root = Mounted::at(&text, "/")?;
    demand(right(&root.propagation), || {
        format!("the root mount is {:?}", root.propagation)
    })?;
    trial.passed()
}

/// Whether a mount that is made outside arrives inside.
fn events(bench: &Bench, kind: &str, arrives: bool) -> Verdict {
    let trial =
        Trial::new(bench, &[])?.edit(|config| config["linux"]["rootfsPropagation"] = json!(kind));
    let holder = shared_root(&trial)?;
    let trial = trial.within(&[Step::Join(holder.ns("mnt"))]);
    trial.create()?;
    let place = trial.rootfs().join("etc").to_string_lossy().into_owned();
    let mounts = |pid: u32| read(format!("/proc/{pid}/mountinfo"));
    let _second = Holder::new(
        &trial,
        &[
            Step::Join(holder.ns("mnt")),
            Step::MountNew("tmpfs".into(), place.clone()),
        ],
    )?;
    if Mounted::find(&mounts(holder.pid())?, &place).is_none() {
        return Err(Stop::Broken("the mount is not there outside".into()));
    }
    let inside = mounts(trial.pid()?.unsigned_abs())?;
    let arrived = Mounted::find(&inside, "/etc").is_some();
    demand(arrived == arrives, || match arrived {
        true => "the mount is there inside".into(),
        false => "the mount is not there inside".into(),
    })?;
    trial.passed()
}

/// That something is hidden: it is empty, or it is refused.
fn hidden(answer: &Answer) -> Verdict {
    let good = match answer {
        Answer::Value(value) => *value == json!("") || *value == json!([]),
        Answer::Errno(_) => true,
    };
    demand(good, || format!("what is masked is seen: {answer:?}"))
}

fn masked(bench: &Bench, directory: bool) -> Verdict {
    let (path, step) = match directory {
        true => ("/etc/dir", Step::List("/etc/dir".into())),
        false => ("/etc/dir/file", Step::Read("/etc/dir/file".into())),
    };
    let fill = |trial: &Trial<'_>| {
        let dir = trial.rootfs().join("etc/dir");
        fs::create_dir(&dir)
            .and_then(|()| fs::write(dir.join("file"), "secret"))
            .map_err(Stop::broken("cannot fill the root file system"))
    };
    let plain = Trial::new(bench, std::slice::from_ref(&step))?;
    fill(&plain)?;
    let seen = plain.live()?;
    demand(hidden(seen.answer(0)?).is_err(), || {
        "nothing is seen unmasked".into()
    })?;
    plain.passed()?;
    let trial =
        Trial::new(bench, &[step])?.edit(|config| config["linux"]["maskedPaths"] = json!([path]));
    fill(&trial)?;
    hidden(trial.live()?.answer(0)?)?;
    trial.passed()
}

fn refused(answer: &Answer) -> Verdict {
    let read_only = rustix::io::Errno::ROFS.raw_os_error();
    demand(*answer == Answer::Errno(read_only), || {
        format!("writing: {answer:?}")
    })
}

fn writable(bench: &Bench, steps: &[Step]) -> Verdict {
    let trial = Trial::new(bench, steps)?;
    trial.live()?.value(0)?;
    trial.passed()
}

fn read_only(bench: &Bench, path: &str, file: &str) -> Verdict {
    let steps = [
        Step::Access(file.into(), "w".into()),
        Step::Read(file.into()),
    ];
    let fill = |trial: &Trial<'_>| {
        fs::write(trial.rootfs().join("etc/file"), "content")
            .map_err(Stop::broken("cannot fill the root file system"))
    };
    let plain = Trial::new(bench, &steps)?;
    fill(&plain)?;
    plain.live()?.value(0)?;
    plain.passed()?;
    let trial =
        Trial::new(bench, &steps)?.edit(|config| config["linux"]["readonlyPaths"] = json!([path]));
    fill(&trial)?;
    let seen = trial.live()?;
    refused(seen.answer(0)?)?;
    demand(seen.text(1)? == "content", || seen.told())?;
    trial.passed()
}
