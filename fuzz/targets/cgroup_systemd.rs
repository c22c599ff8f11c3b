//! Messages of the bus.
#![no_main]

use hako_cgroup::systemd::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((message, len))) = Message::parse(rest) {
        assert!(len >= 16 && len <= rest.len());
        let _ = message.object();
        let _ = message.text();
        let _ = message.job_removed();
        let _ = message.refusal().to_string();
        rest = &rest[len..];
    }
});
