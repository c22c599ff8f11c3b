//! A container's `/etc/hosts` (hosts(5)) and `/etc/hostname` (hostname(5)).

use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// What every machine knows: itself, and the groups of IPv6 (RFC 4291, 2.7.1)
/// by Debian's names.
const COMMON: &str = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// A line that the user asked for with `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// A name of a machine.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl Extra {
    /// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in
    /// brackets. The address `host-gateway` is `gateway`.
    pub fn parse(text: &str, gateway: Option<IpAddr>) -> Result<Self> {
        let read = || {
            // A name has no colon and no equals sign, an address no equals sign.
            let (name, address) = text.split_once('=').or_else(|| text.split_once(':'))?;
            let bare = address
                .strip_prefix('[')
                .and_then(|address| address.strip_suffix(']'))
                .unwrap_or(address);
            let address = match bare {
                "host-gateway" => gateway?,
                bare => bare.parse().ok()?,
            };
            check_host(name).ok()?;
            Some(Self {
                name: name.to_owned(),
                address,
            })
        };
        read().ok_or_else(|| Error::InvalidExtraHost(text.to_owned()))
    }
}

/// What stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct Hosts<'a> {
    /// The container's host name.
    pub hostname: &'a str,
    /// Other names of it: its own name, its aliases.
    pub aliases: &'a [String],
    /// Its addresses; none: the name stands for the loopback.
    pub addresses: &'a [IpAddr],
    /// Lines of the user's. They come before the container's, so they win.
    pub extra: &'a [Extra],
    /// The text to begin with, for a container with the host's network the
    /// host's own file; the common names when none.
    pub base: Option<&'a str>,
}

/// The text of `/etc/hosts`.
///
/// # Errors
///
/// [`Error::InvalidHost`] for a name that no machine can have.
pub fn hosts(of: &Hosts<'_>) -> Result<String> {
    check_host(of.hostname)?;
    for alias in of.aliases {
        check_host(alias)?;
    }
    let mut text = of.base.unwrap_or(COMMON).to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in of.extra {
        check_host(&extra.name)?;
        let _ = writeln!(text, "{}\t{}", extra.address, extra.name);
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let addresses = match (of.addresses, of.base) {
        // The host's file names the host.
        ([], Some(_)) => &[],
        ([], None) => &loopback[..],
        (addresses, _) => addresses,
    };
    for address in addresses {
        let _ = write!(text, "{address}\t{}", of.hostname);
        for alias in of.aliases.iter().filter(|alias| *alias != of.hostname) {
            let _ = write!(text, " {alias}");
        }
        text.push('\n');
    }
    Ok(text)
}

/// The text of `/etc/hostname`.
pub fn hostname(name: &str) -> Result<String> {
    check_host(name)?;
    Ok(format!("{name}\n"))
}

/// Letters, digits, `-`, `.` and, because people use it, `_`; at most 64 bytes
/// (`HOST_NAME_MAX` of Linux is 64 too), or 253 for names of others (RFC 1035).
fn check_host(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if (1..=253).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['-', '.'])
    {
        Ok(())
    } else {
        Err(Error::InvalidHost(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_container_on_a_bridge() {
        let text = hosts(&Hosts {
            hostname: "web",
            aliases: &["web".into(), "shop".into()],
            addresses: &["10.89.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            extra: &[Extra::parse("db:192.0.2.7", None).unwrap()],
            base: None,
        })
        .unwrap();
        assert_eq!(
            text,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n192.0.2.7\tdb\n\
             10.89.0.2\tweb shop\nfd00::2\tweb shop\n"
        );
        assert_eq!(hostname("web").unwrap(), "web\n");
    }

    #[test]
    fn a_container_without_addresses() {
        let of = Hosts {
            hostname: "alone",
            aliases: &[],
            addresses: &[],
            extra: &[],
            base: None,
        };
        assert!(hosts(&of).unwrap().ends_with("\n127.0.0.1\talone\n"));
        let host = Hosts {
            base: Some("192.0.2.2 host # no line end"),
            ..of
        };
        assert_eq!(hosts(&host).unwrap(), "192.0.2.2 host # no line end\n");
    }

    #[test]
    fn lines_of_the_users() {
        let gateway = Some("10.89.0.1".parse().unwrap());
        for (text, name, address) in [
            ("db:192.0.2.7", "db", "192.0.2.7"),
            ("db=192.0.2.7", "db", "192.0.2.7"),
            ("six:fd00::7", "six", "fd00::7"),
            ("six:[fd00::7]", "six", "fd00::7"),
            ("six=[fd00::7]", "six", "fd00::7"),
            ("host.internal:host-gateway", "host.internal", "10.89.0.1"),
        ] {
            let extra = Extra::parse(text, gateway).unwrap();
            assert_eq!(
                (extra.name.as_str(), extra.address.to_string().as_str()),
                (name, address)
            );
        }
        for text in [
            "",
            "db",
            "db:",
            ":1.2.3.4",
            "a b:1.2.3.4",
            "a\nb:1.2.3.4",
            "a:1.2.3.4\n5",
            "a:[::1",
        ] {
            assert!(Extra::parse(text, gateway).is_err(), "{text:?}");
        }
        assert!(Extra::parse("a:host-gateway", None).is_err());
        for name in ["", "-a", ".a", "a b", "a\n", "a/b"] {
            assert!(hostname(name).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_adds_a_line(name in ".{0,40}", extra in ".{0,40}") {
            let extra = Extra::parse(&extra, None).ok();
            let of = Hosts {
                hostname: &name,
                aliases: &[],
                addresses: &[],
                extra: extra.as_slice(),
                base: None,
            };
            if let Ok(text) = hosts(&of) {
                let lines = COMMON.lines().count() + 1 + extra.iter().count();
                prop_assert_eq!(text.lines().count(), lines);
            }
        }
    }
}
