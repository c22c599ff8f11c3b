//! Names of images as users type them, with a `registries.conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| {
    let (text, config) = input;
    let mut registries = hako_distribution::registries::Registries::default();
    let _ = registries.add(config);
    let _ = registries.reference(text);
    let _ = hako_transfer::Source::parse(text, &registries);
});
