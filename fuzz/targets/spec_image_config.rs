//! The configuration of an image; what is read is written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = hako_spec::image::Image::from_slice(bytes) else {
        return;
    };
    let again = serde_json::to_vec(&image).expect("documents can be written");
    assert_eq!(
        hako_spec::image::Image::from_slice(&again).expect("what we write"),
        image
    );
});
