//! Headers of a registry's answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hako_distribution::auth::challenge::parse(text);
    let _ = hako_distribution::http::parse_content_range(text);
    let _ = hako_distribution::http::parse_retry_after(text, 0);
});
