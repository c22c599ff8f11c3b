//! Whole images: from archives that the tests make and sign, and from the
//! machine's own apt sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod machine;
mod server;
mod tampering;
