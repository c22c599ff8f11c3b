//! Another process in a running container.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use hako_spec::runtime::Config;
use rustix::fs::{Mode, OFlags};

use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::record::Container;
use crate::runtime::{OciRuntime, Runtime};
use crate::stop::must_run;
use crate::user;

/// What `exec` takes.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Command and arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`, over the container's.
    pub env: Vec<String>,
    /// Working directory in place of the container's.
    pub workdir: Option<String>,
    /// `user[:group]` in place of the container's.
    pub user: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Do not wait.
    pub detach: bool,
}

impl Engine {
    /// The runtime's command that runs the process with the caller's standard
    /// streams.
    ///
    /// Errors: [`Error::WrongState`] when the container does not run,
    /// [`Error::Invalid`] for an unknown user.
    pub fn exec(&self, container: &Container, options: &ExecOptions) -> Result<Exec> {
        must_run(container)?;
        let run_dir = self.run_dir(container.id());
        let path = run_dir.join("config.json");
        let text = std::fs::read(&path).at("read", &path)?;
        let mut process = Config::from_slice(&text)?.process.unwrap_or_default();
        process.args = options.command.clone();
        process.terminal = options.tty;
        for new in &options.env {
            let name = new.split('=').next().unwrap_or_default();
            process
                .env
                .retain(|old| old.split('=').next() != Some(name));
            match new.contains('=') {
                true => process.env.push(new.clone()),
                false => {
                    let value = std::env::var(name).ok();
                    process
                        .env
                        .extend(value.map(|value| format!("{name}={value}")));
                }
            }
        }
        if options.tty && !process.env.iter().any(|e| e.starts_with("TERM=")) {
            process.env.push("TERM=xterm".to_owned());
        }
        if let Some(cwd) = &options.workdir {
            process.cwd = cwd.clone();
        }
        if let Some(text) = &options.user {
            let pid = container.state.pid.unwrap_or(0);
            let root = format!("/proc/{pid}/root");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&root, flags, Mode::empty()).at("open", root)?;
            let found = user::find(root.as_fd(), text, &[])?;
            process.user = found.user;
            process.env.retain(|e| !e.starts_with("HOME="));
            process
                .env
                .push(format!("HOME={}", found.home.as_deref().unwrap_or("/")));
        }
        if options.privileged {
            let all = crate::Create {
                privileged: true,
                ..crate::Create::default()
            };
            let names = crate::spec::capability_names(&all)?;
            let caps = process.capabilities.get_or_insert_default();
            caps.bounding = names.clone();
            caps.effective = names.clone();
            caps.permitted = names;
        }
        let name = hako_store::random::name().doing("name a file")?;
        let runtime = self.runtime(container.record.options.runtime.as_deref())?;
        let process_file = run_dir.join(format!("exec-{name}.json"));
        let log = run_dir.join(format!("exec-{name}.log"));
        let exec = Exec {
            command: runtime.exec(container.id(), &process_file, &log, options.detach),
            process: process_file,
            log,
            runtime,
        };
        let text = serde_json::to_vec(&process).map_err(|source| Error::Record {
            id: container.record.id.clone(),
            source,
        })?;
        std::fs::write(&exec.process, text).at("write", &exec.process)?;
        Ok(exec)
    }
}

/// A process to run. Its files go with it; the end of the container removes those
/// that a killed command leaves.
#[derive(Debug)]
pub struct Exec {
    /// The runtime's command.
    pub command: Command,
    process: PathBuf,
    log: PathBuf,
    runtime: OciRuntime,
}

impl Exec {
    /// What the command's end with `status` means: the status to end with, and
    /// what the runtime said beside an error, which it has told already. A
    /// runtime's failure is told from the process's own status by its log: 126
    /// and 127 are about the program, 125 is all else.
    #[must_use]
    pub fn outcome(&self, status: u8) -> (u8, Vec<String>) {
        outcome(
            &self.runtime,
            &std::fs::read(&self.log).unwrap_or_default(),
            status,
        )
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        for file in [&self.process, &self.log] {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[derive(serde::Deserialize)]
struct Line {
    level: String,
    msg: String,
}

fn outcome(runtime: &dyn Runtime, log: &[u8], mut status: u8) -> (u8, Vec<String>) {
    let mut warnings = Vec::new();
    for line in log.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            continue;
        };
        match line.level.as_str() {
            "error" | "fatal" if status != 0 => status = runtime.status_of(&line.msg),
            "warning" => warnings.push(line.msg),
            _ => {}
        }
    }
    (status, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_from_a_status() {
        let runtime = OciRuntime::find("/bin/true", std::path::Path::new("/")).unwrap();
        let told = |log: &str, status| outcome(&runtime, log.as_bytes(), status);
        assert_eq!(told("", 255), (255, vec![]));
        let missing = r#"{"level":"error","msg":"exec failed: unable to start container process: exec: \"x\": executable file not found in $PATH","time":"t"}"#;
        assert_eq!(told(missing, 255).0, 127);
        assert_eq!(told(r#"{"level":"error","msg":"no container"}"#, 1).0, 125);
        let warning = "{\"level\":\"warning\",\"msg\":\"w\"}\nnonsense\n";
        assert_eq!(told(warning, 3), (3, vec!["w".to_owned()]));
        assert_eq!(told(missing, 0).0, 0);
    }
}
