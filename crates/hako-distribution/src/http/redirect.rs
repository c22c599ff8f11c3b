//! Which redirects are followed (attacks 11): only to http and https, never
//! from https to http, never to link-local addresses or with credentials in
//! the URL.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use url::{Host, Url};

use super::host_of;
use crate::error::{Error, Result};

/// The `Location` of an answer that redirects (RFC 9110, section 15.4).
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<&HeaderValue> {
    match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => headers.get(LOCATION),
        _ => None,
    }
}

/// Where `location`, given by `from`, leads.
pub(super) fn target(what: &str, from: &Url, location: &HeaderValue) -> Result<Url> {
    let refuse = |reason: &str| Err(refused(what, from, reason));
    let Ok(text) = location.to_str() else {
        return refuse("to an unreadable address");
    };
    let Ok(to) = from.join(text) else {
        return refuse("to an unreadable address");
    };
    if !matches!(to.scheme(), "http" | "https") {
        return refuse(&format!("to {}:, which is not HTTP", to.scheme()));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return refuse(&format!("from https to plain http on {}", host_of(&to)));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return refuse("to an address with credentials in it");
    }
    if is_link_local(&to) && from.origin() != to.origin() {
        return refuse(&format!("to the link-local address {}", host_of(&to)));
    }
    Ok(to)
}

pub(super) fn refused(what: &str, from: &Url, reason: &str) -> Error {
    Error::Redirect {
        what: what.to_owned(),
        from: host_of(from),
        reason: reason.to_owned(),
    }
}

/// 169.254.0.0/16 and fe80::/10: where clouds keep their metadata services.
fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.is_link_local(),
            None => address.is_unicast_link_local(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(from: &str, to: &str) -> Result<String> {
        let location = HeaderValue::from_str(to).unwrap();
        target("w", &Url::parse(from).unwrap(), &location).map(|url| url.to_string())
    }

    #[test]
    fn harmless_targets() {
        assert_eq!(go("https://a/x/y", "z?q=1").unwrap(), "https://a/x/z?q=1");
        assert_eq!(go("https://a/x", "https://b/").unwrap(), "https://b/");
        assert_eq!(go("http://a/x", "https://b/").unwrap(), "https://b/");
        assert_eq!(go("http://a/x", "//b/c").unwrap(), "http://b/c");
    }

    #[test]
    fn harmful_targets() {
        for (from, to) in [
            ("https://a/", "http://b/"),
            ("https://a/", "http://a/"),
            ("https://a/", "file:///etc/passwd"),
            ("https://a/", "gopher://a/"),
            ("https://a/", "https://u:p@b/"),
            ("http://a/", "http://169.254.169.254/latest"),
            ("http://a/", "http://[fe80::1]/"),
            ("http://a/", "http://[::ffff:169.254.169.254]/"),
            ("http://a/", "http://2852039166/"),
            ("http://a/", "http://"),
        ] {
            assert!(matches!(go(from, to), Err(Error::Redirect { .. })), "{to}");
        }
    }
}
