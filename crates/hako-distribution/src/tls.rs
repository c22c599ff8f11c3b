//! Which servers we trust.
//!
//! The authorities come from the machine's bundle, or from `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`. They are read when the first HTTPS request is made, so that
//! a machine without a bundle can still talk to a registry on loopback.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::environment::Environment;
use crate::error::{Error, Result};

/// How the server's certificate is judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Trust {
    /// By the machine's authorities.
    #[default]
    System,
    /// By the machine's authorities, those in the files `authorities`, and with
    /// `identity` (certificate chain, key; PEM) shown when the server asks:
    /// the meaning of containers-certs.d(5).
    With {
        /// PEM files of further authorities.
        authorities: Vec<PathBuf>,
        /// PEM files of our own certificate and its key.
        identity: Option<(PathBuf, PathBuf)>,
    },
    /// By nothing: every server is refused. It serves to find out whether a
    /// port speaks TLS at all.
    Nobody,
    /// Not at all: the user asked for it.
    Anybody,
}

/// Where the machine's authorities are, if the environment says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl Bundle {
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub(crate) fn new(environment: &Environment) -> Self {
        Self {
            file: environment.path("SSL_CERT_FILE"),
            directory: environment.path("SSL_CERT_DIR"),
        }
    }
}

/// The TLS settings for `trust`; `what` is for the error's text.
pub(crate) fn config(trust: &Trust, bundle: &Bundle, what: &str) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Setup {
            source: source.into(),
        })?;
    let config = match trust {
        Trust::Nobody => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody { algorithms }))
            .with_no_client_auth(),
        Trust::System => builder
            .with_root_certificates(system(bundle, what)?)
            .with_no_client_auth(),
        Trust::With {
            authorities,
            identity,
        } => {
            // A registry with an authority of its own works on a machine
            // without a bundle.
            let mut roots = match system(bundle, what) {
                Ok(roots) => roots,
                Err(_) if !authorities.is_empty() => RootCertStore::empty(),
                Err(error) => return Err(error),
            };
            for path in authorities {
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| bad(path, &error.to_string()))?;
                }
            }
            let builder = builder.with_root_certificates(roots);
            match identity {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let private = PrivateKeyDer::from_pem_file(key)
                        .map_err(|error| bad(key, &error.to_string()))?;
                    builder
                        .with_client_auth_cert(certificates(certificate)?, private)
                        .map_err(|error| bad(certificate, &error.to_string()))?
                }
            }
        }
    };
    Ok(config)
}

/// Makes ring the process's provider, for libraries that ask rustls for one.
/// Does nothing when a provider is already there.
pub(crate) fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn system(bundle: &Bundle, what: &str) -> Result<RootCertStore> {
    let found = match (&bundle.file, &bundle.directory) {
        (None, None) => rustls_native_certs::load_native_certs(),
        (file, directory) => {
            rustls_native_certs::load_certs_from_paths(file.as_deref(), directory.as_deref())
        }
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let detail = found.errors.first().map(ToString::to_string);
        return Err(Error::NoAuthorities {
            what: what.to_owned(),
            detail,
        });
    }
    Ok(roots)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(path, &error.to_string()))
}

fn bad(path: &std::path::Path, reason: &str) -> Error {
    Error::Credentials {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Accepts every certificate, but still checks the handshake's signatures.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
