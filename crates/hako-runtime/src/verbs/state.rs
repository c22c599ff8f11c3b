//! `state`: print a container's state (runtime.md, "State"), with the fields
//! that runc adds.

use serde_json::{Value, json};

use super::{Global, load, no_more, print};
use crate::cli::Args;
use crate::error::Result;
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let container = load(global, args)?;
    print(&format!("{:#}\n", describe(&container)?))?;
    Ok(0)
}

/// The container as `state` and `list` print it.
pub(super) fn describe(container: &Container) -> Result<Value> {
    let status = container.status();
    let mut value = serde_json::to_value(container.state(status))?;
    if let Value::Object(map) = &mut value {
        map.entry("pid").or_insert(json!(0));
        map.insert("rootfs".into(), json!(container.saved.rootfs));
        map.insert("created".into(), json!(container.saved.created));
        map.insert("owner".into(), json!(owner(container.saved.owner)));
    }
    Ok(value)
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
