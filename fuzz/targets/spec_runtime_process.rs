//! The process of `exec --process`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_spec::runtime::Process::from_slice(bytes);
});
