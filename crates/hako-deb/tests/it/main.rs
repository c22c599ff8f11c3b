//! Whole images: from archives that the tests make and sign, and from the
//! machine's own apt sources.

mod archive;
mod machine;
mod server;
mod tampering;
