//! Seccomp profile to BPF program, with an interpreter for its tests
