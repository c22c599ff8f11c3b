//! A container from its bundle to its program.
//!
//! The runtime ([`launch`]) makes cgroups and the process; the process
//! ([`init`]) makes everything that it can make for itself, since whatever it
//! does needs no message and no second process, and ends in the sealed stub
//! ([`program`]).

pub mod apart;
pub mod bundle;
pub mod check;
pub mod checkpoint;
pub mod console;
pub mod delegate;
pub mod exec;
pub mod filters;
pub mod hook;
pub mod identity;
pub mod init;
pub mod last;
pub mod launch;
pub mod limits;
pub mod lsm;
pub mod mounts;
pub mod namespaces;
pub mod netdev;
pub mod parent;
pub mod pids;
pub mod program;
pub mod rdt;
pub mod receivers;
pub mod restore;
pub mod scope;
pub mod seccomp;
pub mod shared_root;
pub mod shield;
pub mod userns;
