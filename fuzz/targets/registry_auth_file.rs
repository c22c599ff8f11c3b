//! `auth.json`, `config.json` and the old `.dockercfg`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_distribution::auth::file::parse(bytes);
    let _ = hako_distribution::auth::file::parse_legacy(bytes);
});
