//! How the program is linked: small.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Relative relocations in their packed form: a position-independent static
    // program has thousands, which are a tenth of its size and are read at every
    // start.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // Only in the runtime's own profile: tests unwind. The message of a panic
    // stays; with RUST_BACKTRACE it aborts in place of frames without names.
    if std::env::var("OPT_LEVEL").as_deref() == Ok("z") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/no-unwind.ld");
        println!("cargo:rerun-if-changed={script}");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
    }
}
