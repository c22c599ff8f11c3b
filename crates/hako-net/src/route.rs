//! Links, addresses and routes: the messages of rtnetlink(7) that hako sends,
//! and what it reads of the answers.

use crate::error::Result;
use crate::netlink::Socket;
use crate::netlink::build::{Batch, Body, flag};
use crate::netlink::parse::{Attribute, Malformed, fixed};
use crate::subnet::{Mac, Subnet};
use std::net::Ipv4Addr;

// include/uapi/linux/rtnetlink.h
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const FIB_MATCH: u32 = 0x2000;

// include/uapi/linux/if_link.h, if.h, veth.h, if_addr.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const UP: u32 = 1;
const RUNNING: u32 = 0x40;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const INET: u8 = 2;

/// `BR_STATE_FORWARDING`: the bridge passes a port's packets on.
pub(crate) const FORWARDING: u8 = 3;

/// The loopback's index in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// A network interface, as far as hako looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its description (`ip link set … alias`); empty when it has none.
    pub alias: String,
    /// `IFLA_INFO_KIND`: `bridge`, `veth`, …; empty for hardware.
    pub kind: String,
    /// Whether it was switched on.
    pub up: bool,
    /// Whether it can carry packets now.
    pub running: bool,
    /// As a bridge's port, what the bridge does with its packets
    /// (`BR_STATE_*`).
    pub port_state: Option<u8>,
    /// Bytes of a packet at most.
    pub mtu: Option<u32>,
    /// The number of the bridge that it is a port of.
    pub master: Option<u32>,
}

impl Link {
    /// Reads the payload of an `RTM_NEWLINK` message.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let (head, attributes) = fixed::<16>(payload)?;
        let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *head;
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        let mut link = Self {
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            up: flags & UP != 0,
            running: flags & RUNNING != 0,
            ..Self::default()
        };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                IFLA_IFNAME => link.name = attribute.text(),
                IFLA_IFALIAS => link.alias = attribute.text(),
                IFLA_MTU => link.mtu = attribute.u32(),
                IFLA_MASTER => link.master = attribute.u32(),
                IFLA_LINKINFO => {
                    for info in attribute.nested() {
                        let info = info?;
                        match info.kind {
                            IFLA_INFO_KIND => link.kind = info.text(),
                            IFLA_INFO_SLAVE_DATA => link.port_state = port_state(&info)?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(link)
    }
}

/// The state of a bridge's port, none for a port of something else.
fn port_state(data: &Attribute<'_>) -> Result<Option<u8>, Malformed> {
    for attribute in data.nested() {
        let attribute = attribute?;
        if let (IFLA_BRPORT_STATE, &[state]) = (attribute.kind, attribute.value) {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// An IPv4 destination that the host has an address in or a route to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Which addresses.
    pub subnet: Subnet,
    /// The interface's number; 0 when the route has several or none.
    pub link: u32,
    /// Whether the address is one of the host's own.
    pub local: bool,
}

impl Destination {
    /// Reads the payload of an `RTM_NEWADDR` message; none for another family.
    pub fn parse_address(payload: &[u8]) -> Result<Option<(Self, Ipv4Addr)>, Malformed> {
        let (head, attributes) = fixed::<8>(payload)?;
        let [family, prefix, _, _, i0, i1, i2, i3] = *head;
        let mut peer = None;
        let mut local = None;
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                IFA_ADDRESS => peer = attribute.ipv4(),
                IFA_LOCAL => local = attribute.ipv4(),
                _ => {}
            }
        }
        let (Some(address), INET) = (peer.or(local), family) else {
            return Ok(None);
        };
        let destination = Subnet::new(address, prefix).map(|subnet| Self {
            subnet,
            link: u32::from_ne_bytes([i0, i1, i2, i3]),
            local: true,
        });
        Ok(destination.map(|destination| (destination, local.unwrap_or(address))))
    }

    /// Reads the payload of an `RTM_NEWROUTE` message; none for another family.
    pub fn parse_route(payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let (head, attributes) = fixed::<12>(payload)?;
        let [family, prefix, _, _, _, _, _, kind, ..] = *head;
        let mut address = Ipv4Addr::UNSPECIFIED;
        let mut link = 0;
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                RTA_DST => address = attribute.ipv4().unwrap_or(address),
                RTA_OIF => link = attribute.u32().unwrap_or(0),
                _ => {}
            }
        }
        if family != INET {
            return Ok(None);
        }
        Ok(Subnet::new(address, prefix).map(|subnet| Self {
            subnet,
            link,
            local: kind == TYPE_LOCAL,
        }))
    }
}

