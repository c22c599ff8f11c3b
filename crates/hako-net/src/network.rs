//! Networks and where they are recorded: what exists, under which bridge, with
//! which addresses.
//!
//! A network's definition is chosen once and recorded as
//! `<dir>/<name>/network.json`; whoever comes later uses it as it stands. The
//! choice is made under a lock on the directory, and, because several
//! directories (`--runroot`) can share one host, under a lock on the network
//! namespace too. A bridge carries its owner's directory as its alias: one that
//! a killed process made and did not record is found and taken up.

use crate::error::{Error, Result};
use crate::lease::{Leases, file};
use crate::subnet::Subnet;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A bridge network as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The name of its bridge, and of its nftables table.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's address, the containers' gateway.
    pub gateway: Ipv4Addr,
    /// Bytes of a packet at most; none: the kernel's default of 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What a network that is not recorded yet shall be; what is none is chosen.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// Its name: letters, digits, `_`, `.`, `-`.
    pub name: String,
    /// The bridge's name; the first of `hako0`, `hako1`, … that is free when
    /// none.
    pub bridge: Option<String>,
    /// Its addresses. When none: the first /24 of 10.89.0.0/16, then of
    /// 172.20.0.0/14 and 192.168.0.0/16, that overlaps with no address and no
    /// route of the host.
    pub subnet: Option<Subnet>,
    /// The bridge's address; the subnet's first when none.
    pub gateway: Option<Ipv4Addr>,
    /// Bytes of a packet at most; what the interface of the host's default
    /// route has when none.
    pub mtu: Option<u32>,
}

impl Definition {
    /// A network of this name, all else to be chosen.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// The networks whose state lies in one directory (`<runroot>/networks`).
#[derive(Debug)]
pub struct Networks {
    path: PathBuf,
    dir: OwnedFd,
}

impl Networks {
    /// Opens the directory, making it (mode 0700) when it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |what| {
            move |error: std::io::Error| {
                file(
                    what,
                    path,
                    Errno::from_io_error(&error).unwrap_or(Errno::IO),
                )
            }
        };
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make the directory"))?;
        let path = path.canonicalize().map_err(failed("resolve"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|source| file("open", &path, source))?;
        Ok(Self { path, dir })
    }

    /// The directory of one network.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }

    /// A recorded network, none when there is no such record.
    pub fn get(&self, name: &str) -> Result<Option<Network>> {
        let path = self.directory(name)?.join("network.json");
        match std::fs::read(&path) {
            Ok(bytes) => parse(&bytes)
                .map(Some)
                .map_err(|source| Error::Definition { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                Err(file("read", &path, source))
            }
        }
    }

    /// All recorded networks, by name.
    pub fn list(&self) -> Result<Vec<Network>> {
        let failed = |source| file("list", &self.path, source);
        let mut networks = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if check_name(name).is_ok() {
                networks.extend(self.get(name)?);
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// Locks the record of networks until the descriptor is dropped.
    pub(crate) fn lock(&self) -> Result<OwnedFd> {
        let failed = |source| file("lock", &self.path, source);
        // A new open file description: flock(2) belongs to it, so two threads
        // exclude each other as two processes do.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(failed)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive))
            .map_err(failed)?;
        Ok(fd)
    }

    /// Records a network: the file appears whole, by rename.
    pub(crate) fn record(&self, network: &Network) -> Result<()> {
        let directory = self.directory(&network.name)?;
        let path = directory.join("network.json");
        let failed = |error: std::io::Error| {
            file(
                "write",
                &path,
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )
        };
        let bytes = serde_json::to_vec(network).map_err(|source| Error::Definition {
            path: path.clone(),
            source,
        })?;
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let temporary = directory.join("network.json.new");
        std::fs::write(&temporary, bytes).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)
    }

    /// Locks the leases of a network.
    pub(crate) fn leases(&self, name: &str) -> Result<Leases> {
        let directory = self.directory(name)?;
        Leases::lock(&directory)?.ok_or_else(|| Error::UnknownNetwork(name.to_owned()))
    }

    /// What a bridge of ours has as its alias: the directory's identity, so that
    /// an equal path in another mount namespace is not taken for this one, and
    /// its path for those who wonder.
    pub(crate) fn alias(&self, name: &str) -> Result<String> {
        let stat =
            rustix::fs::fstat(&self.dir).map_err(|source| file("stat", &self.path, source))?;
        let mut alias = format!(
            "hako {name} {:x}:{:x} {}",
            stat.st_dev,
            stat.st_ino,
            self.path.display()
        );
        // IFALIASZ is 256; a name has at most 64 bytes.
        let mut end = alias.len().min(250);
        while !alias.is_char_boundary(end) {
            end -= 1;
        }
        alias.truncate(end);
        Ok(alias)
    }
}

/// Reads a record.
pub fn parse(bytes: &[u8]) -> Result<Network, serde_json::Error> {
    use serde::de::Error as _;
    let network: Network = serde_json::from_slice(bytes)?;
    check_interface(&network.bridge).map_err(serde_json::Error::custom)?;
    if !network.subnet.is_station(network.gateway) {
        return Err(serde_json::Error::custom(
            "the gateway is not in the subnet",
        ));
    }
    Ok(network)
}

/// Refuses what cannot be a network's name; it becomes a directory's.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let valid =
        (1..=64).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.');
    if valid {
        Ok(())
    } else {
        Err(Error::InvalidName(name.to_owned()))
    }
}

/// Refuses what the kernel would refuse as an interface's name
/// (`dev_valid_name` in net/core/dev.c), and what would be taken for a pattern
/// (`%`).
pub(crate) fn check_interface(name: &str) -> Result<()> {
    let bad = |b: u8| matches!(b, b'/' | b':' | b'%' | 0) || b.is_ascii_whitespace();
    let dots = name == "." || name == "..";
    if (1..=15).contains(&name.len()) && !dots && !name.bytes().any(bad) {
        Ok(())
    } else {
        Err(Error::InvalidInterface(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_do_harm() {
        for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "v%d",
            "a:b",
            "sixteen-bytes-is",
        ] {
            assert!(check_interface(name).is_err(), "{name}");
        }
        assert!(check_name("my_net-1.x").is_ok() && check_interface("br-1.100").is_ok());
        assert!(
            parse(br#"{"name":"n","bridge":"a/b","subnet":"10.0.0.0/24","gateway":"10.0.0.1"}"#)
                .is_err()
        );
        assert!(
            parse(br#"{"name":"n","bridge":"b","subnet":"10.0.0.0/24","gateway":"10.0.1.1"}"#)
                .is_err()
        );
        assert!(
            parse(br#"{"name":"n","bridge":"b","subnet":"10.0.0.0/24","gateway":"10.0.0.1"}"#)
                .is_ok()
        );
    }
}
