//! `policy.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_transfer::Policy::parse(std::path::Path::new("policy.json"), bytes);
});
