//! What `hako info` and the Docker API's `info` tell of an installation.

use hako_cgroup::Host;
use serde_json::{Value, json};

use crate::containers::Filter;
use crate::engine::Engine;
use crate::error::Result;
use crate::record::Phase;

impl Engine {
    /// The installation as an object with Docker's names.
    ///
    /// Errors: those of the store and of the trial of root file systems.
    pub fn info(&self) -> Result<Value> {
        let containers = self.containers(Filter::All)?;
        let running = containers
            .iter()
            .filter(|c| c.state.phase == Phase::Running)
            .count();
        let images = self.store().images().list(Some(self.places.owner))?.len();
        let snapshotter = self.snapshotter()?;
        let choice = snapshotter.backend()?;
        let version = match Host::detect() {
            Ok(host) if host.v1.is_empty() => "2",
            Ok(host) if host.v2.is_some() => "1 and 2",
            Ok(_) => "1",
            Err(_) => "none",
        };
        Ok(json!({
            "Root": self.places.root,
            "RunRoot": self.places.runroot,
            "Owner": self.places.owner.to_string(),
            "Rootless": self.places.rootless,
            "Containers": containers.len(),
            "ContainersRunning": running,
            "ContainersStopped": containers.len() - running,
            "ContainersPaused": 0,
            "Images": images,
            "Driver": choice.backend.as_str(),
            "DriverReason": choice.reason,
            "Originals": self.store().settings().originals()?.as_str(),
            "CgroupVersion": version,
        }))
    }
}
