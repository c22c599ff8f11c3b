//! Versions: comparing is symmetric.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut versions = text
        .split(' ')
        .map(str::parse::<hako_deb::version::Version>);
    if let (Some(Ok(a)), Some(Ok(b))) = (versions.next(), versions.next()) {
        assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    }
});
