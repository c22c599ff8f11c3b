//! Digests: what is parsed, printed and parsed again is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(digest) = text.parse::<hako_spec::digest::Digest>() else {
        return;
    };
    assert_eq!(digest, digest.to_string().parse().expect("what we print"));
});
