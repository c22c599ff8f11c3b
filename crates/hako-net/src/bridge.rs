//! Bringing a network's bridge up and taking it down.

use crate::choose::{Ground, lock_namespace};
use crate::error::{Error, Result};
use crate::firewall;
use crate::netlink::Socket;
use crate::netlink::build::Batch;
use crate::network::{Definition, Network, Networks};
use crate::route::{Destination, Link, is_link, link};
use crate::subnet::Mac;
use rustix::io::Errno;
use std::fmt;

/// Something about the host that its owner wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The kernel did not forward IPv4 packets; now it does, for all
    /// interfaces of the host.
    ForwardingEnabled,
    /// Another table drops what containers send and receive.
    ForwardDropped {
        /// Family, table and chain as nft(8) names them.
        chain: String,
        /// The bridge for which an exception is needed.
        bridge: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForwardingEnabled => write!(
                f,
                "switched on net.ipv4.ip_forward, which containers need to reach other machines"
            ),
            Self::ForwardDropped { chain, bridge } => write!(
                f,
                "the firewall chain \"{chain}\" drops forwarded packets, so containers may not reach \
                 other machines; let {bridge} pass, with Docker by \"iptables -I DOCKER-USER -i {bridge} \
                 -j ACCEPT\" and \"iptables -I DOCKER-USER -o {bridge} -m conntrack --ctstate \
                 ESTABLISHED,RELATED -j ACCEPT\", with ufw by \"ufw route allow in on {bridge}\""
            ),
        }
    }
}

/// A network that is ready for containers.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The network as recorded.
    pub network: Network,
    /// What was changed or found on the host; empty when all was there.
    pub notices: Vec<Notice>,
}

impl Networks {
    /// Makes sure that a network is recorded and that the host has its bridge,
    /// address, translation rules and forwarding. Any number of processes may
    /// do it at once. All there: four reads. A network that is recorded stays as
    /// it is, whatever else `wanted` says.
    ///
    /// The network is that of the calling thread's network namespace.
    pub fn ensure(&self, wanted: &Definition) -> Result<Ready> {
        let mut route = Socket::route()?;
        if let Some(network) = self.get(&wanted.name)?
            && is_ready(&mut route, &network)?
        {
            return Ok(Ready {
                network,
                notices: Vec::new(),
            });
        }
        let _lock = self.lock()?;
        if let Some(network) = self.get(&wanted.name)? {
            let notices = self.make(&mut route, &network)?;
            return Ok(Ready { network, notices });
        }
        let _namespace = lock_namespace();
        let alias = self.alias(&wanted.name)?;
        let network = Ground::read(&mut route)?.choose(wanted, &alias)?;
        let notices = self.make(&mut route, &network)?;
        self.record(&network)?;
        Ok(Ready { network, notices })
    }

    /// Makes what is missing of a network.
    fn make(&self, route: &mut Socket, network: &Network) -> Result<Vec<Notice>> {
        let alias = self.alias(&network.name)?;
        let mac = Mac::of(network.gateway);
        let mut batch = Batch::default();
        batch.add_bridge(&network.bridge, &alias, mac, network.mtu);
        match route.run("make the bridge of a network", batch) {
            Err(Error::Netlink {
                source: Errno::EXIST,
                ..
            }) => {}
            other => other?,
        }
        let bridge = find(route, network)?;
        let mut batch = Batch::default();
        batch
            .add_address(bridge.index, network.gateway, &network.subnet)
            .up(bridge.index);
        route.run("set up the bridge of a network", batch)?;

        let mut netfilter = Socket::netfilter()?;
        firewall::make(&mut netfilter, &network.bridge, &network.subnet)?;
        let mut notices = Vec::new();
        if firewall::forward()? {
            notices.push(Notice::ForwardingEnabled);
        }
        notices.extend(obstacles(&mut netfilter, &network.bridge)?);
        Ok(notices)
    }

    /// What on the host is in the way of a recorded network now, for
    /// `hako system check`.
    pub fn check(&self, name: &str) -> Result<Vec<Notice>> {
        let network = self.get(name)?;
        let network = network.ok_or_else(|| Error::UnknownNetwork(name.to_owned()))?;
        obstacles(&mut Socket::netfilter()?, &network.bridge)
    }

