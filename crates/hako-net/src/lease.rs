//! Which container has which address.
//!
//! A lease is a file in the network's directory, named as the address; its
//! lines are the container's id and the name of its interface on the host. It
//! is made with `O_EXCL` while the directory is locked (flock(2): the lock dies
//! with its holder), so an address has one owner whoever dies when. A file that
//! a killed process left half-written names no container and is free.
//!
//! The file `last` remembers the newest address and the search goes on from
//! there, so an address rests for a while before its next container.

use crate::error::{Error, Result};
use crate::network::Network;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Remembers the newest address.
const LAST: &str = "last";

/// No file of this crate's state is longer.
const LIMIT: usize = 4096;

/// An address and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The container's id; empty when the file is not whole.
    pub container: String,
    /// The name of the container's interface on the host; empty when the file
    /// is not whole.
    pub host_interface: String,
}

/// A network's directory, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Leases {
    dir: OwnedFd,
    path: PathBuf,
}

impl Leases {
    /// Locks the directory `path`; none when it does not exist, or no longer does
    /// once the lock is had.
    pub(crate) fn lock(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|source| file("open", path, source))?,
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockExclusive))
            .map_err(|source| file("lock", path, source))?;
        let stat = rustix::fs::fstat(&dir).map_err(|source| file("stat", path, source))?;
        // Removed with its network while we waited.
        if stat.st_nlink == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            dir,
            path: path.to_owned(),
        }))
    }

    /// Leases an address to a container: the one that was asked for, or the
    /// next free one.
    pub(crate) fn allocate(
        &self,
        network: &Network,
        container: &str,
        host_interface: &str,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr> {
        if container.is_empty() || container.len() > 256 || container.contains(['\n', '\0']) {
            return Err(Error::InvalidId(container.to_owned()));
        }
        let subnet = network.subnet;
        if let Some(address) = wanted {
            if !subnet.is_station(address) || address == network.gateway {
                return Err(Error::AddressUnusable {
                    address,
                    network: network.name.clone(),
                    subnet,
                });
            }
            if !self.create(address, container, host_interface)? {
                return Err(Error::AddressTaken {
                    address,
                    network: network.name.clone(),
                    owner: self
                        .read(address)?
                        .map(|lease| lease.container)
                        .unwrap_or_default(),
                });
            }
            return Ok(address);
        }
        let first = subnet.first();
        let last: Option<Ipv4Addr> = self
            .contents(LAST)?
            .and_then(|text| text.trim().parse().ok());
        let start = last
            .filter(|last| subnet.is_station(*last))
            .unwrap_or(first);
        let mut address = start;
        loop {
            address = Ipv4Addr::from_bits(address.to_bits().wrapping_add(1));
            if !subnet.is_station(address) {
                address = first;
            }
            if address != network.gateway && self.create(address, container, host_interface)? {
                self.write(LAST, OFlags::TRUNC, address.to_string().as_bytes())?;
                return Ok(address);
            }
            if address == start {
                return Err(Error::Exhausted {
                    network: network.name.clone(),
                    subnet,
                });
            }
        }
    }

    /// Makes the file of a lease; false when there is one.
    fn create(&self, address: Ipv4Addr, container: &str, host_interface: &str) -> Result<bool> {
        let name = address.to_string();
        let text = format!("{container}\n{host_interface}\n");
        match self.write(&name, OFlags::EXCL, text.as_bytes()) {
            Ok(()) => Ok(true),
            Err(Error::File {
                source: Errno::EXIST,
                ..
            }) => Ok(false),
            Err(error) => {
                // Not enough room, say: leave no lease that nobody has.
                let _ = rustix::fs::unlinkat(&self.dir, &name, AtFlags::empty());
                Err(error)
            }
        }
    }

    fn write(&self, name: &str, how: OFlags, bytes: &[u8]) -> Result<()> {
        let failed = |source| file("write", &self.path.join(name), source);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | how;
        let fd = rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))
            .map_err(failed)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::write(&fd, rest)).map_err(failed)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// A file's text, none when there is no such file.
    fn contents(&self, name: &str) -> Result<Option<String>> {
        let failed = |source| file("read", &self.path.join(name), source);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut buffer = [0; LIMIT];
        let length =
            rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer)).map_err(failed)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn read(&self, address: Ipv4Addr) -> Result<Option<Lease>> {
        let text = self.contents(&address.to_string())?;
        Ok(text.map(|text| parse(address, &text)))
    }

    /// All leases, in the order of their addresses.
    pub(crate) fn all(&self) -> Result<Vec<Lease>> {
        let failed = |source| file("list", &self.path, source);
        let mut leases = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str();
            let address = name.ok().and_then(|name| name.parse().ok());
            if let Some(address) = address {
                leases.extend(self.read(address)?);
            }
        }
        leases.sort_by_key(|lease| lease.address);
        Ok(leases)
    }

    /// Frees an address; one that is free already is well.
    pub(crate) fn free(&self, address: Ipv4Addr) -> Result<()> {
        let name = address.to_string();
        match rustix::fs::unlinkat(&self.dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(file("remove", &self.path.join(name), source)),
        }
    }
}

