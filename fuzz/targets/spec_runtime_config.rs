//! `config.json` of a bundle; what is read is written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = hako_spec::runtime::Config::from_slice(bytes) else {
        return;
    };
    let again = serde_json::to_vec(&config).expect("documents can be written");
    assert_eq!(
        hako_spec::runtime::Config::from_slice(&again).expect("what we write"),
        config
    );
});
