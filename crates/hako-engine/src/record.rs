//! What the database keeps of a container: a record that never changes, and a
//! state that does.

use std::collections::BTreeMap;

use hako_net::Attachment;
use hako_spec::digest::Digest;
use hako_store::Owner;
use serde::{Deserialize, Serialize};

use crate::options::Create;

/// A container as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among the owner's containers.
    pub name: String,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    /// What the user typed, or the image's familiar name.
    pub image_name: String,
    /// The image's id.
    pub image: Digest,
    /// The manifest that it came with.
    pub manifest: Option<Digest>,
    /// Diff ids of its layers, the base first.
    pub layers: Vec<Digest>,
    /// Entrypoint and command together: what runs.
    pub args: Vec<String>,
    /// The environment without what is decided at start.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`; empty: root.
    pub user: String,
    /// Labels of the image and the container.
    pub labels: BTreeMap<String, String>,
    /// Signal number of `stop`.
    pub stop_signal: i32,
    /// Seconds that `stop` waits.
    pub stop_timeout: u32,
    /// Paths for which the image wants a volume.
    pub image_volumes: Vec<String>,
    /// The rest as it was asked for.
    pub options: Create,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Never started.
    Created,
    /// A command is starting it.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// It is being removed.
    Removing,
}

impl Phase {
    /// The word that lists print.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Exited => "exited",
            Phase::Removing => "removing",
        }
    }
}

/// What has become of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its first process while it runs, as the host numbers it.
    pub pid: Option<i32>,
    /// RFC 3339.
    pub started: Option<String>,
    /// RFC 3339.
    pub finished: Option<String>,
    /// Exit status, 128+n after signal n; none while it runs, and when it is
    /// not known.
    pub exit_code: Option<i32>,
    /// The kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or why the exit status is not known.
    pub error: Option<String>,
    /// How it is connected while it runs.
    pub network: Option<Attachment>,
    /// The process id of pasta, where that connects it.
    pub pasta: Option<i32>,
    /// How often it was started.
    pub starts: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            phase: Phase::Created,
            pid: None,
            started: None,
            finished: None,
            exit_code: None,
            oom_killed: false,
            error: None,
            network: None,
            pasta: None,
            starts: 0,
        }
    }
}

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Whose it is.
    pub owner: Owner,
    /// As it was asked for.
    pub record: Record,
    /// What has become of it.
    pub state: State,
}

impl Container {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The 12 digits that lists show.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.record.id.get(..12).unwrap_or(&self.record.id)
    }
}
