//! Stanzas of a package index.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_deb::index::parse_record(text);
});
