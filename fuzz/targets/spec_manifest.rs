//! A manifest or index as a registry sends it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_spec::manifest::parse(bytes, None);
});
