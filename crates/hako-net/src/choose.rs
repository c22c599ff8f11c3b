//! Choosing what a new network leaves open: a bridge's name and a subnet that
//! nothing on the host uses.

use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::network::{Definition, Network, check_interface, check_name};
use crate::route::{Destination, Link};
use crate::subnet::Subnet;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

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
}