/// `struct ifinfomsg`: an interface's number (0: named by an attribute) and
/// whether to switch it on.
fn link_header(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    let up = if up { UP } else { 0 };
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&up.to_ne_bytes());
    header[12..16].copy_from_slice(&up.to_ne_bytes());
    header
}

/// A veth pair: one end a port of a bridge here, the other in a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// Name of the end here.
    pub(crate) name: &'a str,
    /// Number of the bridge.
    pub(crate) bridge: u32,
    /// Bytes of a packet at most; the kernel's 1500 when none.
    pub(crate) mtu: Option<u32>,
    /// The container's network namespace, as a number of a descriptor of this
    /// process.
    pub(crate) netns: i32,
    /// Name of the end there.
    pub(crate) peer: &'a str,
    /// Hardware address of the end there.
    pub(crate) mac: Mac,
}

/// The requests that hako makes, added to a batch.
impl Batch {
    /// Makes a veth pair in one message; the end here is switched on.
    ///
    /// Fixing the number of queues at one spares two waits for an RCU grace
    /// period: without these attributes the driver makes a queue for each
    /// processor and shrinks both ends to one after they are registered
    /// (`veth_init_queues` in drivers/net/veth.c).
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> &mut Self {
        let flags = flag::ACK | flag::CREATE | flag::EXCL;
        self.message(NEWLINK, flags, &link_header(0, true), |link| {
            let common = |link: &mut Body<'_>, name: &str| {
                link.text(IFLA_IFNAME, name)
                    .u32(IFLA_NUM_TX_QUEUES, 1)
                    .u32(IFLA_NUM_RX_QUEUES, 1);
                if let Some(mtu) = pair.mtu {
                    link.u32(IFLA_MTU, mtu);
                }
            };
            common(link, pair.name);
            link.u32(IFLA_MASTER, pair.bridge);
            link.nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "veth")
                    .nest(IFLA_INFO_DATA, |data| {
                        data.nest(VETH_INFO_PEER, |peer| {
                            // Not up: the driver connects the ends last, and
                            // refuses (ENOTCONN) to open one without the other.
                            peer.raw(&link_header(0, false));
                            common(peer, pair.peer);
                            peer.put(IFLA_ADDRESS, &pair.mac.octets())
                                .put(IFLA_NET_NS_FD, &pair.netns.to_ne_bytes());
                        });
                    });
            });
        })
    }

    /// Makes a bridge; fails with `EEXIST` when the name is taken. Its hardware
    /// address is fixed, else it would change with its ports.
    pub(crate) fn add_bridge(
        &mut self,
        name: &str,
        alias: &str,
        mac: Mac,
        mtu: Option<u32>,
    ) -> &mut Self {
        let flags = flag::ACK | flag::CREATE | flag::EXCL;
        self.message(NEWLINK, flags, &link_header(0, false), |link| {
            link.text(IFLA_IFNAME, name)
                .put(IFLA_ADDRESS, &mac.octets());
            if let Some(mtu) = mtu {
                link.u32(IFLA_MTU, mtu);
            }
            link.nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "bridge");
            });
        });
        // The kernel takes an alias only for an interface that exists.
        self.message(NEWLINK, flag::ACK, &link_header(0, false), |link| {
            link.text(IFLA_IFNAME, name)
                .put(IFLA_IFALIAS, alias.as_bytes());
        })
    }

    /// Switches an interface on.
    pub(crate) fn up(&mut self, index: u32) -> &mut Self {
        self.message(NEWLINK, flag::ACK, &link_header(index, true), |_| {})
    }

    /// Switches an interface on by name.
    pub(crate) fn up_named(&mut self, name: &str) -> &mut Self {
        self.message(NEWLINK, flag::ACK, &link_header(0, true), |link| {
            link.text(IFLA_IFNAME, name);
        })
    }

    /// Asks for an interface by name.
    pub(crate) fn get_link(&mut self, name: &str) -> &mut Self {
        self.message(GETLINK, flag::ACK, &link_header(0, false), |link| {
            link.text(IFLA_IFNAME, name);
        })
    }

    /// Deletes an interface by name.
    pub(crate) fn delete_link(&mut self, name: &str) -> &mut Self {
        self.message(DELLINK, flag::ACK, &link_header(0, false), |link| {
            link.text(IFLA_IFNAME, name);
        })
    }

    /// Gives an interface an address; it stays as it is when it has it.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        subnet: &Subnet,
    ) -> &mut Self {
        let [i0, i1, i2, i3] = index.to_ne_bytes();
        let header = [INET, subnet.prefix(), 0, 0, i0, i1, i2, i3];
        let flags = flag::ACK | flag::CREATE | flag::REPLACE;
        self.message(NEWADDR, flags, &header, |body| {
            body.put(IFA_LOCAL, &address.octets())
                .put(IFA_ADDRESS, &address.octets())
                .put(IFA_BROADCAST, &subnet.broadcast().octets());
        })
    }

    /// Sends everything without a nearer route to a gateway.
    pub(crate) fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> &mut Self {
        let header = [
            INET,
            0,
            0,
            0,
            TABLE_MAIN,
            PROTOCOL_STATIC,
            0,
            TYPE_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let flags = flag::ACK | flag::CREATE | flag::REPLACE;
        self.message(NEWROUTE, flags, &header, |body| {
            body.put(RTA_GATEWAY, &gateway.octets()).u32(RTA_OIF, index);
        })
    }

    /// Asks which entry of the routing tables an address falls under.
    pub(crate) fn get_route(&mut self, address: Ipv4Addr) -> &mut Self {
        let mut header = [0; 12];
        header[0] = INET;
        header[1] = 32;
        header[8..12].copy_from_slice(&FIB_MATCH.to_ne_bytes());
        self.message(GETROUTE, flag::ACK, &header, |body| {
            body.put(RTA_DST, &address.octets());
        })
    }
}

