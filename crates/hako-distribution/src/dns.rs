//! Names to addresses without libc.
//!
//! A static binary cannot load NSS modules, so names are resolved here:
//! `/etc/hosts` first, then the servers of `/etc/resolv.conf` with its search
//! list, `ndots`, `timeout` and `attempts` (resolv.conf(5)). A missing or
//! unusable file means what it means to libc: the server 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

/// Where the servers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A lookup that gave no address.
#[derive(Debug, thiserror::Error)]
#[error("no address for {name}")]
pub struct Failed {
    /// The name that was looked up.
    pub name: String,
    /// The resolver's words.
    #[source]
    pub source: NetError,
}

/// The project's resolver. Cheap to make and to clone; the files are read at
/// the first lookup.
#[derive(Clone, Default)]
pub struct Resolver {
    inner: Arc<OnceCell<TokioResolver>>,
}

impl Resolver {
    /// A resolver that reads the machine's files when it is first asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// All addresses of `name`, IPv6 and IPv4. An address is its own name.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failed> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let failed = |source| Failed {
            name: name.to_owned(),
            source,
        };
        let resolver = self.inner.get_or_try_init(open).await.map_err(failed)?;
        let found = resolver.lookup_ip(name).await.map_err(failed)?;
        Ok(found.iter().collect())
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            let addresses: Addrs = Box::new(
                addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0)),
            );
            Ok(addresses)
        })
    }
}

async fn open() -> Result<TokioResolver, NetError> {
    let text = tokio::fs::read(RESOLV_CONF).await.unwrap_or_default();
    let (config, mut options) = configuration(&text);
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// What a resolv.conf asks for. Never fails: a file without a usable server
/// gives libc's default.
pub fn configuration(resolv_conf: &[u8]) -> (ResolverConfig, ResolverOpts) {
    parse_resolv_conf(resolv_conf).unwrap_or_else(|_| {
        let server = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        (
            ResolverConfig::from_parts(None, Vec::new(), vec![server]),
            ResolverOpts::default(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_search_are_read() {
        let (config, options) = configuration(
            b"# c\nsearch a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n\
              options ndots:3 timeout:1 attempts:4 edns0 trust-ad unknown:7 rotate\n",
        );
        assert_eq!(config.name_servers().len(), 2);
        assert_eq!(config.search().len(), 2);
        assert_eq!((options.ndots, options.attempts), (3, 4));
    }

    #[test]
    fn a_missing_or_broken_file_means_the_local_server() {
        for text in [&b""[..], b"nameserver nonsense\n", b"\xff\xfe\x00"] {
            let (config, _) = configuration(text);
            assert_eq!(
                config.name_servers()[0].ip,
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                "{text:?}"
            );
        }
    }

    #[tokio::test]
    async fn addresses_and_localhost_need_no_server() {
        let resolver = Resolver::new();
        assert_eq!(
            resolver.addresses("::1").await.unwrap(),
            vec!["::1".parse::<IpAddr>().unwrap()]
        );
        let local = resolver.addresses("localhost").await.unwrap();
        assert!(local.iter().all(IpAddr::is_loopback) && !local.is_empty());
    }
}
