//! Lines of the event log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_store::events::parse(bytes);
});
