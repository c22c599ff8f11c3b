//! Debian's docker-registry on loopback, filled with the images.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::daemon::Daemon;
use super::image::Image;
use crate::command::output;

/// A running registry.
#[derive(Debug)]
pub(super) struct Registry {
    daemon: Daemon,
    /// Address and port.
    pub(super) host: SocketAddr,
}

impl Registry {
    /// With its storage below `dir`, on a port that was free a moment ago.
    pub(super) fn start(dir: &Path) -> Result<Registry> {
        let host = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = dir.join("registry.yml");
        let storage = dir.join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {host}\n",
            storage.display()
        );
        fs::write(&config, text).with_context(|| config.display().to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let answers = || TcpStream::connect_timeout(&host, Duration::from_secs(1)).is_ok();
        let daemon = Daemon::start(&command, &dir.join("registry.log"), answers)?;
        Ok(Registry { daemon, host })
    }

    /// What pullers call the image.
    pub(super) fn reference(&self, image: &Image) -> String {
        format!("{}/{}:latest", self.host, image.name)
    }

    /// Pushes the image as it is; what the registry has is not sent again.
    pub(super) fn push(&self, image: &Image) -> Result<()> {
        let mut skopeo = Command::new("skopeo");
        skopeo
            .args([
                "copy",
                "--quiet",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:latest", image.layout.display()))
            .arg(format!("docker://{}", self.reference(image)));
        output(&mut skopeo).map(drop)
    }

    /// Seconds on processors so far.
    pub(super) fn cpu(&self) -> Result<f64> {
        self.daemon.cpu()
    }
}

/// Reads all files below `dir`, so that the page cache has them.
pub(super) fn warm(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => warm(&entry.path())?,
            false => {
                std::io::copy(&mut File::open(entry.path())?, &mut std::io::sink())?;
            }
        }
    }
    Ok(())
}
