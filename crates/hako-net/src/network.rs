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
use crate::netlink::Socket;
use crate::route::{Destination, Link};
use crate::subnet::Subnet;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// Locks the calling thread's network namespace, so that two directories do not
/// choose the same subnet at once. Any process of the namespace may take this
/// lock; so it is waited for two seconds at most, and does not protect the
/// record, only spares an unlucky choice.
pub(crate) fn lock_namespace() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty()).ok()?;
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(fd),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return None,
        }
    }
}

/// What the host has: the ground on which a network is chosen.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<(Destination, Ipv4Addr)>,
    pub(crate) routes: Vec<Destination>,
}

/// More bridges than this are not looked for.
const BRIDGES: u32 = 1024;

impl Ground {
    /// Looks at the socket's namespace.
    pub(crate) fn read(socket: &mut Socket) -> Result<Self> {
        Ok(Self {
            links: crate::route::links(socket)?,
            addresses: crate::route::addresses(socket)?,
            routes: crate::route::routes(socket)?,
        })
    }

    /// Chooses what `wanted` leaves open. A bridge with our alias is taken up
    /// with its address.
    pub(crate) fn choose(&self, wanted: &Definition, alias: &str) -> Result<Network> {
        check_name(&wanted.name)?;
        let ours = |link: &&Link| {
            let same = wanted.bridge.as_ref().is_none_or(|name| *name == link.name);
            same && link.kind == "bridge" && link.alias == alias
        };
        let ours = self.links.iter().find(ours);
        let bridge = match (ours, &wanted.bridge) {
            (Some(link), _) => link.name.clone(),
            (None, Some(name)) => name.clone(),
            (None, None) => (0..BRIDGES)
                .map(|n| format!("hako{n}"))
                .find(|name| self.links.iter().all(|link| link.name != *name))
                .ok_or(Error::NoFreeBridge(BRIDGES - 1))?,
        };
        check_interface(&bridge)?;
        let own = ours.map(|link| link.index);
        let kept = self
            .addresses
            .iter()
            .find(|(destination, _)| Some(destination.link) == own);
        let (subnet, gateway) = match (wanted.subnet, kept) {
            (Some(subnet), _) => (self.free(subnet, own)?, None),
            (None, Some((destination, address))) => (destination.subnet, Some(*address)),
            (None, None) => (self.any_free(own)?, None),
        };
        let gateway = wanted.gateway.or(gateway).unwrap_or(subnet.first());
        if !subnet.is_station(gateway) {
            return Err(Error::AddressUnusable {
                address: gateway,
                network: wanted.name.clone(),
                subnet,
            });
        }
        Ok(Network {
            name: wanted.name.clone(),
            bridge,
            subnet,
            gateway,
            mtu: wanted.mtu.or_else(|| self.mtu()),
        })
    }

