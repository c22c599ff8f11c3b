//! Platforms: what is parsed, printed and parsed again is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(platform) = text.parse::<hako_spec::platform::Platform>() else {
        return;
    };
    assert_eq!(
        platform,
        platform.to_string().parse().expect("what we print")
    );
});
