//! The tables of this crate in `meta.db`.
//!
//! `links` and `manifests` repeat what the blobs say, so that the garbage
//! collection can decide by one query, inside one transaction.

/// Versions and the SQL that leads to each; never edit a released one.
pub(crate) const STEPS: &[(u32, &str)] = &[(1, V1)];

const V1: &str = "
-- What people and orchestrators call images.
CREATE TABLE names (
    owner TEXT NOT NULL,
    reference TEXT NOT NULL,
    target TEXT NOT NULL,          -- digest of the index or manifest as pulled
    descriptor TEXT NOT NULL,      -- JSON, the whole descriptor
    created INTEGER NOT NULL,      -- nanoseconds since 1970
    updated INTEGER NOT NULL,
    PRIMARY KEY (owner, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_reference ON names (reference);
CREATE INDEX names_by_target ON names (target);

-- Which blob needs which: index -> manifest -> config and layers.
CREATE TABLE links (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;

-- An image is a config; its id is the config's digest.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL,          -- JSON
    pulled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The manifests an image came with.
CREATE TABLE manifests (
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    manifest TEXT NOT NULL,
    descriptor TEXT NOT NULL,      -- JSON
    PRIMARY KEY (image, manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_manifest ON manifests (manifest);

CREATE TABLE leases (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    lock TEXT,                     -- file in leases/ that a living holder locks
    created INTEGER NOT NULL,
    UNIQUE (owner, kind, id)
) STRICT;

CREATE TABLE holds (
    lease INTEGER NOT NULL REFERENCES leases (number) ON DELETE CASCADE,
    kind TEXT NOT NULL,            -- blob or layer
    key TEXT NOT NULL,
    PRIMARY KEY (lease, kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";
