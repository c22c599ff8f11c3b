//! What a bridge needs of the host: address translation, rules against
//! strangers, and a kernel that forwards packets.
//!
//! Each network has an nftables table of its own, in the `inet` family, named
//! as its bridge. The table is made in one transaction that fails when it is
//! there, so any number of processes may try, and a table that exists is whole.
//! Its comment names subnet and layout: a table whose comment differs is
//! replaced in one transaction too. This is what `nft list table` shows:
//!
//! ```text
//! table inet hako0 {
//!   comment "hako: 10.89.0.0/24, layout 1"
//!   chain forward {
//!     type filter hook forward priority filter; policy accept;
//!     iifname "hako0" accept
//!     oifname "hako0" ct state established,related accept
//!     oifname "hako0" ct status dnat accept
//!     oifname "hako0" drop
//!   }
//!   chain postrouting {
//!     type nat hook postrouting priority srcnat; policy accept;
//!     ip saddr 10.89.0.0/24 ip daddr != 10.89.0.0/24 ip daddr != 224.0.0.0/4 masquerade
//!   }
//! }
//! ```
//!
//! The last rule of `forward` is there because forwarding makes the host a
//! router: without it, any machine on the host's network could send packets for
//! 10.89.0.0/24 through it and reach every port of every container. It keeps
//! networks apart from each other too. What the host itself sends does not pass
//! this chain.
//!
//! **Other firewalls.** In nftables, a packet must be accepted by every table:
//! `accept` here does not overrule a chain of another table with the policy
//! `drop`, such as Docker's and ufw's. Hako changes nothing in tables that are
//! not its own (iptables would no longer read them). It looks for such chains
//! when it makes its table and says what to do
//! ([`Notice::ForwardDropped`](crate::Notice)). What goes unseen: rules made with
//! the legacy iptables kernel interface, which cannot be read over netlink, and
//! chains that accept by policy and reject by their last rule (firewalld).

use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::nft::{
    self, BaseChain, Chain, DESTINATION, Expression, FORWARDED, KNOWN, SOURCE, Transaction,
};
use crate::subnet::Subnet;
use rustix::io::Errno;
use std::path::Path;

/// Changes with the rules above.
const LAYOUT: u32 = 1;

/// The sysctl that makes the kernel forward IPv4 packets; it belongs to the
/// network namespace of the reader.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

fn comment(subnet: &Subnet) -> String {
    format!("hako: {subnet}, layout {LAYOUT}")
}

/// Whether the table of a bridge is there and right. Takes no lock in the
/// kernel.
pub(crate) fn is_ready(socket: &mut Socket, bridge: &str, subnet: &Subnet) -> Result<bool> {
    Ok(nft::comment(socket, bridge)?.is_some_and(|found| found == comment(subnet)))
}

/// Makes the table of a bridge; another process may do the same at the same
/// time.
pub(crate) fn make(socket: &mut Socket, bridge: &str, subnet: &Subnet) -> Result<()> {
    for _ in 0..8 {
        let found = nft::comment(socket, bridge)?;
        if found.as_ref() == Some(&comment(subnet)) {
            return Ok(());
        }
        let mut transaction = Transaction::new(bridge);
        if found.is_some() {
            transaction.delete_table();
        }
        rules(&mut transaction, bridge, subnet);
        match transaction.commit(socket, "set up the nftables rules of a network") {
            // Somebody was faster with making it: look again.
            Err(Error::Netlink {
                source: Errno::EXIST,
                ..
            }) => {}
            // Or with deleting it. With nothing to delete, ENOENT means that
            // the kernel lacks an expression.
            Err(Error::Netlink {
                source: Errno::NOENT,
                ..
            }) if found.is_some() => {}
            other => return other,
        }
    }
    Err(Error::Netlink {
        what: "set up the nftables rules of a network",
        source: Errno::BUSY,
    })
}

fn rules(transaction: &mut Transaction<'_>, bridge: &str, subnet: &Subnet) {
    let within = |offset, of: &Subnet, equal| Expression::Address {
        offset,
        mask: of.mask().octets(),
        value: of.network().octets(),
        equal,
    };
    transaction
        .add_table(&comment(subnet))
        .add_chain(Chain::Forward)
        .add_chain(Chain::Postrouting)
        .add_rule(
            Chain::Forward,
            &[Expression::In(bridge), Expression::Accept],
        )
        .add_rule(
            Chain::Forward,
            &[
                Expression::Out(bridge),
                Expression::State(KNOWN),
                Expression::Accept,
            ],
        )
        .add_rule(
            Chain::Forward,
            &[
                Expression::Out(bridge),
                Expression::Status(FORWARDED),
                Expression::Accept,
            ],
        )
        .add_rule(Chain::Forward, &[Expression::Out(bridge), Expression::Drop]);
    let mut masquerade = vec![
        Expression::Ipv4,
        within(SOURCE, subnet, true),
        within(DESTINATION, subnet, false),
    ];
    if let Some(multicast) = Subnet::new([224, 0, 0, 0].into(), 4) {
        masquerade.push(within(DESTINATION, &multicast, false));
    }
    masquerade.push(Expression::Masquerade);
    transaction.add_rule(Chain::Postrouting, &masquerade);
}

/// Deletes the table of a bridge; none to delete is well.
pub(crate) fn remove(socket: &mut Socket, bridge: &str) -> Result<()> {
    let mut transaction = Transaction::new(bridge);
    transaction.delete_table();
    match transaction.commit(socket, "delete the nftables rules of a network") {
        Err(Error::Netlink {
            source: Errno::NOENT,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// Chains of other tables that drop forwarded packets unless a rule of theirs
/// accepts them.
pub(crate) fn dropping_chains(socket: &mut Socket) -> Result<Vec<BaseChain>> {
    let mut chains = nft::base_chains(socket)?;
    chains.retain(|chain| chain.hook == nft::FORWARD && chain.drops && chain.family != "ip6");
    Ok(chains)
}

/// Makes the kernel forward IPv4 packets, if it does not; says whether it did
/// not.
pub(crate) fn forward() -> Result<bool> {
    let failed = |what| {
        move |error: std::io::Error| Error::File {
            what,
            path: Path::new(IP_FORWARD).to_owned(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }
    };
    let value = std::fs::read(IP_FORWARD).map_err(failed("read"))?;
    if value.first() != Some(&b'0') {
        return Ok(false);
    }
    std::fs::write(IP_FORWARD, "1").map_err(failed("write"))?;
    Ok(true)
}

/// Whether the kernel forwards IPv4 packets.
pub(crate) fn forwards() -> bool {
    std::fs::read(IP_FORWARD).is_ok_and(|value| value.first() != Some(&b'0'))
}
