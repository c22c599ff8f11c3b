//! Connecting a container to a bridge, and freeing what it had.
//!
//! Where the time goes and why the messages are in this order: see the crate's
//! head.

use crate::bridge::{delete_link, find};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::netlink::Socket;
use crate::netlink::build::Batch;
use crate::netns;
use crate::network::{Network, Networks, check_interface};
use crate::route::{FORWARDING, LOOPBACK, Link, Pair, is_link};
use crate::subnet::Mac;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a container wants of its interface; what is none is chosen.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interface's name in the container.
    pub interface: String,
    /// Its address; the next free one when none.
    pub address: Option<Ipv4Addr>,
    /// Its hardware address; one made of the IPv4 address when none.
    pub mac: Option<Mac>,
}

impl Default for Options {
    /// `eth0`, all else chosen.
    fn default() -> Self {
        Self {
            interface: "eth0".to_owned(),
            address: None,
            mac: None,
        }
    }
}

/// What a container got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The interface's name in the container.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network's part of the address.
    pub prefix: u8,
    /// Where its default route leads.
    pub gateway: Ipv4Addr,
    /// Its hardware address.
    pub mac: Mac,
    /// The name of the other end, a port of the bridge on the host.
    pub host_interface: String,
}

impl Networks {
    /// Gives a container an interface in a network: lease, veth pair, address,
    /// default route; the loopback is switched on too. `netns` is the
    /// container's network namespace (`/proc/PID/ns/net`), the host is the
    /// calling thread's, and [`ensure`](Self::ensure) made the network ready.
    /// When it fails, nothing of it stays.
    pub fn attach(
        &self,
        netns: BorrowedFd<'_>,
        network: &Network,
        container: &str,
        options: &Options,
    ) -> Result<Attachment> {
        check_interface(&options.interface)?;
        let host_interface = random_name()?;
        let leases = self.leases(&network.name)?;
        let address = leases.allocate(network, container, &host_interface, options.address)?;
        drop(leases);
        let attachment = Attachment {
            network: network.name.clone(),
            interface: options.interface.clone(),
            address,
            prefix: network.subnet.prefix(),
            gateway: network.gateway,
            mac: options.mac.unwrap_or_else(|| Mac::of(address)),
            host_interface,
        };
        let connected = connect(netns, network, &attachment);
        if connected.is_err() {
            // The first error is the one to tell; a lease that cannot be freed
            // is found by `reconcile`.
            let _ = self.leases(&network.name).and_then(|it| it.free(address));
        }
        connected.map(|()| attachment)
    }

    /// Frees the addresses of a container whose network namespace is gone or
    /// going: the kernel deletes the interfaces by itself soon. Cheap: no request
    /// to the kernel. Says what was freed; nothing to free is well.
    pub fn release(&self, network: &str, container: &str) -> Result<Vec<Lease>> {
        self.free(network, |lease| lease.container == container)
    }

    /// [`release`](Self::release), and deletes the container's interface when
    /// it is still there. This waits for the kernel to let go of the interface
    /// (some milliseconds): for a namespace that stays.
    pub fn detach(&self, network: &str, container: &str) -> Result<()> {
        self.remove(network, |lease| lease.container == container)?;
        Ok(())
    }

    /// Frees the leases of containers that are gone, with their interfaces.
    /// `alive` is asked about each id while no lease can be made or freed; so a
    /// container must be known to it before it is attached. Says what was freed.
    pub fn reconcile(&self, network: &str, alive: impl Fn(&str) -> bool) -> Result<Vec<Lease>> {
        self.remove(network, |lease| {
            lease.container.is_empty() || !alive(&lease.container)
        })
    }

    /// First the interfaces, then their addresses, so that no address is given
    /// out that something still has. The lock is not held while the kernel takes
    /// its time; a lease is freed only if it is still the one that was seen.
    fn remove(&self, network: &str, which: impl Fn(&Lease) -> bool) -> Result<Vec<Lease>> {
        let mut seen = match self.leases(network) {
            Err(Error::UnknownNetwork(_)) => return Ok(Vec::new()),
            other => other?.all()?,
        };
        seen.retain(which);
        if seen.is_empty() {
            return Ok(seen);
        }
        let mut route = Socket::route()?;
        for lease in seen.iter().filter(|it| !it.host_interface.is_empty()) {
            delete_link(&mut route, &lease.host_interface)?;
        }
        self.free(network, |lease| seen.contains(lease))
    }

