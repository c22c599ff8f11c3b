//! `list`: all containers of this root, as a table, JSON, or ids alone.

use super::state::Described;
use super::{Global, no_more, print, select};
use crate::cli::Args;
use crate::error::{Error, Result};
use crate::log;
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 0)?;
    // The default root appears with the first container; one that was asked for
    // may be misspelt.
    if args.has("root") && !global.root.exists() {
        let root = global.root.display();
        return Err(Error::new(format!("--root {root}: no such directory")));
    }
    let all = containers(global)?;
    if args.has("quiet") {
        for c in &all {
            print(&format!("{}\n", c.id))?;
        }
        return Ok(0);
    }
    match args.get("format") {
        Some("json") => print(&format!("{}\n", serde_json::to_string(&all)?))?,
        None | Some("table") => print(&table(&all))?,
        Some(other) => {
            return Err(Error::new(format!(
                "--format: {other:?} is not table or json"
            )));
        }
    }
    Ok(0)
}

fn containers(global: &Global) -> Result<Vec<Described>> {
    let mut all = Vec::new();
    for id in select::ids(global)? {
        match Container::load(&global.root, &id) {
            Ok(container) => all.push(Described::of(container)),
            // Being made or removed at this moment, or left by a killed create.
            Err(e) => log::debug(&format!("{id}: {e}")),
        }
    }
    Ok(all)
}

fn table(all: &[Described]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for c in all {
        rows.push([
            c.id.clone(),
            c.pid.to_string(),
            c.status.to_string(),
            c.bundle.clone(),
            c.created.clone(),
            c.owner.clone(),
        ]);
    }
    super::processes::align(&rows)
}
