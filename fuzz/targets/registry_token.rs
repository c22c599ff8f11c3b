//! A token server's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_distribution::auth::token::parse(bytes);
});
