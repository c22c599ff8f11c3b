//! The containers that a command means: the one with the id, or with `--regex`
//! (crun's) all whose ids match.

use hako_spec::id::ContainerId;

use super::{Global, id};
use crate::cli::Args;
use crate::ere::Pattern;
use crate::error::{Context, Error, Result};
use crate::log;

/// Does `what` with every container that is meant. A failure with one of many
/// is a warning, and keeps nothing from the others; in the end it is an error.
pub(super) fn each(
    global: &Global,
    args: &Args,
    what: impl Fn(&ContainerId) -> Result<()>,
) -> Result<u8> {
    if !args.has("regex") {
        return what(&id(args)?).map(|()| 0);
    }
    let text = args.free.first().map(String::as_str).unwrap_or_default();
    if text.is_empty() {
        return Err(Error::new(
            "--regex needs a regular expression: an empty one would mean every container",
        ));
    }
    let pattern = Pattern::parse(text)?;
    let mut meant = ids(global)?;
    meant.retain(|id| pattern.is_match(id.as_str()));
    let mut failed = 0;
    for id in &meant {
        if let Err(e) = what(id) {
            log::warn(&format!("{id}: {e}"));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(0),
        _ => Err(Error::new(format!(
            "{failed} of {} containers failed",
            meant.len()
        ))),
    }
}

/// The ids of all containers of this root, in order; some may be in the making.
pub(super) fn ids(global: &Global) -> Result<Vec<ContainerId>> {
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| global.root.display().to_string())?,
    };
    let mut all: Vec<ContainerId> = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        all.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(all)
}
