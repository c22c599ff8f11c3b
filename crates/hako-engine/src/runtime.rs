//! The OCI runtime that runs a container, as a program with runc's command
//! line: hako-runtime, runc, crun or another.
//!
//! `create` and `start` are the monitor's to execute, because it has to be the
//! parent; the engine does the rest. The trait names no pid, bundle or standard
//! streams, which a shim (containerd's version 2) would not have.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{At, Error, Result};

/// What the engine asks of a runtime.
pub trait Runtime: std::fmt::Debug {
    /// Its name, for messages.
    fn name(&self) -> &str;
    /// Sends a signal to the container's first process, or to all.
    fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()>;
    /// Removes what the runtime keeps of the container, killing it first.
    fn delete(&self, id: &str) -> Result<()>;
    /// The command that runs another process in the container in the
    /// foreground, with this program's standard streams; what goes wrong is
    /// written to `log`, too.
    fn exec(&self, id: &str, process: &Path, log: &Path, detach: bool) -> Command;
    /// The status for a failure that the runtime told in `message`: 126 or 127
    /// when it is about the program, else 125.
    fn status_of(&self, message: &str) -> u8;
}

/// A runtime with runc's command line.
#[derive(Debug, Clone)]
pub struct OciRuntime {
    /// The program, absolute.
    pub path: PathBuf,
    /// Where it keeps its containers (`--root`).
    pub root: PathBuf,
    name: String,
}

impl OciRuntime {
    /// Finds the runtime `name` (a name or a path): beside this program, in
    /// `../lib/hako` and `../libexec/hako` from there, then on PATH.
    pub fn find(name: &str, root: &Path) -> Result<Self> {
        let found = |path: PathBuf| OciRuntime {
            path,
            root: root.to_path_buf(),
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
        };
        if name.contains('/') {
            let path = std::path::absolute(name).at("name", name)?;
            return match path.is_file() {
                true => Ok(found(path)),
                false => Err(Error::NoRuntime(format!("no runtime at {name}"))),
            };
        }
        let mut places = Vec::new();
        if let Some(dir) = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.to_path_buf()))
        {
            places.extend([
                dir.clone(),
                dir.join("../lib/hako"),
                dir.join("../libexec/hako"),
            ]);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        places.extend(std::env::split_paths(&path).filter(|p| p.is_absolute()));
        // sbin is not on every user's PATH, and that is where runc lies.
        places.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
        places
            .into_iter()
            .map(|dir| dir.join(name))
            .find(|candidate| candidate.is_file())
            .map(found)
            .ok_or_else(|| {
                Error::NoRuntime(format!(
                    "the runtime {name} is neither beside hako nor on PATH: install it, or name another with --runtime"
                ))
            })
    }

    /// A command with the flags that come before the verb.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(self.global());
        command
    }

    /// The flags that come before the verb.
    #[must_use]
    pub fn global(&self) -> Vec<String> {
        vec![
            "--root".to_owned(),
            self.root.to_string_lossy().into_owned(),
        ]
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let out = self
            .command()
            .args(arguments)
            .output()
            .at("run", &self.path)?;
        if out.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&out.stderr);
        Err(self.error(text.trim(), out.status.code()))
    }

    /// The error for what the runtime said.
    #[must_use]
    pub fn error(&self, message: &str, code: Option<i32>) -> Error {
        let prefix = format!("{}: ", self.name);
        let message = message.strip_prefix(&prefix).unwrap_or(message);
        let status = match code {
            Some(126) => 126,
            Some(127) => 127,
            _ => status_of(message),
        };
        let message = match message.is_empty() {
            true => "failed without a message".to_owned(),
            false => message.to_owned(),
        };
        Error::Runtime {
            runtime: self.name.clone(),
            message,
            status,
        }
    }
}

/// What runc and crun say when it is about the container's program.
fn status_of(message: &str) -> u8 {
    if !message.contains("exec") {
        return 125;
    }
    let has = |texts: &[&str]| texts.iter().any(|t| message.contains(t));
    if has(&[
        "executable file not found",
        "no such file or directory",
        "not found in $PATH",
    ]) {
        127
    } else if has(&["permission denied", "exec format error", "is a directory"]) {
        126
    } else {
        125
    }
}

impl Runtime for OciRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let signal = signal.to_string();
        let mut arguments = vec!["kill"];
        if all {
            arguments.push("--all");
        }
        arguments.extend([id, signal.as_str()]);
        self.run(&arguments)
    }

    fn delete(&self, id: &str) -> Result<()> {
        self.run(&["delete", "--force", id])
    }

    fn status_of(&self, message: &str) -> u8 {
        status_of(message)
    }

    fn exec(&self, id: &str, process: &Path, log: &Path, detach: bool) -> Command {
        let mut command = self.command();
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        command.arg("exec");
        if detach {
            command.arg("--detach");
        }
        command.arg("--process").arg(process).arg(id);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_from_words() {
        for (text, status) in [
            ("exec: \"x\": executable file not found in $PATH", 127),
            ("exec /x: permission denied", 126),
            ("mount proc: permission denied", 125),
            ("cannot make cgroup", 125),
        ] {
            assert_eq!(status_of(text), status, "{text}");
        }
    }

    #[test]
    fn missing_runtimes_are_told() {
        let e = OciRuntime::find("no-such-runtime", Path::new("/x")).unwrap_err();
        assert!(e.to_string().contains("no-such-runtime"));
        assert!(OciRuntime::find("/no/such/runtime", Path::new("/x")).is_err());
    }
}
