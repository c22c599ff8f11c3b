//! The `Link` header of a registry's lists.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(next) = hako_distribution::client::link::next(text) {
        assert!(text.contains(next));
    }
});
