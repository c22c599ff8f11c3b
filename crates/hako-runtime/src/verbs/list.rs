//! `list`: all containers of this root, as a table, JSON, or ids alone.

use serde_json::Value;

use super::state::describe;
use super::{Global, no_more, print, select};
use crate::cli::Args;
use crate::error::{Error, Result};
use crate::log;
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 0)?;
    let all = containers(global)?;
    if args.has("quiet") {
        for c in &all {
            print(&format!("{}\n", field(c, "id")))?;
        }
        return Ok(0);
    }
    match args.get("format") {
        Some("json") => print(&format!("{}\n", Value::Array(all)))?,
        None | Some("table") => print(&table(&all))?,
        Some(other) => {
            return Err(Error::new(format!(
                "--format: {other:?} is not table or json"
            )));
        }
    }
    Ok(0)
}

fn containers(global: &Global) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for id in select::ids(global)? {
        match Container::load(&global.root, &id).and_then(|c| describe(&c)) {
            Ok(value) => all.push(value),
            // Being made or removed at this moment, or left by a killed create.
            Err(e) => log::debug(&format!("{id}: {e}")),
        }
    }
    Ok(all)
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn table(all: &[Value]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for c in all {
        let pid = c
            .get("pid")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            .to_string();
        let get = |name| field(c, name).to_owned();
        rows.push([
            get("id"),
            pid,
            get("status"),
            get("bundle"),
            get("created"),
            get("owner"),
        ]);
    }
    super::processes::align(&rows)
}
