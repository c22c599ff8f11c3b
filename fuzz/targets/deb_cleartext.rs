//! Signed Release files, before any signature is looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_deb::openpgp::cleartext::parse(text);
});
