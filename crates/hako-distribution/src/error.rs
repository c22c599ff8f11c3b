//! What can go wrong between us and a registry, in one enum.
//!
//! Every variant begins with what was being done (`pull host/x:1`), because the
//! text of the innermost cause ("connection reset") says nothing by itself.

use std::path::PathBuf;
use std::time::Duration;

use hako_spec::digest::Digest;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failures of the registry client and of the shared HTTP client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with a status that says no.
    #[error("{what}: {detail} ({status})")]
    Refused {
        /// What was being done.
        what: String,
        /// Which class of refusal this is.
        kind: Kind,
        /// The server's own words (distribution-spec, Error Codes) or the status's name.
        detail: String,
        /// The HTTP status.
        status: u16,
    },
    /// No connection, or it broke.
    #[error("{what}: cannot talk to {host}")]
    Network {
        /// What was being done.
        what: String,
        /// Host and port of the server.
        host: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The host has no address.
    #[error("{what}: cannot resolve {host}")]
    Resolve {
        /// What was being done.
        what: String,
        /// The name that was looked up.
        host: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// No or too slow answers.
    #[error("{what}: {host} does not answer in time")]
    Timeout {
        /// What was being done.
        what: String,
        /// Host and port of the server.
        host: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The server could not prove who it is, or speaks no TLS that we accept.
    #[error("{what}: no trusted connection to {host}")]
    Tls {
        /// What was being done.
        what: String,
        /// Host and port of the server.
        host: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// HTTPS was asked for and the machine has no certificate authorities.
    #[error(
        "{what}: no trusted certificate authorities on this machine{}: install the package \
         ca-certificates or point SSL_CERT_FILE at a bundle",
        .detail.as_deref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    NoAuthorities {
        /// What was being done.
        what: String,
        /// Why the bundle could not be read, when there was one.
        detail: Option<String>,
    },
    /// A redirect that would leak something or never end.
    #[error("{what}: {from} redirects {reason}")]
    Redirect {
        /// What was being done.
        what: String,
        /// Host and port of the server that redirected.
        from: String,
        /// Why we do not follow.
        reason: String,
    },
    /// A body that is longer than it may be.
    #[error("{what}: the answer is longer than {limit} bytes")]
    TooLong {
        /// What was being done.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A body that ended too early, again and again.
    #[error("{what}: ended after {got} of {want} bytes")]
    Truncated {
        /// What was being done.
        what: String,
        /// Bytes received.
        got: u64,
        /// Bytes expected.
        want: u64,
    },
    /// The content is not what its digest says.
    #[error("{what}: content has digest {got}, expected {want}")]
    Digest {
        /// What was being done.
        what: String,
        /// The digest of what came.
        got: Digest,
        /// The digest that was asked for.
        want: Digest,
    },
    /// The server does not speak HTTP or the distribution protocol as it should.
    #[error("{what}: {reason}")]
    Protocol {
        /// What was being done.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest or index that we do not take.
    #[error("{what}: not a usable manifest")]
    Manifest {
        /// What was being done.
        what: String,
        /// What is wrong with it.
        #[source]
        source: hako_spec::Error,
    },
    /// A URL or host name that is none.
    #[error("{url:?} is not a usable address: {reason}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of credentials cannot be read.
    #[error("cannot read credentials from {}", path.display())]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file of credentials holds something else.
    #[error("credentials in {}: {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper {helper:?} for {registry}: {reason}")]
    Helper {
        /// The helper's name, without `docker-credential-`.
        helper: String,
        /// The registry that was asked for.
        registry: String,
        /// What went wrong.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Setup {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The class of an error: what a caller or a front decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// Known, but not allowed (403).
    Denied,
    /// No such repository, manifest, tag or blob (404).
    NotFound,
    /// Too many requests (429).
    RateLimited,
    /// The server failed (5xx).
    Server,
    /// Another refusal (other 4xx).
    Refused,
    /// No connection, name resolution, time limit, broken transfer.
    Network,
    /// Certificates and TLS.
    Tls,
    /// The content does not match its digest or size.
    Corrupt,
    /// The answer breaks the protocol or a rule of ours.
    Invalid,
    /// Configuration on this machine.
    Local,
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Network { .. } | Self::Resolve { .. } | Self::Timeout { .. } => Kind::Network,
            Self::Truncated { .. } => Kind::Network,
            Self::Tls { .. } | Self::NoAuthorities { .. } => Kind::Tls,
            Self::Digest { .. } | Self::TooLong { .. } => Kind::Corrupt,
            Self::Redirect { .. } | Self::Protocol { .. } | Self::Manifest { .. } => Kind::Invalid,
            Self::Url { .. } => Kind::Invalid,
            Self::CredentialsFile { .. } | Self::Credentials { .. } => Kind::Local,
            Self::Helper { .. } | Self::Setup { .. } => Kind::Local,
        }
    }

    pub(crate) fn protocol(what: &str, reason: impl Into<String>) -> Self {
        Self::Protocol {
            what: what.to_owned(),
            reason: reason.into(),
        }
    }

    /// Sorts a failure of the transport by its deepest known cause.
    pub(crate) fn transport(what: &str, host: &str, source: reqwest::Error) -> Self {
        let (what, host) = (what.to_owned(), host.to_owned());
        // The URL may carry a signature; the text of `what` says enough.
        let source = source.without_url();
        match cause(&source) {
            Cause::Tls => Self::Tls { what, host, source },
            Cause::Resolve => Self::Resolve { what, host, source },
            _ if source.is_timeout() => Self::Timeout { what, host, source },
            _ => Self::Network { what, host, source },
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Truncated { .. } => true,
            Self::Network { source, .. } => !matches!(cause(source), Cause::ConnectionRefused),
            _ => false,
        }
    }
}

/// What lies at the bottom of a transport error.
enum Cause {
    Tls,
    Resolve,
    ConnectionRefused,
    Other,
}

fn cause(error: &reqwest::Error) -> Cause {
    chain(error)
        .find_map(|error| {
            if error.is::<rustls::Error>() {
                return Some(Cause::Tls);
            }
            if error.is::<crate::dns::Failed>() {
                return Some(Cause::Resolve);
            }
            let io = error.downcast_ref::<std::io::Error>()?;
            let refused = io.kind() == std::io::ErrorKind::ConnectionRefused;
            refused.then_some(Cause::ConnectionRefused)
        })
        .unwrap_or(Cause::Other)
}

/// What TLS says about the failure, if it was TLS.
pub(crate) fn tls_cause(error: &reqwest::Error) -> Option<&rustls::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

type Dyn = dyn std::error::Error + 'static;

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &Dyn> {
    std::iter::successors(Some(error as &Dyn), |error| {
        // The source of an io::Error skips the error that it wraps.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &Dyn).or_else(|| error.source())
    })
}

/// How long a caller should wait at most before it asks again.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);
