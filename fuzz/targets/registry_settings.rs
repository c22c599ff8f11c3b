//! `registries.conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut registries = hako_distribution::registries::Registries::default();
    let _ = registries.add(text);
});
