//! `state`: print a container's state (runtime.md, "State"), with the fields
//! that runc adds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hako_spec::runtime::Status;
use serde::Serialize;

use super::{Global, load, no_more, print};
use crate::cli::Args;
use crate::error::Result;
use crate::state::Container;

/// How long a `create` under way is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let mut container = load(global, args)?;
    // Callers that wait for a container to appear take the first answer for that
    // of one that is created; only hooks, and those who wait for them, are to see
    // another.
    let asked = Instant::now();
    while container.is_creating() && asked.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
        container = load(global, args)?;
    }
    let text = serde_json::to_string_pretty(&Described::of(container))?;
    print(&format!("{text}\n"))?;
    Ok(0)
}

/// The container as `state` and `list` print it: the specification's members
/// and runc's, in runc's order, by which scripts know them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Described {
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: String,
    rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(super) owner: String,
}

impl Described {
    /// How the container is now.
    pub(super) fn of(container: Container) -> Self {
        let status = container.status();
        let saved = container.saved;
        Described {
            oci_version: saved.oci_version,
            id: saved.id,
            pid: match status {
                Status::Stopped => 0,
                _ => saved.pid,
            },
            status,
            bundle: saved.bundle,
            rootfs: saved.rootfs,
            created: saved.created,
            annotations: saved.annotations,
            owner: owner(saved.owner),
        }
    }
}

/// The name of a user of the host, as far as its passwd file tells.
fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
        .unwrap_or_else(|| format!("#{uid}"))
}
