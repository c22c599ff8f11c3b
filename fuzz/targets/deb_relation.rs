//! Dependency fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_deb::relation::parse(text);
});
