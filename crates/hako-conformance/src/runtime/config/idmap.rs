//! "Linux mount options", `idmap` and `ridmap`; "POSIX-platform Mounts", the
//! mappings of a mount.

use rustix::mount::MountFlags;
use serde_json::{Value, json};

use super::support::{Tmpfs, apart, make_dirs, mounted, write_file};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;
use crate::runtime::trial::{self, Trial};

const OPTIONS: &str = "config.md#linux-mount-options";
const POSIX: &str = "config.md#posix-platform-mounts";
/// The version that tells how mappings are to be understood.
const VERSION: &str = "1.2.0";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "mount-option.idmap",
        OPTIONS,
        "With 'idmap' a mount shows its files' owners through its own mappings.",
        |bench| shown(bench, "idmap", &[("/tmp/file", 3, 4)]),
    )
    .should(),
    Check::must(
        "mount-option.idmap-not-below",
        OPTIONS,
        "With 'idmap' what is mounted below is not mapped.",
        |bench| shown(bench, "idmap", &[("/tmp/below/file", 0, 0)]),
    )
    .should(),
    Check::must(
        "mount-option.ridmap",
        OPTIONS,
        "With 'ridmap' what is mounted below is mapped as well.",
        |bench| {
            let files = [("/tmp/file", 3, 4), ("/tmp/below/file", 3, 4)];
            shown(bench, "ridmap", &files)
        },
    )
    .should(),
    Check::must(
        "mount-option.idmap-over-container",
        OPTIONS,
        "The mount's own mappings are used, not those of the container's user namespace.",
        |bench| {
            let own = (mapping(0, 100_003), mapping(0, 100_003));
            in_container(bench, Some(own), 3)
        },
    ),
    Check::must(
        "mount-option.idmap-of-container",
        OPTIONS,
        "'idmap' without mappings may use those of the container's user namespace.",
        |bench| in_container(bench, None, 0),
    )
    .may(),
    Check::must(
        "mount-option.idmap-without-mappings",
        OPTIONS,
        "'idmap' without mappings, in a container without a user namespace, is an error.",
        |bench| without_mappings(bench, "idmap"),
    ),
    Check::must(
        "mount-option.ridmap-without-mappings",
        OPTIONS,
        "'ridmap' without mappings, in a container without a user namespace, is an error.",
        |bench| without_mappings(bench, "ridmap"),
    ),
    Check::must(
        "mounts.uid-mappings-alone",
        POSIX,
        "uidMappings of a mount without gidMappings are an error.",
        |bench| alone(bench, "uidMappings"),
    ),
    Check::must(
        "mounts.gid-mappings-alone",
        POSIX,
        "gidMappings of a mount without uidMappings are an error.",
        |bench| alone(bench, "gidMappings"),
    ),
];

fn kernel() -> Verdict {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|it| it.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version >= (6, 3) {
        true => Ok(()),
        false => Err(Stop::Skipped(format!(
            "a tmpfs can be mapped since Linux 6.3, this is {release}"
        ))),
    }
}

fn mapping(container: u32, host: u32) -> Value {
    json!([{ "containerID": container, "hostID": host, "size": 1 }])
}

/// A source owned by 0 that is mapped to uid 3 and gid 4, and what the files in
/// it show.
fn shown(bench: &Bench, option: &str, files: &[(&str, u32, u32)]) -> Verdict {
    apart(|| {
        kernel()?;
        let steps: Vec<Step> = files
            .iter()
            .map(|(path, ..)| Step::Stat((*path).to_owned()))
            .collect();
        let trial = Trial::of(bench, VERSION, &steps)?;
        let (source, below) = (trial.beside("source"), trial.beside("source/below"));
        let _outer = Tmpfs::at(&source, MountFlags::empty())?;
        let _inner = Tmpfs::at(&below, MountFlags::empty())?;
        write_file(&source.join("file"), "text")?;
        write_file(&below.join("file"), "text")?;
        let trial = mounted(
            trial,
            json!({
                "destination": "/tmp", "type": "none", "source": trial::text(&source),
                "options": ["rbind", option],
                "uidMappings": mapping(0, 3), "gidMappings": mapping(0, 4),
            }),
        );
        let seen = trial.live()?;
        for (n, (path, uid, gid)) in files.iter().enumerate() {
            let it = seen.value(n)?;
            demand(it["uid"] == *uid && it["gid"] == *gid, || {
                format!("the owner of {path} is {}:{}", it["uid"], it["gid"])
            })?;
        }
        trial.passed()
    })
}

/// With own mappings to 100003 the file belongs to 3 in the container; by the
/// container's own it belongs to 0, and without any to nobody.
fn in_container(bench: &Bench, own: Option<(Value, Value)>, wanted: u32) -> Verdict {
    apart(|| {
        kernel()?;
        let trial = Trial::of(bench, VERSION, &[Step::Stat("/mapped/file".into())])?;
        make_dirs(&trial, &["mapped"])?;
        let source = trial.beside("source");
        let _mounted = Tmpfs::at(&source, MountFlags::empty())?;
        write_file(&source.join("file"), "text")?;
        let all = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        let mut entry = json!({
            "destination": "/mapped", "type": "none", "source": trial::text(&source),
            "options": ["bind", "idmap"],
        });
        if let Some((uids, gids)) = own {
            entry["uidMappings"] = uids;
            entry["gidMappings"] = gids;
        }
        let trial = mounted(trial, entry).edit(|config| {
            push(
                &mut config["linux"]["namespaces"],
                json!({ "type": "user" }),
            );
            config["linux"]["uidMappings"] = all.clone();
            config["linux"]["gidMappings"] = all;
        });
        let seen = trial.live()?;
        let it = seen.value(0)?;
        demand(it["uid"] == wanted && it["gid"] == wanted, || {
            format!("the owner is {}:{}", it["uid"], it["gid"])
        })?;
        trial.passed()
    })
}

fn without_mappings(bench: &Bench, option: &str) -> Verdict {
    let trial = Trial::of(bench, VERSION, &[])?;
    write_file(&trial.bundle().join("source/file"), "text")?;
    let trial = mounted(
        trial,
        json!({
            "destination": "/tmp", "type": "none", "source": "source",
            "options": ["bind", option],
        }),
    );
    trial.does_not_start()?;
    trial.passed()
}

fn alone(bench: &Bench, name: &str) -> Verdict {
    let trial = Trial::of(bench, VERSION, &[])?;
    write_file(&trial.bundle().join("source/file"), "text")?;
    let mut entry = json!({
        "destination": "/tmp", "type": "none", "source": "source", "options": ["bind", "idmap"],
    });
    entry[name] = mapping(0, 3);
    let trial = mounted(trial, entry);
    trial.does_not_start()?;
    trial.passed()
}
