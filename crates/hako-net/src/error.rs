//! What can go wrong with a container's network.

use crate::netlink::parse::Malformed;
use crate::subnet::Subnet;
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No netlink socket could be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] Errno),
    /// The kernel refused a request.
    #[error("cannot {what}")]
    Netlink {
        /// What was asked, as the end of "cannot …".
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The kernel's answer contradicts itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A network namespace could not be made or entered.
    #[error("cannot make or enter a network namespace")]
    Namespace(#[source] Errno),
    /// The thread that enters the namespace could not be started.
    #[error("cannot start a thread to enter the container's network namespace")]
    Thread(#[source] std::io::Error),
    /// A file of the network's state could not be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was done, as in "cannot … PATH".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A network's recorded definition cannot be read.
    #[error("{} is no network definition", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Text that is no subnet.
    #[error("\"{0}\" is no IPv4 subnet such as 10.89.0.0/24 with a prefix from 8 to 30")]
    InvalidSubnet(String),
    /// Text that is no MAC address.
    #[error("\"{0}\" is no MAC address of one station such as 02:42:ac:11:00:02")]
    InvalidMac(String),
    /// A name that cannot be a network's.
    #[error(
        "\"{0}\" cannot name a network: use letters, digits, \"_\", \".\" and \"-\", at most 64, not \".\" at the start"
    )]
    InvalidName(String),
    /// A name that cannot be an interface's.
    #[error(
        "\"{0}\" cannot name a network interface: at most 15 bytes without \"/\", \":\" or space"
    )]
    InvalidInterface(String),
    /// An id that cannot stand in a lease.
    #[error("\"{0}\" cannot be the id of a container in a lease")]
    InvalidId(String),
    /// Every candidate overlaps with an address or a route of the host.
    #[error("no free subnet is left: the host has routes into all of {0}; choose one by hand")]
    NoFreeSubnet(&'static str),
    /// Every candidate name for a bridge is taken.
    #[error("no free bridge name is left from hako0 to hako{0}")]
    NoFreeBridge(u32),
    /// A subnet was asked for that the host uses.
    #[error("subnet {wanted} overlaps with {taken}, which the host uses")]
    SubnetTaken {
        /// What was asked for.
        wanted: Subnet,
        /// What the host has.
        taken: Subnet,
    },
    /// All addresses are leased.
    #[error("network {network} has no free address left in {subnet}")]
    Exhausted {
        /// The network's name.
        network: String,
        /// Its subnet.
        subnet: Subnet,
    },
    /// An address that was asked for has an owner.
    #[error("address {address} of network {network} is taken by container {owner}")]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// The network's name.
        network: String,
        /// The owner's id; empty when its lease cannot be read.
        owner: String,
    },
    /// An address that was asked for is not one for a container.
    #[error("address {address} is not one of network {network} ({subnet}) for a container")]
    AddressUnusable {
        /// The address.
        address: Ipv4Addr,
        /// The network's name.
        network: String,
        /// Its subnet.
        subnet: Subnet,
    },
    /// No such network is recorded.
    #[error("there is no network {0}")]
    UnknownNetwork(String),
    /// The bridge is not there: [`ensure`](crate::Networks::ensure) was not
    /// called, or something deleted it since.
    #[error("network {network} has no bridge {bridge}")]
    NoBridge {
        /// The network's name.
        network: String,
        /// The bridge's name.
        bridge: String,
    },
    /// An interface of this name exists and is no bridge.
    #[error("interface {0} exists and is no bridge")]
    NotABridge(String),
    /// A word that cannot stand in a resolv.conf.
    #[error("\"{0}\" cannot be a search domain or an option of name lookup")]
    InvalidDns(String),
    /// A name that cannot be a machine's.
    #[error("\"{0}\" cannot be a host name: use letters, digits, \".\", \"-\" and \"_\"")]
    InvalidHost(String),
    /// Text that is no line for `/etc/hosts`.
    #[error("\"{0}\" is no extra host such as db:192.0.2.7 or host.internal:host-gateway")]
    InvalidExtraHost(String),
    /// pasta is not there.
    #[error("pasta is not installed: install the package \"passt\", or use another network")]
    PastaMissing,
    /// pasta would find no way to make an interface.
    #[error(
        "pasta needs /dev/net/tun, which cannot be opened: as root, run 'modprobe tun' and 'chmod 666 /dev/net/tun', or use --network host or none"
    )]
    PastaTun(#[source] Errno),
    /// pasta would have nothing to connect the container to.
    #[error(
        "this machine has no default route, so that pasta has no network to share; use --network host, none or pasta to say what you want"
    )]
    PastaNoRoute,
    /// pasta could not be started.
    #[error("cannot run {}", path.display())]
    PastaRun {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// pasta gave up.
    #[error("pasta failed ({status}): {message}")]
    PastaFailed {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to standard error.
        message: String,
    },
    /// Some steps of a removal failed; the others were done.
    #[error("cannot remove all of network {network}: {}", list(.failures))]
    Incomplete {
        /// The network's name.
        network: String,
        /// What failed, in order.
        failures: Vec<Error>,
    },
}

/// The failures with their sources, in one line.
fn list(failures: &[Error]) -> String {
    let texts: Vec<String> = failures
        .iter()
        .map(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            text
        })
        .collect();
    texts.join("; ")
}
