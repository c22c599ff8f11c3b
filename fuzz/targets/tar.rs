//! Archives, read entry by entry.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_tar::entries(bytes);
});
