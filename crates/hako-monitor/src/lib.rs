//! The parent of a container's processes: terminal, log, exit status.
//!
//! A monitor is a small process beside every container that outlives the
//! command which started it. It executes the OCI runtime, native or foreign,
//! and keeps what a runtime leaves open: the container's streams and their
//! log, its exit status, whether it ran out of memory. Any number of clients
//! talk to it over a socket in the container's run directory ([`Client`],
//! [`protocol`]), and it leaves files that anybody can read when it is gone
//! ([`read_exit`]).
//!
//! Its death does not end the container: output waits in FIFOs that the
//! container keeps open itself, and a new monitor adopts the container
//! ([`Config::adopt`]). What nobody could see is then said to be unknown, never
//! guessed, and the log has a line where something may be missing.
//!
//! Invariants: one thread; nothing in the loop waits for a client or a program;
//! every exit status has its origin with it ([`Known`]); no file is half
//! written.

mod client;
mod config;
mod conn;
mod container;
mod entry;
mod error;
mod finish;
mod log;
mod monitor;
mod oom;
mod process;
pub mod protocol;
mod recent;
mod record;
mod serve;
mod socket;
mod spawn;
mod streams;
mod time;

pub use client::Client;
pub use config::{Config, Driver, Log, Runtime, Stdin, VERSION as CONFIG_VERSION};
pub use entry::{Ready, main};
pub use error::{Error, Result};
pub use record::{Ended, Exit, Init, Known, read_exit};
pub use time::Stamp;
