//! `mounts add` and `mounts remove` (crun's): other mounts for a container that
//! runs. They are described by a list in the form of the configuration's.

use hako_spec::id::ContainerId;
use hako_spec::runtime::validate::{self, Purpose};
use hako_spec::runtime::{Mount, Status};

use super::{Global, document, no_more};
use crate::cli::Args;
use crate::container::mounts::{add, remove};
use crate::error::{Context, Error, Result};
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 3)?;
    let [what, id, file] = args.free.as_slice() else {
        return Err(Error::new(
            "mounts needs add or remove, a container id and a file",
        ));
    };
    let change = match what.as_str() {
        "add" => add,
        "remove" => remove,
        other => {
            return Err(Error::new(format!(
                "mounts: {other:?} is neither add nor remove"
            )));
        }
    };
    let id: ContainerId = id.parse()?;
    let container = Container::load(&global.root, &id)?;
    match container.status() {
        Status::Created | Status::Running | Status::Paused => {}
        _ => return Err(container.not_running()),
    }
    let mut config = container.config()?;
    config.mounts = read(file).context(|| format!("mounts {file}"))?;
    if let Some(problem) = validate::config(&config, Purpose::Start).first() {
        return Err(Error::new(format!("mounts {file}: {problem}")));
    }
    change(&container, &config)?;
    Ok(0)
}

fn read(file: &str) -> Result<Vec<Mount>> {
    Ok(serde_json::from_slice(&document(file)?)?)
}