/// Reads a lease's text. One without its last line end was not written whole.
fn parse(address: Ipv4Addr, text: &str) -> Lease {
    let mut lines = text.strip_suffix('\n').unwrap_or_default().split('\n');
    let container = lines.next().unwrap_or_default();
    let interface = lines.next().unwrap_or_default();
    let whole = !interface.is_empty() && lines.next().is_none();
    Lease {
        address,
        container: if whole {
            container.to_owned()
        } else {
            String::new()
        },
        host_interface: if whole {
            interface.to_owned()
        } else {
            String::new()
        },
    }
}

/// An error on a file of the state.
pub(crate) fn file(what: &'static str, path: &Path, source: Errno) -> Error {
    Error::File {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str) -> Network {
        Network {
            name: "n".into(),
            bridge: "hako0".into(),
            subnet: subnet.parse().unwrap(),
            gateway: subnet.parse::<crate::Subnet>().unwrap().first(),
            mtu: None,
        }
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, 0, last)
    }

    #[test]
    fn addresses_rest_before_they_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::lock(dir.path()).unwrap().unwrap();
        let network = network("10.89.0.0/29");
        let next = || leases.allocate(&network, "c", "veth0", None);
        // .1 is the bridge's, .7 reaches all: .2 to .6 are there.
        for last in 2..=6 {
            assert_eq!(next().unwrap(), ip(last));
        }
        assert!(matches!(next(), Err(Error::Exhausted { .. })));
        leases.free(ip(5)).unwrap();
        leases.free(ip(3)).unwrap();
        assert_eq!(next().unwrap(), ip(3));
        leases.free(ip(3)).unwrap();
        assert_eq!(next().unwrap(), ip(5), "3 was used last");
        assert_eq!(next().unwrap(), ip(3));
    }

    #[test]
    fn an_address_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::lock(dir.path()).unwrap().unwrap();
        let network = network("10.89.0.0/24");
        let ask = |last| leases.allocate(&network, "one", "veth0", Some(ip(last)));
        assert_eq!(ask(9).unwrap(), ip(9));
        let taken = ask(9).unwrap_err().to_string();
        assert_eq!(
            taken,
            "address 10.89.0.9 of network n is taken by container one"
        );
        for unusable in [0, 1, 255] {
            assert!(
                matches!(ask(unusable), Err(Error::AddressUnusable { .. })),
                "{unusable}"
            );
        }
        let outside = leases.allocate(&network, "one", "veth0", Some(Ipv4Addr::LOCALHOST));
        assert!(matches!(outside, Err(Error::AddressUnusable { .. })));
        assert_eq!(
            leases.allocate(&network, "two", "veth1", None).unwrap(),
            ip(2)
        );
        let all = leases.all().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].container.as_str(), all[0].host_interface.as_str()),
            ("two", "veth1")
        );
    }

    #[test]
    fn rubbish_in_the_directory_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("last", "10.89.0.300"),
            ("network.json", "{}"),
            ("10.89.0.2", "half"),
            ("10.89.0.3", ""),
            ("10.89.0.4", "a\nb\nc\n"),
            ("10.89.0.5", "id\nveth1"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let leases = Leases::lock(dir.path()).unwrap().unwrap();
        let all = leases.all().unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|lease| lease.container.is_empty()));
        let network = network("10.89.0.0/24");
        assert_eq!(leases.allocate(&network, "c", "v", None).unwrap(), ip(6));
        for id in ["", "a\nb", "a\0"] {
            let refused = leases.allocate(&network, id, "v", None);
            assert!(matches!(refused, Err(Error::InvalidId(_))), "{id:?}");
        }
        assert!(Leases::lock(Path::new("/nonexistent/n")).unwrap().is_none());
    }
}
