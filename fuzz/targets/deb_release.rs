//! Release files.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_deb::release::parse(text);
});
