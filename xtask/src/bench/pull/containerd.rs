//! containerd, a server: started anew for each pull, before the time starts,
//! with a store, a state and a socket of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::daemon::Daemon;
use super::tools::Tools;

/// Starts it with everything below `store`.
pub(super) fn start(tools: &Tools, store: &Path) -> Result<Daemon> {
    let path = |name: &str| store.join(name).display().to_string();
    let text = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {ttrpc:?}\n",
        root = path("root"),
        state = path("state"),
        socket = socket(store),
        ttrpc = path("ttrpc"),
    );
    let config = store.join("config.toml");
    fs::write(&config, text).with_context(|| config.display().to_string())?;
    let mut command = tools.command("containerd");
    command.arg("--config").arg(&config);
    let answers = || {
        let mut version = ctr(tools, store);
        version.arg("version").stdin(Stdio::null());
        version.stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    Daemon::start(&command, &store.join("log"), answers)
}

/// Pulls and unpacks into overlayfs snapshots.
pub(super) fn pull(tools: &Tools, store: &Path, reference: &str) -> Command {
    let mut command = ctr(tools, store);
    command.args(["images", "pull", "--plain-http"]);
    command.args(["--snapshotter", "overlayfs", reference]);
    command
}

fn ctr(tools: &Tools, store: &Path) -> Command {
    let mut command = tools.command("ctr");
    command.arg("--address").arg(socket(store));
    command
}

fn socket(store: &Path) -> PathBuf {
    store.join("socket")
}
