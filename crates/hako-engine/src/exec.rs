//! Another process in a running container.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use hako_spec::runtime::Config;
use rustix::fs::{Mode, OFlags};

use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::record::Container;
use crate::runtime::Runtime as _;
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
    /// streams; its exit status is the process's. The file that describes the
    /// process is the second value: to be removed when the process has started.
    ///
    /// Errors: [`Error::WrongState`] when the container does not run,
    /// [`Error::Invalid`] for an unknown user.
    pub fn exec(&self, container: &Container, options: &ExecOptions) -> Result<(Command, PathBuf)> {
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
        let file = run_dir.join(format!("exec-{name}.json"));
        let text = serde_json::to_vec(&process).map_err(|source| Error::Record {
            id: container.record.id.clone(),
            source,
        })?;
        std::fs::write(&file, text).at("write", &file)?;
        let runtime = self.runtime(container.record.options.runtime.as_deref())?;
        Ok((runtime.exec(container.id(), &file, options.detach), file))
    }
}
