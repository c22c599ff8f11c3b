//! nftables over netlink (`include/uapi/linux/netfilter/nf_tables.h`): tables,
//! base chains and the few expressions of hako's rules, in transactions.
//!
//! A transaction is one datagram: all of it takes effect at once or none.

use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::netlink::build::{Batch, Body, flag};
use crate::netlink::parse::{Malformed, fixed};
use rustix::io::Errno;

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;

const TABLE_NAME: u16 = 1;
const TABLE_USERDATA: u16 = 6;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// `NFPROTO_INET`: rules for IPv4 and IPv6 in one table.
const INET: u8 = 1;
/// `NFPROTO_IPV4`, as `meta nfproto` yields it.
const IPV4: u8 = 2;
/// `NF_INET_FORWARD`.
pub(crate) const FORWARD: u32 = 2;
/// `NF_INET_POST_ROUTING`.
const POSTROUTING: u32 = 4;
/// `NF_DROP`.
const DROP: u32 = 0;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;
/// `NFT_REG_1`.
const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [r0, r1] = resource.to_be_bytes();
    [family, 0, r0, r1]
}

/// A base chain that accepts what its rules do not decide.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Chain {
    /// `type filter hook forward priority filter`
    Forward,
    /// `type nat hook postrouting priority srcnat`
    Postrouting,
}

impl Chain {
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Postrouting => "postrouting",
        }
    }

    /// Type, hook and priority.
    fn place(self) -> (&'static str, u32, u32) {
        match self {
            Self::Forward => ("filter", FORWARD, 0),
            Self::Postrouting => ("nat", POSTROUTING, 100),
        }
    }
}

/// What a packet is compared with, or what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expression<'a> {
    /// `meta nfproto ipv4`
    Ipv4,
    /// `iifname`
    In(&'a str),
    /// `oifname`
    Out(&'a str),
    /// `ct state` has one of these bits.
    State(u32),
    /// `ct status` has one of these bits.
    Status(u32),
    /// The four bytes at this offset of the IPv4 header, under a mask.
    Address {
        /// [`SOURCE`] or [`DESTINATION`].
        offset: u32,
        /// The bits that count.
        mask: [u8; 4],
        /// What they are compared with.
        value: [u8; 4],
        /// Whether they must be equal or differ.
        equal: bool,
    },
    /// `masquerade`
    Masquerade,
    /// `accept`
    Accept,
    /// `drop`
    Drop,
}

/// Where the source address lies in an IPv4 header.
pub(crate) const SOURCE: u32 = 12;
/// Where the destination address lies.
pub(crate) const DESTINATION: u32 = 16;
/// `ct state established,related`.
pub(crate) const KNOWN: u32 = 2 | 4;
/// `ct status dnat` (`IPS_DST_NAT`).
pub(crate) const FORWARDED: u32 = 1 << 5;

impl Expression<'_> {
    fn write(self, list: &mut Body<'_>) {
        let mut name = [0; 16];
        match self {
            Self::Ipv4 => {
                meta(list, 15);
                compare(list, &[IPV4], true);
            }
            Self::In(interface) | Self::Out(interface) => {
                meta(list, if matches!(self, Self::In(_)) { 6 } else { 7 });
                for (to, from) in name.iter_mut().zip(interface.bytes()) {
                    *to = from;
                }
                compare(list, &name, true);
            }
            Self::State(bits) | Self::Status(bits) => {
                let key = if matches!(self, Self::State(_)) { 0 } else { 2 };
                expression(list, "ct", |ct| {
                    ct.u32_be(1, REGISTER).u32_be(2, key);
                });
                mask(list, bits.to_ne_bytes());
                compare(list, &[0; 4], false);
            }
            Self::Address {
                offset,
                mask: bits,
                value,
                equal,
            } => {
                // Base 1: the network header.
                expression(list, "payload", |payload| {
                    payload
                        .u32_be(1, REGISTER)
                        .u32_be(2, 1)
                        .u32_be(3, offset)
                        .u32_be(4, 4);
                });
                mask(list, bits);
                compare(list, &value, equal);
            }
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::Accept => verdict(list, ACCEPT),
            Self::Drop => verdict(list, DROP),
        }
    }
}

