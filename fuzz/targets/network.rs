//! Saved definitions of networks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_net::network::parse(bytes);
});
