//! The kernel's statistics files.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    use hako_cgroup::stats::parse;
    parse::pairs(text).for_each(drop);
    parse::io_stat(text).for_each(drop);
    let _ = parse::set(text);
    let _ = parse::blkio_table(text);
    let _ = parse::pressure(text);
});
