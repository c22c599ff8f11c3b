//! The kernel's netlink answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use hako_net::netlink::parse;
    for message in parse::messages(bytes).flatten() {
        for attribute in parse::attributes(message.payload).flatten() {
            attribute.nested().flatten().for_each(drop);
        }
        let _ = hako_net::nft::parse_comment(message.payload);
    }
});
