//! What a transfer tells while it runs; fronts draw bars of it.

use hako_spec::digest::Digest;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The name is being looked up.
    Resolving {
        /// The source as the user knows it.
        name: String,
    },
    /// The manifest for the platform is known.
    Resolved {
        /// The digest that the name stands for (index or manifest).
        digest: Digest,
        /// How many different layers there are.
        layers: usize,
    },
    /// A layer's download starts, or goes on at `offset`.
    LayerStart {
        /// The layer's digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes that are there already.
        offset: u64,
    },
    /// More of a layer is there.
    LayerProgress {
        /// The layer's digest.
        digest: Digest,
        /// Bytes that came since the last event.
        bytes: u64,
    },
    /// A layer is whole and verified, and is being unpacked.
    Unpacking {
        /// The layer's digest.
        digest: Digest,
    },
    /// A layer is ready for use.
    Done {
        /// The layer's digest.
        digest: Digest,
    },
    /// A layer was ready before.
    Exists {
        /// The layer's digest.
        digest: Digest,
    },
    /// Packages are resolved, fetched and put together (`deb:` alone).
    Packages(hako_deb::Event),
    /// Something that the user should know, and that stops nothing.
    Warning {
        /// The sentence.
        text: String,
    },
}

/// Whoever listens. It is called from several threads and must not block.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
