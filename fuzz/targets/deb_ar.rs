//! The outer archive of a package.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_deb::ar::scan(bytes);
});