fn expression(list: &mut Body<'_>, name: &str, fill: impl FnOnce(&mut Body<'_>)) {
    list.nest(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nest(EXPRESSION_DATA, fill);
    });
}

fn meta(list: &mut Body<'_>, key: u32) {
    expression(list, "meta", |meta| {
        meta.u32_be(1, REGISTER).u32_be(2, key);
    });
}

fn compare(list: &mut Body<'_>, value: &[u8], equal: bool) {
    expression(list, "cmp", |cmp| {
        cmp.u32_be(1, REGISTER)
            .u32_be(2, u32::from(!equal))
            .nest(3, |data| {
                data.put(DATA_VALUE, value);
            });
    });
}

/// The register's four bytes, and-ed.
fn mask(list: &mut Body<'_>, bits: [u8; 4]) {
    expression(list, "bitwise", |bitwise| {
        bitwise
            .u32_be(1, REGISTER)
            .u32_be(2, REGISTER)
            .u32_be(3, 4)
            .nest(4, |data| {
                data.put(DATA_VALUE, &bits);
            })
            .nest(5, |data| {
                data.put(DATA_VALUE, &[0; 4]);
            });
    });
}

fn verdict(list: &mut Body<'_>, code: u32) {
    expression(list, "immediate", |immediate| {
        immediate.u32_be(1, VERDICT).nest(2, |data| {
            data.nest(DATA_VERDICT, |verdict| {
                verdict.u32_be(VERDICT_CODE, code);
            });
        });
    });
}

/// The changes of one transaction on one table of the `inet` family.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    table: &'a str,
    batch: Batch,
}

impl<'a> Transaction<'a> {
    /// An empty transaction.
    pub(crate) fn new(table: &'a str) -> Self {
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, &header(0, SUBSYSTEM >> 8), |_| {});
        Self { table, batch }
    }

    /// Makes the table; the transaction fails with `EEXIST` when it is there.
    pub(crate) fn add_table(&mut self, comment: &str) -> &mut Self {
        let flags = flag::ACK | flag::CREATE | flag::EXCL;
        let table = self.table;
        self.batch
            .message(NEWTABLE, flags, &header(INET, 0), |body| {
                body.text(TABLE_NAME, table)
                    .put(TABLE_USERDATA, &userdata(comment));
            });
        self
    }

    /// Deletes the table with all in it; fails with `ENOENT` when it is not
    /// there.
    pub(crate) fn delete_table(&mut self) -> &mut Self {
        let table = self.table;
        self.batch
            .message(DELTABLE, flag::ACK, &header(INET, 0), |body| {
                body.text(TABLE_NAME, table);
            });
        self
    }

    /// Makes a base chain.
    pub(crate) fn add_chain(&mut self, chain: Chain) -> &mut Self {
        let (kind, hook, priority) = chain.place();
        let table = self.table;
        let flags = flag::ACK | flag::CREATE;
        self.batch
            .message(NEWCHAIN, flags, &header(INET, 0), |body| {
                body.text(CHAIN_TABLE, table)
                    .text(CHAIN_NAME, chain.name())
                    .text(CHAIN_TYPE, kind)
                    .u32_be(CHAIN_POLICY, ACCEPT)
                    .nest(CHAIN_HOOK, |nest| {
                        nest.u32_be(HOOK_NUMBER, hook)
                            .u32_be(HOOK_PRIORITY, priority);
                    });
            });
        self
    }

    /// Appends a rule to a chain.
    pub(crate) fn add_rule(&mut self, chain: Chain, rule: &[Expression<'_>]) -> &mut Self {
        let table = self.table;
        let flags = flag::ACK | flag::CREATE | flag::APPEND;
        self.batch
            .message(NEWRULE, flags, &header(INET, 0), |body| {
                body.text(RULE_TABLE, table)
                    .text(RULE_CHAIN, chain.name())
                    .nest(RULE_EXPRESSIONS, |list| {
                        for expression in rule {
                            expression.write(list);
                        }
                    });
            });
        self
    }

    /// Makes all changes at once, or none.
    pub(crate) fn commit(mut self, socket: &mut Socket, what: &'static str) -> Result<()> {
        self.batch
            .message(BATCH_END, 0, &header(0, SUBSYSTEM >> 8), |_| {});
        socket.run(what, self.batch)
    }
}

