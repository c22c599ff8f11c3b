//! Who we are to a registry.
//!
//! Credentials are found like podman and docker find them ([`Keychain`]), the
//! registry's challenge is read ([`challenge`]), and a token is fetched from
//! the service that it names ([`token`]) and kept as long as it is valid.
//!
//! Invariant: a secret leaves this machine only towards the registry that it
//! is stored for or, for tokens, the realm that this registry names, and never
//! over plain HTTP unless the registry itself may be spoken to so.

pub mod challenge;
pub mod file;
pub mod helper;
pub mod keychain;
pub mod token;

pub use keychain::Keychain;

/// How to prove who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token of a token service (`identitytoken`).
    Identity {
        /// The token.
        token: String,
    },
    /// A bearer token for the registry itself (`registrytoken`).
    Bearer {
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credential {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { user, .. } => write!(f, "Basic({user})"),
            Self::Identity { .. } => f.write_str("Identity"),
            Self::Bearer { .. } => f.write_str("Bearer"),
        }
    }
}