    /// What the host reaches beside the default route and our own bridge.
    fn taken(&self, own: Option<u32>) -> impl Iterator<Item = Subnet> + '_ {
        let addresses = self.addresses.iter().map(|(destination, _)| destination);
        addresses
            .chain(&self.routes)
            .filter(move |it| it.subnet.prefix() > 0 && own.is_none_or(|own| it.link != own))
            .map(|it| it.subnet)
    }

    fn free(&self, wanted: Subnet, own: Option<u32>) -> Result<Subnet> {
        match self.taken(own).find(|taken| taken.overlaps(&wanted)) {
            Some(taken) => Err(Error::SubnetTaken { wanted, taken }),
            None => Ok(wanted),
        }
    }

    fn any_free(&self, own: Option<u32>) -> Result<Subnet> {
        let tens = (0..=255).map(|n| [10, 89, n, 0]);
        let class_b = (20..=23).flat_map(|m| (0..=255).map(move |n| [172, m, n, 0]));
        let class_c = (0..=255).map(|n| [192, 168, n, 0]);
        tens.chain(class_b)
            .chain(class_c)
            .filter_map(|octets| Subnet::new(octets.into(), 24))
            .find(|subnet| self.free(*subnet, own).is_ok())
            .ok_or(Error::NoFreeSubnet(
                "10.89.0.0/16, 172.20.0.0/14 and 192.168.0.0/16",
            ))
    }

    /// The packet size of the interface that the default route leaves by.
    fn mtu(&self) -> Option<u32> {
        let default = self
            .routes
            .iter()
            .find(|route| route.subnet.prefix() == 0)?;
        let link = self.links.iter().find(|link| link.index == default.link)?;
        // 68 is IPv4's least, 65535 its most (RFC 791).
        link.mtu.filter(|mtu| (68..=65535).contains(mtu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(subnet: &str, prefix: u8, link: u32) -> Destination {
        Destination {
            subnet: Subnet::new(subnet.parse().unwrap(), prefix).unwrap(),
            link,
            local: false,
        }
    }

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            mtu: Some(1400),
            ..Link::default()
        }
    }

    #[test]
    fn the_first_subnet_that_nobody_uses() {
        let mut ground = Ground {
            links: vec![link(2, "eth0"), link(3, "hako0")],
            addresses: vec![],
            routes: vec![
                destination("0.0.0.0", 0, 2),
                destination("10.89.0.0", 24, 3),
                destination("10.89.1.128", 25, 2),
            ],
        };
        let network = ground.choose(&Definition::new("n"), "alias").unwrap();
        assert_eq!(network.subnet.to_string(), "10.89.2.0/24");
        assert_eq!(network.gateway, Ipv4Addr::new(10, 89, 2, 1));
        assert_eq!(network.bridge, "hako1");
        assert_eq!(network.mtu, Some(1400));
        // A route for the whole of 10/8 sends us elsewhere.
        ground.routes.push(destination("10.0.0.0", 8, 2));
        let network = ground.choose(&Definition::new("n"), "alias").unwrap();
        assert_eq!(network.subnet.to_string(), "172.20.0.0/24");
        ground.routes.push(destination("172.16.0.0", 12, 2));
        ground.routes.push(destination("192.168.0.0", 16, 2));
        let none = ground.choose(&Definition::new("n"), "alias");
        assert!(matches!(none, Err(Error::NoFreeSubnet(_))));
    }

    #[test]
    fn what_is_asked_for_is_given_or_refused() {
        let ground = Ground {
            links: vec![link(2, "eth0")],
            routes: vec![destination("192.0.2.0", 24, 2)],
            ..Ground::default()
        };
        let wanted = Definition {
            name: "n".into(),
            bridge: Some("br7".into()),
            subnet: Some("172.30.0.0/16".parse().unwrap()),
            gateway: Some(Ipv4Addr::new(172, 30, 9, 9)),
            mtu: Some(9000),
        };
        let network = ground.choose(&wanted, "alias").unwrap();
        assert_eq!(network.bridge, "br7");
        assert_eq!(network.gateway, Ipv4Addr::new(172, 30, 9, 9));
        assert_eq!(network.mtu, Some(9000));
        let taken = Definition {
            subnet: Some("192.0.0.0/16".parse().unwrap()),
            ..Definition::new("n")
        };
        let refused = ground.choose(&taken, "alias").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "subnet 192.0.0.0/16 overlaps with 192.0.2.0/24, which the host uses"
        );
        let outside = Definition {
            gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ..wanted
        };
        assert!(matches!(
            ground.choose(&outside, "alias"),
            Err(Error::AddressUnusable { .. })
        ));
    }

    #[test]
    fn a_bridge_that_was_not_recorded_is_taken_up() {
        let bridge = Link {
            kind: "bridge".into(),
            alias: "alias".into(),
            ..link(7, "hako3")
        };
        let address = Ipv4Addr::new(10, 89, 4, 1);
        let ground = Ground {
            links: vec![bridge],
            addresses: vec![(destination("10.89.4.0", 24, 7), address)],
            routes: vec![destination("10.89.4.0", 24, 7)],
        };
        let network = ground.choose(&Definition::new("n"), "alias").unwrap();
        assert_eq!(
            (network.bridge.as_str(), network.gateway),
            ("hako3", address)
        );
        let other = ground.choose(&Definition::new("n"), "another").unwrap();
        assert_eq!(other.bridge, "hako0");
        assert_eq!(other.subnet.to_string(), "10.89.0.0/24");
    }

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
