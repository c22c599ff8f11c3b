//! apt's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_deb::sources::parse_settings(text);
});
