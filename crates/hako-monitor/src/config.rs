//! What a monitor is told when it is started: one JSON file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The newest form of [`Config`] that this code reads and writes.
pub const VERSION: u32 = 1;

/// More than any configuration needs.
const MAX_LEN: u64 = 1 << 20;

/// How to run and watch one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The form of this file; [`VERSION`].
    pub version: u32,
    /// The container.
    pub id: String,
    /// Which runtime to execute.
    pub runtime: Runtime,
    /// The runtime's state directory (its `--root`).
    pub runtime_root: PathBuf,
    /// The OCI bundle.
    pub bundle: PathBuf,
    /// Where what must outlive the container goes: `exit.json`, `journal`,
    /// `monitor.log`. Exists.
    pub dir: PathBuf,
    /// Where the running container's things are: `monitor.sock`, the FIFOs
    /// `stdin`, `stdout` and `stderr`, `pid`, `init.json`. Exists, and is the
    /// owner's alone (0700), which is all that guards the socket.
    pub run_dir: PathBuf,
    /// Whether the container has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// What the container reads.
    #[serde(default)]
    pub stdin: Stdin,
    /// Where its output is kept.
    #[serde(default)]
    pub log: Log,
    /// A command to execute when the container ends, with `exit` and the id
    /// added. Its program is an absolute path.
    #[serde(default)]
    pub on_event: Vec<String>,
    /// The monitor's own cgroup, below each hierarchy's mount; made if it is
    /// missing, never removed. Left where it was started without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Whether to take over a container whose monitor has died, in place of
    /// creating one.
    #[serde(default)]
    pub adopt: bool,
    /// The signal that the container gets when the monitor gets SIGTERM.
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
}

fn sigterm() -> i32 {
    15
}

/// The OCI runtime's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program, an absolute path.
    pub path: PathBuf,
    /// Global options, before the verb (`--systemd-cgroup`).
    #[serde(default)]
    pub args: Vec<String>,
    /// Options of `create` (`--no-pivot`).
    #[serde(default)]
    pub create_args: Vec<String>,
}

/// What a container without a terminal reads. With one, anything but `Closed`
/// lets clients write to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Closed,
    /// What the first client sends; it ends when that client says so or goes
    /// away. It also ends with the monitor.
    Once,
    /// What any client sends; it never ends, not even with the monitor.
    Keep,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Driver {
    /// The kubelet's: `2016-10-06T00:17:09.669794202Z stdout F text`.
    #[default]
    #[serde(rename = "k8s-file")]
    K8sFile,
    /// Docker's: one JSON object a line.
    #[serde(rename = "json-file")]
    JsonFile,
    /// None.
    #[serde(rename = "none")]
    None,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Log {
    /// In which form.
    #[serde(default)]
    pub driver: Driver,
    /// In which file.
    #[serde(default)]
    pub path: PathBuf,
    /// Bytes after which a new file is begun; 0 for never.
    #[serde(default)]
    pub max_size: u64,
    /// How many files there may be, the current one included; older ones are
    /// `PATH.1`, `PATH.2`, … 0 counts as 1, and with 1 the file is emptied.
    #[serde(default)]
    pub max_files: u32,
}

impl Config {
    /// Reads and checks a configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let read = |e: std::io::Error| Error::path("read", path)(crate::error::errno(&e));
        let file = std::fs::File::open(path).map_err(read)?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_LEN), &mut text)
            .map_err(read)?;
        Self::parse(&text, path)
    }

    /// Parses and checks a configuration; `path` is for messages.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        let config: Self = serde_json::from_slice(text).map_err(|source| Error::Json {
            path: path.to_owned(),
            what: "monitor configuration",
            source,
        })?;
        if config.version == 0 || config.version > VERSION {
            return Err(Error::Version {
                path: path.to_owned(),
                version: config.version,
                known: VERSION,
            });
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let refuse = |field, reason: &str| {
            Err(Error::Config {
                field,
                reason: reason.to_owned(),
            })
        };
        if let Err(e) = self.id.parse::<hako_spec::id::ContainerId>() {
            return refuse("id", &e.to_string());
        }
        for (field, path) in [
            ("runtime.path", &self.runtime.path),
            ("runtime_root", &self.runtime_root),
            ("bundle", &self.bundle),
            ("dir", &self.dir),
            ("run_dir", &self.run_dir),
        ] {
            if !path.is_absolute() {
                return refuse(field, "is not an absolute path");
            }
        }
        if self.log.driver != Driver::None && !self.log.path.is_absolute() {
            return refuse("log.path", "is not an absolute path");
        }
        if self.on_event.first().is_some_and(|p| !p.starts_with('/')) {
            return refuse("on_event", "is not an absolute path");
        }
        if !(1..=hako_sys::signal::MAX).contains(&self.stop_signal) {
            return refuse("stop_signal", "is not a signal number");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const MINIMAL: &str = r#"{"version":1,"id":"c1","runtime":{"path":"/r"},
        "runtime_root":"/rr","bundle":"/b","dir":"/d","run_dir":"/rd","log":{"driver":"none"},
        "something-newer":true}"#;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text.as_bytes(), Path::new("config.json"))
    }

    #[test]
    fn defaults() {
        let config = parse(MINIMAL).unwrap();
        assert_eq!(config.stdin, Stdin::Closed);
        assert_eq!(config.stop_signal, 15);
        assert!(!config.adopt && !config.terminal && config.cgroup.is_none());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config);
    }

    #[test]
    fn refusals() {
        for (from, to, part) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"c1\"", "\"../c1\"", "id "),
            ("\"/b\"", "\"b\"", "bundle is not an absolute path"),
            ("\"none\"", "\"k8s-file\"", "log.path"),
            ("\"none\"", "\"syslog\"", "monitor configuration"),
            (
                "\"version\":1",
                "\"version\":1,\"stop_signal\":0",
                "stop_signal",
            ),
            (
                "\"version\":1",
                "\"version\":1,\"on_event\":[\"x\"]",
                "on_event",
            ),
        ] {
            let e = parse(&MINIMAL.replace(from, to)).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in ".{0,100}") {
            let _ = parse(&text);
        }
    }
}
