//! apt's lists of sources, in both formats.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let path = std::path::Path::new("sources");
    let _ = hako_deb::sources::parse_oneline(path, text);
    let _ = hako_deb::sources::parse_deb822(path, text);
});
