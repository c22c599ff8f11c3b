//! A container's `/etc/resolv.conf` (resolv.conf(5)), made from the host's.
//!
//! The host's name servers are the container's unless it cannot reach them: one
//! on a loopback address is not the container's loopback. What is done then is
//! what Docker and podman do:
//!
//! 1. When all are on the loopback and one is systemd-resolved's stub
//!    (127.0.0.53, 127.0.0.54), the servers behind it are taken, from
//!    `/run/systemd/resolve/resolv.conf`.
//! 2. Those on the loopback are left out; for a network without IPv6, those
//!    with an IPv6 address too. Link-local ones with a zone (`fe80::1%eth0`)
//!    name an interface of the host and are never taken.
//! 3. When none is left, Google's public ones are put in, and the caller is
//!    told ([`Choice::public`]) so that it can say so: names that the container
//!    asks for go there.
//!
//! With pasta, no server is out of reach: it passes what is sent to
//! [`pasta::DNS`](crate::pasta::DNS) on to the host's first one.

use crate::error::{Error, Result};
use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};

/// Where the host's configuration is.
pub const HOST: &str = "/etc/resolv.conf";

/// Where systemd-resolved writes the servers behind its stub.
pub const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// What is taken when no server of the host's is within reach.
const PUBLIC: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// No more of a configuration file is read.
const LIMIT: u64 = 64 * 1024;

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolv {
    /// The servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// The domains that short names are looked up in.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    pub options: Vec<String>,
}

impl Resolv {
    /// Reads the text of a `resolv.conf`. What is not understood is left out, as
    /// the C library does: a keyword must start its line, the last `search` or
    /// `domain` counts, options add up.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let owned = |words: std::str::SplitAsciiWhitespace<'_>| {
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    read.nameservers.extend(address);
                }
                Some("search") => read.search = owned(words),
                Some("domain") => {
                    let domain = words.next();
                    read.search = domain.map(str::to_owned).into_iter().collect();
                }
                Some("options") => read.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        read
    }

    /// Reads a file of the host; none when there is no such file or it cannot be
    /// read: a container without name servers is better than no container.
    pub fn read(path: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }
}

impl fmt::Display for Resolv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// What servers a container can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None: it has a loopback alone.
    Nothing,
    /// All that the host can: it has the host's network.
    Host,
    /// Those that a bridge with IPv4 leads to.
    Bridge,
    /// All, by way of [`pasta::DNS`](crate::pasta::DNS).
    Pasta,
}

