//! `kill --regex`: a pattern, a line feed, an id. Neither a panic nor a time
//! that grows faster than their lengths' product.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (pattern, id) = text.split_once('\n').unwrap_or((text, "id"));
    if let Ok(pattern) = hako_runtime::outside::Pattern::parse(pattern) {
        let _ = pattern.is_match(id);
    }
});
