//! Archives made and read by GNU tar, and archives made by hand to be read in
//! two ways. The tests need GNU tar, setfattr, gzip and zstd, and fail without.

// Helpers outside of #[test] functions are tests, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod differentials;
mod gnu;
mod raw;