/// What the user asked for; what is empty is taken from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--dns`
    pub nameservers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` stands for none.
    pub search: Vec<String>,
    /// `--dns-option`
    pub options: Vec<String>,
}

/// A container's configuration and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its text is the file's.
    pub resolv: Resolv,
    /// Whether public servers had to be put in, because the host's are out of
    /// the container's reach.
    pub public: bool,
}

/// What a container gets: from `host` ([`HOST`]), or `upstream` ([`UPSTREAM`])
/// when the host asks a stub.
///
/// # Errors
///
/// [`Error::InvalidDns`] when a search domain or an option could not stand in
/// the file as one word.
pub fn choose(
    host: &Resolv,
    upstream: Option<&Resolv>,
    reach: Reach,
    wanted: &Wanted,
) -> Result<Choice> {
    for word in wanted.search.iter().chain(&wanted.options) {
        let graphic = word.bytes().all(|b| b.is_ascii_graphic());
        if word.is_empty() || word.len() > 255 || !graphic {
            return Err(Error::InvalidDns(word.clone()));
        }
    }
    let stub = |server: &IpAddr| {
        [[127, 0, 0, 53], [127, 0, 0, 54]].contains(&match server {
            IpAddr::V4(server) => server.octets(),
            IpAddr::V6(_) => return false,
        })
    };
    let source = match upstream {
        Some(upstream)
            if host.nameservers.iter().all(is_loopback) && host.nameservers.iter().any(stub) =>
        {
            upstream
        }
        _ => host,
    };
    let reached = |source: &Resolv, six: bool| -> Vec<IpAddr> {
        let mut servers = source.nameservers.clone();
        servers.retain(|server| !is_loopback(server) && !is_link_local(server));
        servers.retain(|server| six || server.is_ipv4());
        servers
    };
    let mut public = false;
    let nameservers = match reach {
        _ if !wanted.nameservers.is_empty() => wanted.nameservers.clone(),
        Reach::Nothing => Vec::new(),
        Reach::Host => host.nameservers.clone(),
        Reach::Pasta => {
            let mut servers = vec![IpAddr::V4(crate::pasta::DNS)];
            servers.extend(reached(source, true));
            servers
        }
        Reach::Bridge => {
            let mut servers = reached(source, false);
            if servers.is_empty() {
                public = true;
                servers.extend(PUBLIC.map(IpAddr::V4));
            }
            servers
        }
    };
    let search = match wanted.search.as_slice() {
        [] => source.search.clone(),
        [none] if none == "." => Vec::new(),
        search => search.to_vec(),
    };
    let options = match wanted.options.as_slice() {
        [] => source.options.clone(),
        options => options.to_vec(),
    };
    Ok(Choice {
        resolv: Resolv {
            nameservers,
            search,
            options,
        },
        public,
    })
}

fn is_loopback(server: &IpAddr) -> bool {
    server.to_canonical().is_loopback() || server.is_unspecified()
}

fn is_link_local(server: &IpAddr) -> bool {
    matches!(server, IpAddr::V6(server) if server.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choice(host: &str, upstream: Option<&str>, reach: Reach, wanted: &Wanted) -> Choice {
        let upstream = upstream.map(Resolv::parse);
        choose(&Resolv::parse(host), upstream.as_ref(), reach, wanted).unwrap()
    }

    const NOTHING: Wanted = Wanted {
        nameservers: Vec::new(),
        search: Vec::new(),
        options: Vec::new(),
    };

    #[test]
    fn the_file_is_read_as_the_c_library_does() {
        let read = Resolv::parse(
            "# comment\n; comment\nnameserver 192.0.2.53 # trailing\nnameserver\tfd00::53\n\
             nameserver fe80::1%eth0\nnameserver nonsense\n nameserver 9.9.9.9\nsearch a.example\n\
             domain one.example two.example\nsearch x.example y.example\noptions ndots:2\n\
             options rotate edns0\nsortlist 1.2.3.4\n",
        );
        assert_eq!(
            read.to_string(),
            "search x.example y.example\nnameserver 192.0.2.53\nnameserver fd00::53\n\
             options ndots:2 rotate edns0\n"
        );
        assert_eq!(Resolv::parse(""), Resolv::default());
        assert_eq!(
            Resolv::parse("domain only.example").search,
            ["only.example"]
        );
    }

    #[test]
    fn what_a_bridge_reaches() {
        let host =
            "nameserver 127.0.0.1\nnameserver fd00::53\nnameserver 192.0.2.53\nnameserver ::1\n";
        let got = choice(host, None, Reach::Bridge, &NOTHING);
        assert_eq!(got.resolv.to_string(), "nameserver 192.0.2.53\n");
        assert!(!got.public);
        for host in [
            "",
            "nameserver 127.0.0.1\n",
            "nameserver fd00::1\n",
            "nameserver 0.0.0.0\n",
        ] {
            let got = choice(host, None, Reach::Bridge, &NOTHING);
            assert_eq!(
                got.resolv.to_string(),
                "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
            );
            assert!(got.public, "{host}");
        }
    }

    #[test]
    fn behind_a_stub_are_the_servers() {
        let host = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        let upstream = "nameserver 192.0.2.1\nsearch lan.example\n";
        let got = choice(host, Some(upstream), Reach::Bridge, &NOTHING);
        assert_eq!(
            got.resolv.to_string(),
            "search lan.example\nnameserver 192.0.2.1\n"
        );
        assert!(!got.public);
        // Somebody else's loopback server has nothing to do with systemd.
        let got = choice(
            "nameserver 127.0.0.1\n",
            Some(upstream),
            Reach::Bridge,
            &NOTHING,
        );
        assert!(got.public);
        // And a server beside the stub is the host's choice.
        let both = "nameserver 127.0.0.53\nnameserver 192.0.2.9\n";
        let got = choice(both, Some(upstream), Reach::Bridge, &NOTHING);
        assert_eq!(got.resolv.to_string(), "nameserver 192.0.2.9\n");
    }

    #[test]
    fn other_networks() {
        let host = "nameserver 127.0.0.1\nnameserver fd00::53\nsearch lan.example\n";
        let text = |reach| choice(host, None, reach, &NOTHING).resolv.to_string();
        assert_eq!(text(Reach::Nothing), "search lan.example\n");
        assert_eq!(
            text(Reach::Host),
            "search lan.example\nnameserver 127.0.0.1\nnameserver fd00::53\n"
        );
        assert_eq!(
            text(Reach::Pasta),
            "search lan.example\nnameserver 169.254.1.1\nnameserver fd00::53\n"
        );
    }

    #[test]
    fn what_the_user_asks_for_comes_first() {
        let wanted = Wanted {
            nameservers: vec!["127.0.0.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:5".into()],
        };
        let host = "nameserver 192.0.2.53\nsearch lan.example\noptions rotate\n";
        for reach in [Reach::Nothing, Reach::Host, Reach::Bridge, Reach::Pasta] {
            let got = choice(host, None, reach, &wanted);
            assert_eq!(
                got.resolv.to_string(),
                "nameserver 127.0.0.1\noptions ndots:5\n"
            );
        }
        for word in ["", "a b", "a\nnameserver 6.6.6.6", "ä"] {
            let wanted = Wanted {
                search: vec![word.into()],
                ..Wanted::default()
            };
            let refused = choose(&Resolv::default(), None, Reach::Host, &wanted);
            assert!(refused.is_err(), "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_written_is_read_back(
            text in "((nameserver|search|options|domain|x)?[ \t]?[0-9a-f.:# \t%]{0,20}\n?){0,12}|.{0,200}"
        ) {
            let read = Resolv::parse(&text);
            prop_assert_eq!(Resolv::parse(&read.to_string()), read);
        }
    }
}
