//! What happens when a container ends: the monitor executes `hako internal
//! on-event exit ID`, which comes here; so does every command that finds out
//! that a container has ended and nobody has said so.

use hako_monitor::{Exit, read_exit};
use hako_store::events::Event;

use crate::containers;
use crate::engine::Engine;
use crate::error::{Error, Failures, Result};
use crate::record::{Container, Phase};
use crate::runtime::Runtime as _;
use crate::start::clear;

/// Now, in RFC 3339 with nanoseconds.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.9}")
}

impl Engine {
    /// Deals with an event of a container's monitor. `exit` is the only one.
    ///
    /// Errors: [`Error::Invalid`] for another event, and those of the steps,
    /// all of which are tried.
    pub fn on_event(&self, event: &str, id: &str) -> Result<()> {
        if event != "exit" {
            return Err(Error::invalid("event", event, "it is not known"));
        }
        match self.locked(id) {
            Ok((_lock, container)) => self.ended(&container),
            // Removed already.
            Err(Error::NoContainer(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Settles a container whose process has ended, under its lock.
    pub(crate) fn ended(&self, container: &Container) -> Result<()> {
        let id = container.id();
        if !matches!(container.state.phase, Phase::Running | Phase::Starting) {
            return Ok(());
        }
        let exit = read_exit(&self.dir(id)).ok().flatten();
        let mut failures = Failures::default();
        if let Some(runtime) =
            failures.note(self.runtime(container.record.options.runtime.as_deref()))
        {
            failures.note(runtime.delete(id));
        }
        failures.note(self.disconnect(&container.record, &container.state));
        failures.note(clear(&self.run_dir(id)));
        failures.note(self.settle(container, exit.as_ref()));
        if container.record.options.auto_remove {
            failures.note(self.remove_locked(container));
        }
        failures.finish()
    }

    fn settle(&self, container: &Container, exit: Option<&Exit>) -> Result<()> {
        let code = exit.and_then(|e| e.code);
        let finished = exit.map_or_else(now, |e| e.finished_at.clone());
        let state = containers::update(self.database()?, container.id(), |state| {
            state.phase = Phase::Exited;
            state.pid = None;
            state.network = None;
            state.exit_code = code;
            state.oom_killed = exit.is_some_and(|e| e.oom_killed);
            state.finished = Some(finished);
            if code.is_none() {
                state.error =
                    Some("the exit status is not known: the monitor had ended before".to_owned());
            }
            Ok(())
        })?;
        if state.is_some() {
            let code = code.map_or_else(|| "unknown".to_owned(), |c| c.to_string());
            self.tell(container, "die", &[("exitCode", &code)])?;
        }
        Ok(())
    }

    /// Writes an event of a container down.
    pub(crate) fn tell(
        &self,
        container: &Container,
        action: &str,
        attributes: &[(&str, &str)],
    ) -> Result<()> {
        let mut event = Event::new("container", action, container.id())
            .owned_by(container.owner)
            .with("name", container.record.name.as_str())
            .with("image", container.record.image_name.as_str());
        for (key, value) in attributes {
            event = event.with(key, *value);
        }
        self.store.events().append(&event)?;
        Ok(())
    }

    /// The container as the database has it.
    pub(crate) fn reload(&self, id: &str) -> Result<Container> {
        containers::by_id(self.database()?, id)?.ok_or_else(|| Error::NoContainer(id.to_owned()))
    }
}
