//! `deb:` names of images.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = text.parse::<hako_deb::Request>();
});