    /// Removes a network with all that it has on the host: rules, bridge,
    /// leases, record. What fails is told at the end, the rest is done. A network
    /// that is not recorded is well. The kernel's forwarding stays on: others may
    /// have come to need it.
    ///
    /// Containers that are attached lose their network.
    pub fn teardown(&self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        self.raze(name)
    }

    /// [`teardown`](Self::teardown) of a network that no container has a lease
    /// in; `false` when one has, or when there is no such network. Who attaches a
    /// container meanwhile gets its lease before, or
    /// [`Error::UnknownNetwork`] after.
    pub fn teardown_unused(&self, name: &str) -> Result<bool> {
        let _lock = self.lock()?;
        let leases = match self.leases(name) {
            Err(Error::UnknownNetwork(_)) => return Ok(false),
            other => other?,
        };
        if self.get(name)?.is_none() || !leases.all()?.is_empty() {
            return Ok(false);
        }
        self.raze(name).map(|()| true)
    }

    /// [`teardown`](Self::teardown) with the lock held.
    fn raze(&self, name: &str) -> Result<()> {
        let directory = self.directory(name)?;
        let Some(network) = self.get(name)? else {
            // Leases without a record: a kill in the middle of a removal.
            return remove_directory(&directory);
        };
        let mut failures = Vec::new();
        let mut note = |result: Result<()>| failures.extend(result.err());
        note(Socket::netfilter().and_then(|mut nft| firewall::remove(&mut nft, &network.bridge)));
        note(Socket::route().and_then(|mut route| {
            if link(&mut route, &network.bridge)?.is_some_and(|link| link.kind == "bridge") {
                delete_link(&mut route, &network.bridge)?;
            }
            Ok(())
        }));
        if failures.is_empty() {
            failures.extend(remove_directory(&directory).err());
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::Incomplete {
            network: name.to_owned(),
            failures,
        })
    }
}

fn obstacles(netfilter: &mut Socket, bridge: &str) -> Result<Vec<Notice>> {
    let chains = firewall::dropping_chains(netfilter)?;
    Ok(chains
        .into_iter()
        .map(|chain| Notice::ForwardDropped {
            chain: format!("{} {} {}", chain.family, chain.table, chain.name),
            bridge: bridge.to_owned(),
        })
        .collect())
}

fn remove_directory(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(crate::lease::file("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Deletes an interface; none to delete is well.
pub(crate) fn delete_link(route: &mut Socket, name: &str) -> Result<()> {
    let mut batch = Batch::default();
    batch.delete_link(name);
    match route.run("delete a network interface", batch) {
        Err(Error::Netlink {
            source: Errno::NODEV,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// The bridge of a network.
pub(crate) fn find(route: &mut Socket, network: &Network) -> Result<Link> {
    let found = link(route, &network.bridge)?.ok_or_else(|| Error::NoBridge {
        network: network.name.clone(),
        bridge: network.bridge.clone(),
    })?;
    if found.kind == "bridge" {
        Ok(found)
    } else {
        Err(Error::NotABridge(found.name))
    }
}

/// Whether all that `make` would make is there: two reads of the route family
/// in one send, one of nftables, one of a sysctl.
fn is_ready(route: &mut Socket, network: &Network) -> Result<bool> {
    let mut batch = Batch::default();
    batch.get_link(&network.bridge).get_route(network.gateway);
    let mut bridge = Link::default();
    let mut address = None;
    let outcome = route.call("look up the bridge of a network", batch, |_, message| {
        if is_link(message.kind) {
            bridge = Link::parse(message.payload)?;
        } else {
            address = Destination::parse_route(message.payload)?;
        }
        Ok(())
    })?;
    let local = address.is_some_and(|it| {
        it.local && it.link == bridge.index && it.subnet.network() == network.gateway
    });
    let up = outcome.iter().all(Option::is_none) && bridge.kind == "bridge" && bridge.up && local;
    Ok(up
        && firewall::forwards()
        && firewall::is_ready(&mut Socket::netfilter()?, &network.bridge, &network.subnet)?)
}