/// Whether a message describes a link or a route.
pub(crate) fn is_link(kind: u16) -> bool {
    kind == NEWLINK
}

/// All interfaces of the socket's namespace.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    socket.dump(
        "list network interfaces",
        GETLINK,
        &link_header(0, false),
        |message| {
            links.push(Link::parse(message.payload)?);
            Ok(())
        },
    )?;
    Ok(links)
}

/// One interface by name, none when there is none.
pub(crate) fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let what = "look up a network interface";
    let mut batch = Batch::default();
    batch.get_link(name);
    let mut link = None;
    let outcome = socket.call(what, batch, |_, message| {
        link = Some(Link::parse(message.payload)?);
        Ok(())
    })?;
    match outcome.first().copied().flatten() {
        None => Ok(link),
        Some(rustix::io::Errno::NODEV) => Ok(None),
        Some(source) => Err(crate::error::Error::Netlink { what, source }),
    }
}

/// All IPv4 addresses of the socket's namespace, with what they reach.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<(Destination, Ipv4Addr)>> {
    let mut found = Vec::new();
    let header = [INET, 0, 0, 0, 0, 0, 0, 0];
    socket.dump("list addresses", GETADDR, &header, |message| {
        found.extend(Destination::parse_address(message.payload)?);
        Ok(())
    })?;
    Ok(found)
}

/// All IPv4 routes of all tables of the socket's namespace.
pub(crate) fn routes(socket: &mut Socket) -> Result<Vec<Destination>> {
    let mut found = Vec::new();
    let mut header = [0; 12];
    header[0] = INET;
    socket.dump("list routes", GETROUTE, &header, |message| {
        found.extend(Destination::parse_route(message.payload)?);
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loopback_of_this_machine() {
        let mut socket = Socket::route().unwrap();
        let all = links(&mut socket).unwrap();
        let loopback = link(&mut socket, "lo").unwrap().unwrap();
        assert_eq!(loopback.index, LOOPBACK);
        assert!(all.iter().any(|link| link.name == "lo"));
        assert_eq!(link(&mut socket, "no-such-link").unwrap(), None);
        // Whatever else the machine has, these can be read.
        addresses(&mut socket).unwrap();
        routes(&mut socket).unwrap();
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Link::parse(&payload);
            let _ = Destination::parse_address(&payload);
            let _ = Destination::parse_route(&payload);
        }

        #[test]
        fn what_is_read_of_a_link_was_in_it(
            index in any::<u32>(),
            name in "[a-z0-9]{1,15}",
            state in any::<u8>(),
            cut in 0usize..120,
        ) {
            let mut batch = Batch::default();
            batch.message(NEWLINK, 0, &link_header(index, true), |body| {
                body.text(IFLA_IFNAME, &name).nest(IFLA_LINKINFO, |info| {
                    info.nest(IFLA_INFO_SLAVE_DATA, |data| {
                        data.put(IFLA_BRPORT_STATE, &[state]);
                    });
                });
            });
            let bytes = batch.numbered(1);
            let payload = &bytes[crate::netlink::parse::HEADER..];
            let read = Link::parse(payload).unwrap();
            prop_assert_eq!((read.index, read.name, read.port_state), (index, name, Some(state)));
            // Cut anywhere, it is refused or holds less.
            let _ = Link::parse(&payload[..cut.min(payload.len())]);
        }
    }
}
