//! The way to a running container's streams.

use hako_monitor::Client;

use crate::engine::Engine;
use crate::error::{Error, Result, chain};
use crate::record::Container;
use crate::stop::must_run;

impl Engine {
    /// A connection to the monitor of a running container.
    ///
    /// Errors: [`Error::WrongState`] when it does not run, [`Error::Monitor`]
    /// when its monitor does not answer.
    pub fn monitor(&self, container: &Container) -> Result<Client> {
        must_run(container)?;
        Client::connect(&self.run_dir(container.id())).map_err(|e| Error::Monitor {
            id: container.short_id().to_owned(),
            message: chain(&e),
        })
    }
}
