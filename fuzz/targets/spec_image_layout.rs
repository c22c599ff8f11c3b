//! The `oci-layout` file of an image directory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_spec::image::Layout::from_slice(bytes);
});
