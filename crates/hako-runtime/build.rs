//! Relative relocations in their packed form: a position-independent static
//! program has thousands, which are a tenth of its size and are read at every
//! start.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
