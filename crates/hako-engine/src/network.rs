//! Connecting a container between its creation and its start.

use std::net::IpAddr;
use std::os::fd::AsFd;

use hako_net::{Definition, Options, pasta};

use crate::engine::Engine;
use crate::error::{At, Result};
use crate::options::NetworkMode;
use crate::record::{Phase, Record, State};

/// The network that containers are in unless told otherwise.
pub(crate) const DEFAULT: &str = "hako";

/// What became of the connection.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    /// On a bridge.
    pub(crate) attachment: Option<hako_net::Attachment>,
}

impl Connected {
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.attachment.as_ref().map(|a| IpAddr::V4(a.address))
    }
}

impl Engine {
    /// The network mode with the default decided: a bridge for root; for
    /// everybody else pasta, and no network where pasta cannot work
    /// ([`Engine::why_no_network`]).
    ///
    /// Errors: what is asked for by name and cannot be had.
    pub(crate) fn decide(&self, mode: &NetworkMode) -> Result<NetworkMode> {
        match mode {
            NetworkMode::Default if !self.places.rootless => Ok(NetworkMode::Bridge),
            NetworkMode::Default => Ok(match pasta::find_useful() {
                Ok(_) => NetworkMode::Pasta,
                Err(_) => NetworkMode::None,
            }),
            NetworkMode::Bridge if self.places.rootless => Err(crate::Error::Unsupported(
                "a bridge network needs root: use --network pasta, host or none".to_owned(),
            )),
            NetworkMode::Pasta => {
                pasta::find()?;
                Ok(NetworkMode::Pasta)
            }
            other => Ok(other.clone()),
        }
    }

    /// Why a container that asks for no network in particular gets none here,
    /// and what to do about it, in one line; `None` when it gets one.
    #[must_use]
    pub fn why_no_network(&self, mode: &NetworkMode) -> Option<String> {
        match (mode, self.places.rootless) {
            (NetworkMode::Default, true) => {
                let error = pasta::find_useful().err()?;
                Some(crate::error::chain(&error))
            }
            _ => None,
        }
    }

    /// Connects the container whose first process is `pid`.
    pub(crate) fn connect(
        &self,
        record: &Record,
        mode: &NetworkMode,
        pid: i32,
    ) -> Result<Connected> {
        match mode {
            NetworkMode::Bridge | NetworkMode::Default => {
                let networks = self.networks()?;
                let path = format!("/proc/{pid}/ns/net");
                let netns = std::fs::File::open(&path).at("open", &path)?;
                let attach = || {
                    let ready = networks.ensure(&Definition::new(DEFAULT))?;
                    let options = Options::default();
                    networks.attach(netns.as_fd(), &ready.network, &record.id, &options)
                };
                let attachment = match attach() {
                    // Pruned in this moment.
                    Err(hako_net::Error::NoBridge { .. } | hako_net::Error::UnknownNetwork(_)) => {
                        attach()?
                    }
                    other => other?,
                };
                Ok(Connected {
                    attachment: Some(attachment),
                })
            }
            NetworkMode::Pasta => {
                self.start_pasta(record, pid)?;
                Ok(Connected::default())
            }
            NetworkMode::None | NetworkMode::Host => Ok(Connected::default()),
        }
    }

    fn start_pasta(&self, record: &Record, pid: i32) -> Result<()> {
        let dir = self.run_dir(&record.id);
        let path = format!("/proc/{pid}/ns/net");
        let netns = std::fs::File::open(&path).at("open", &path)?;
        let pin = dir.join("netns");
        hako_net::netns::pin(netns.as_fd(), &pin)?;
        Ok(pasta::start(&pasta::Options {
            program: pasta::find()?,
            netns: pin,
            interface: "eth0".to_owned(),
            pid_file: dir.join("pasta.pid"),
        })?)
    }

    /// Frees what a container had whose process has ended.
    pub(crate) fn disconnect(&self, record: &Record, state: &State) -> Result<()> {
        let id = &record.id;
        let dir = self.run_dir(id);
        // The pin is there also when pasta did not start.
        pasta::stop(&dir.join("pasta.pid"))?;
        hako_net::netns::unpin(&dir.join("netns"))?;
        let network = match &state.network {
            Some(attachment) => &attachment.network,
            // Killed after the address was taken and before that was recorded.
            None if state.phase == Phase::Starting && self.is_bridged(record) => DEFAULT,
            None => return Ok(()),
        };
        self.networks()?.release(network, id)?;
        Ok(())
    }

    /// Removes the networks that no container is in, with their bridges and
    /// firewall rules; gives their names. The next container that needs one
    /// makes it again.
    ///
    /// Errors: those of the kernel and the records.
    pub fn prune_networks(&self) -> Result<Vec<String>> {
        let networks = self.networks()?;
        Ok(match networks.teardown_unused(DEFAULT)? {
            true => vec![DEFAULT.to_owned()],
            false => Vec::new(),
        })
    }

    fn is_bridged(&self, record: &Record) -> bool {
        let mode = &record.options.network;
        !self.places.rootless && matches!(mode, NetworkMode::Bridge | NetworkMode::Default)
    }
}
