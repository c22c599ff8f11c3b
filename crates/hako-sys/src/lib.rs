//! System calls that rustix lacks, behind safe APIs over owned file descriptors: the one crate with unsafe
