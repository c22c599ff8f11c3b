//! Removing a container with all that was its own.

use std::path::Path;

use crate::containers;
use crate::engine::Engine;
use crate::error::{At, Error, Failures, Result};
use crate::record::{Container, Phase};
use crate::runtime::Runtime as _;
use crate::start::clear;

impl Engine {
    /// Removes a container; one that runs only with `force`, which kills it.
    ///
    /// Errors: [`Error::WrongState`], and those of the steps, all of which are
    /// tried.
    pub fn remove(&self, container: &Container, force: bool) -> Result<()> {
        if matches!(container.state.phase, Phase::Running | Phase::Starting) {
            if !force {
                return Err(Error::WrongState {
                    id: container.short_id().to_owned(),
                    is: container.state.phase.word(),
                    advice: "stop it first, or use --force",
                });
            }
            let runtime = self.runtime(container.record.options.runtime.as_deref())?;
            // It may be ending at this moment.
            let _ = runtime.kill(container.id(), 9, false);
            if self.wait(container.id())?.is_none() {
                return Ok(());
            }
        }
        match self.locked(container.id()) {
            Ok((_lock, now)) => {
                self.remove_locked(&now)?;
                self.tell(&now, "remove", &[])
            }
            Err(Error::NoContainer(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Removes everything, under the container's lock. What marks it comes
    /// first and its row last: a removal that is killed is finished by the
    /// next command that sees the container.
    pub(crate) fn remove_locked(&self, container: &Container) -> Result<()> {
        let id = container.id();
        containers::update(self.database()?, id, |state| {
            state.phase = Phase::Removing;
            Ok(())
        })?;
        let mut failures = Failures::default();
        if let Some(runtime) =
            failures.note(self.runtime(container.record.options.runtime.as_deref()))
            && runtime.root.join(id).exists()
        {
            failures.note(runtime.delete(id));
        }
        failures.note(self.disconnect(&container.record, &container.state));
        failures.note(clear(&self.run_dir(id)));
        failures.note(self.snapshotter().and_then(|s| Ok(s.remove(id)?)));
        failures.note(remove_dir(&self.dir(id)));
        failures.finish()?;
        containers::delete(self.database()?, container.owner, id)?;
        self.forget_lock(id);
        Ok(())
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", dir),
        _ => Ok(()),
    }
}
