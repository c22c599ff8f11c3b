//! Debian packages to a reproducible image layer
