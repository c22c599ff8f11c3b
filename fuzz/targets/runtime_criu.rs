//! What CRIU answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_runtime::outside::criu_answer(bytes);
});
