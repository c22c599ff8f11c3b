//! Names of images: what is parsed, printed and parsed again is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<hako_spec::reference::Reference>() else {
        return;
    };
    let again = reference.to_string().parse().expect("what we print");
    assert_eq!(reference, again);
});