/// Type, length and NUL-terminated text: how nft(8) stores and shows a comment
/// (`NFTNL_UDATA_TABLE_COMMENT` of libnftnl's udata.h). At most 127 bytes.
fn userdata(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(127).collect();
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend(text);
    bytes.push(0);
    bytes
}

/// The comment of a table of the `inet` family, none when there is no such
/// table. A table without one has an empty comment.
pub(crate) fn comment(socket: &mut Socket, table: &str) -> Result<Option<String>> {
    let what = "look up an nftables table";
    let mut batch = Batch::default();
    batch.message(GETTABLE, flag::ACK, &header(INET, 0), |body| {
        body.text(TABLE_NAME, table);
    });
    let mut comment = None;
    let outcome = socket.call(what, batch, |_, message| {
        comment = Some(parse_comment(message.payload)?);
        Ok(())
    })?;
    match outcome.first().copied().flatten() {
        None => Ok(comment),
        Some(Errno::NOENT) => Ok(None),
        Some(source) => Err(Error::Netlink { what, source }),
    }
}

/// Reads the comment out of the payload of an `NFT_MSG_NEWTABLE` message.
pub fn parse_comment(payload: &[u8]) -> Result<String, Malformed> {
    let (_, attributes) = fixed::<4>(payload)?;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == TABLE_USERDATA
            && let [0, length, text @ ..] = attribute.value
        {
            let length = usize::from(*length).saturating_sub(1);
            let text = text.get(..length).unwrap_or_default();
            return Ok(String::from_utf8_lossy(text).into_owned());
        }
    }
    Ok(String::new())
}

/// A base chain of any table of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// Its family as nft(8) writes it: `ip`, `inet`, …
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The number of its hook (`NF_INET_*`).
    pub hook: u32,
    /// Whether it drops what its rules do not decide.
    pub drops: bool,
}

impl BaseChain {
    /// Reads the payload of an `NFT_MSG_NEWCHAIN` message; none for a chain
    /// that hangs on no hook.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let (&[family, ..], attributes) = fixed::<4>(payload)?;
        let family = match family {
            INET => "inet",
            IPV4 => "ip",
            10 => "ip6",
            _ => return Ok(None),
        };
        let (mut table, mut name) = (String::new(), String::new());
        let (mut hook, mut drops) = (None, false);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                CHAIN_TABLE => table = attribute.text(),
                CHAIN_NAME => name = attribute.text(),
                CHAIN_POLICY => drops = attribute.u32_be() == Some(DROP),
                CHAIN_HOOK => {
                    for part in attribute.nested() {
                        let part = part?;
                        if part.kind == HOOK_NUMBER {
                            hook = part.u32_be();
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(hook.map(|hook| Self {
            family,
            table,
            name,
            hook,
            drops,
        }))
    }
}

/// All base chains of the namespace.
pub(crate) fn base_chains(socket: &mut Socket) -> Result<Vec<BaseChain>> {
    let mut chains = Vec::new();
    socket.dump("list nftables chains", GETCHAIN, &header(0, 0), |message| {
        chains.extend(BaseChain::parse(message.payload)?);
        Ok(())
    })?;
    Ok(chains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = BaseChain::parse(&payload);
            let _ = parse_comment(&payload);
        }
    }
}
