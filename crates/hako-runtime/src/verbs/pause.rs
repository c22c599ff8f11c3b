//! `pause` and `resume`.

use hako_spec::runtime::Status;

use super::{Global, load, no_more};
use crate::cli::Args;
use crate::error::{Context, Error, Result};

pub(super) fn run(global: &Global, args: &Args, pause: bool) -> Result<u8> {
    no_more(args, 1)?;
    let container = load(global, args)?;
    let cgroup = container.saved.cgroup();
    match (container.status(), pause) {
        (Status::Running | Status::Created, true) => cgroup.freeze().context(|| "pause")?,
        (Status::Paused, false) => cgroup.thaw().context(|| "resume")?,
        (status, _) => {
            return Err(Error::new(format!(
                "container {} is {status}: it cannot be {}",
                container.saved.id,
                if pause { "paused" } else { "resumed" }
            )));
        }
    }
    Ok(0)
}