    /// The leases of a network, by address.
    pub fn leased(&self, network: &str) -> Result<Vec<Lease>> {
        self.leases(network)?.all()
    }

    fn free(&self, network: &str, which: impl Fn(&Lease) -> bool) -> Result<Vec<Lease>> {
        let leases = match self.leases(network) {
            Err(Error::UnknownNetwork(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let mut freed = Vec::new();
        for lease in leases.all()? {
            if which(&lease) {
                leases.free(lease.address)?;
                freed.push(lease);
            }
        }
        Ok(freed)
    }
}

/// Makes the pair and sets the container's end up; deletes it when a later step
/// fails.
fn connect(netns: BorrowedFd<'_>, network: &Network, attachment: &Attachment) -> Result<()> {
    let mut host = Socket::route()?;
    let mut inside = netns::route_socket(netns)?;
    let bridge = find(&mut host, network)?;
    let mut batch = Batch::default();
    batch.add_pair(&Pair {
        name: &attachment.host_interface,
        bridge: bridge.index,
        mtu: network.mtu,
        netns: netns.as_raw_fd(),
        peer: &attachment.interface,
        mac: attachment.mac,
    });
    // One message, so when it fails there is nothing to delete; and with
    // EEXIST the interface of this name would be somebody else's.
    host.run("make the interfaces of a container", batch)?;
    let done = configure(&mut inside, network, attachment)
        .and_then(|()| settle(&mut host, network, attachment));
    if done.is_err() {
        let _ = delete_link(&mut host, &attachment.host_interface);
    }
    done
}

/// Sets up the container's end.
fn configure(inside: &mut Socket, network: &Network, attachment: &Attachment) -> Result<()> {
    let what = "set up the interface of a container";
    let mut batch = Batch::default();
    batch
        .up(LOOPBACK)
        .up_named(&attachment.interface)
        .get_link(&attachment.interface);
    let mut index = None;
    let outcome = inside.call(what, batch, |_, message| {
        if is_link(message.kind) {
            index = Some(Link::parse(message.payload)?.index);
        }
        Ok(())
    })?;
    let failed = outcome.into_iter().flatten().next();
    let index = match (failed, index) {
        (None, Some(index)) => index,
        (failed, _) => {
            let source = failed.unwrap_or(Errno::NODEV);
            return Err(Error::Netlink { what, source });
        }
    };
    let mut batch = Batch::default();
    batch
        .add_address(index, attachment.address, &network.subnet)
        .add_default_route(index, attachment.gateway);
    inside.run(what, batch)
}

/// Waits until packets pass between the container and the bridge.
///
/// When a cable gets a carrier, the kernel makes the interfaces usable in a
/// worker of its own (net/core/link_watch.c), some time after. Until then the
/// bridge drops what comes from the port and what goes to it, and whoever sent
/// it waits a second before the second try. Since Linux 6.8 a look at an
/// interface does the worker's job at once (`linkwatch_sync_dev` in
/// `rtnl_getlink`), so the first look finds all in order. Older kernels are
/// asked again for a while; then the container has to do with what it gets.
fn settle(host: &mut Socket, network: &Network, attachment: &Attachment) -> Result<()> {
    for _ in 0..200 {
        let mut batch = Batch::default();
        // The port first: a bridge with its first port has a carrier by it.
        batch
            .get_link(&attachment.host_interface)
            .get_link(&network.bridge);
        let mut ready = 0;
        host.call(
            "look at the interfaces of a container",
            batch,
            |_, message| {
                let link = Link::parse(message.payload)?;
                let forwards = link.port_state.is_none_or(|state| state == FORWARDING);
                ready += u32::from(link.running && forwards);
                Ok(())
            },
        )?;
        if ready == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// `veth` and eight random hexadecimal digits. Random, not made of the id: the
/// interface of a container that just ended may still be there when it starts
/// again.
fn random_name() -> Result<String> {
    let mut bytes = [0; 4];
    let failed = |source| Error::Netlink {
        what: "read random bytes",
        source,
    };
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(failed)?;
    Ok(format!("veth{:08x}", u32::from_ne_bytes(bytes)))
}
