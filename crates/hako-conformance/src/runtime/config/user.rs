//! "POSIX-platform User".

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{apart, field, invalid, runs};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;

const SECTION: &str = "config.md#posix-platform-user";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "user.uid",
        SECTION,
        "The program's user ids, all of them, are uid.",
        |bench| ids(bench, "Uid", 1234),
    ),
    Check::must(
        "user.gid",
        SECTION,
        "The program's group ids, all of them, are gid.",
        |bench| ids(bench, "Gid", 4321),
    ),
    Check::must(
        "user.namespace",
        SECTION,
        "In a user namespace uid and gid are those inside.",
        namespace,
    ),
    Check::must(
        "user.additional-gids",
        SECTION,
        "The program's additional groups are additionalGids.",
        |bench| additional(bench, &[5, 6, 70_000]),
    ),
    Check::must(
        "user.additional-gids-none",
        SECTION,
        "Without additionalGids the program has no group of the runtime's.",
        |bench| additional(bench, &[]),
    ),
    Check::must(
        "user.umask",
        SECTION,
        "The program's file mode creation mask is umask.",
        |bench| {
            for mask in [0o077, 0o027, 0] {
                umask(bench, mask)?;
            }
            Ok(())
        },
    ),
    Check::must(
        "user.umask-unset",
        SECTION,
        "Without umask the program has the runtime's mask, or the usual 0022.",
        umask_unset,
    )
    .may(),
    Check::must(
        "user.uid-negative",
        SECTION,
        "A uid or gid below 0 is an error.",
        |bench| {
            for name in ["uid", "gid"] {
                invalid(bench, |config| config["process"]["user"][name] = json!(-1))?;
            }
            Ok(())
        },
    ),
];

fn status(bench: &Bench, user: &Value, line: &str) -> Result<String, Stop> {
    let steps = [Step::Read("/proc/self/status".into())];
    let seen = runs(bench, &steps, |config| {
        config["process"]["user"] = user.clone();
    })?;
    field(seen.text(0)?, line).map(str::to_owned)
}

fn all_are(found: &str, id: u32) -> bool {
    let mut words = found.split_whitespace();
    words.clone().count() == 4 && words.all(|word| word == id.to_string())
}

fn ids(bench: &Bench, line: &str, id: u32) -> Verdict {
    let found = status(bench, &json!({ "uid": 1234, "gid": 4321 }), line)?;
    demand(all_are(&found, id), || format!("{line} is {found}"))
}

fn namespace(bench: &Bench) -> Verdict {
    let steps = [
        Step::Read("/proc/self/status".into()),
        Step::Read("/proc/self/uid_map".into()),
    ];
    let seen = runs(bench, &steps, |config| {
        push(
            &mut config["linux"]["namespaces"],
            json!({ "type": "user" }),
        );
        let all = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
        config["linux"]["uidMappings"] = all.clone();
        config["linux"]["gidMappings"] = all;
        config["process"]["user"] = json!({ "uid": 12, "gid": 13 });
    })?;
    let (uid, gid) = (field(seen.text(0)?, "Uid")?, field(seen.text(0)?, "Gid")?);
    let mapped = seen.text(1)?.split_whitespace().nth(1) == Some("200000");
    demand(mapped && all_are(uid, 12) && all_are(gid, 13), || {
        format!("Uid is {uid}, Gid is {gid}")
    })
}

fn additional(bench: &Bench, groups: &[u32]) -> Verdict {
    let user = json!({ "uid": 1234, "gid": 4321, "additionalGids": groups });
    let found = status(bench, &user, "Groups")?;
    let mut seen: BTreeSet<u32> = found
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // The group itself may be there as well.
    seen.remove(&4321);
    demand(seen == groups.iter().copied().collect(), || {
        format!("the groups are {found}, not {groups:?}")
    })
}

fn umask(bench: &Bench, mask: u32) -> Verdict {
    let user = json!({ "uid": 0, "gid": 0, "umask": mask });
    let found = status(bench, &user, "Umask")?;
    demand(u32::from_str_radix(&found, 8) == Ok(mask), || {
        format!("the mask is {found}, not {mask:04o}")
    })
}

fn umask_unset(bench: &Bench) -> Verdict {
    apart(|| {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        let found = status(bench, &json!({ "uid": 0, "gid": 0 }), "Umask")?;
        demand(matches!(&*found, "0027" | "0022"), || {
            format!("the runtime's mask is 0027, the program's is {found}")
        })
    })
}
