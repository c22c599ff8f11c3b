//! The store as its users see it: many processes, sudden deaths, full disks.

mod blobs;
mod collect;
mod death;
mod fixture;
mod names;
