//! `/proc/self/mountinfo` and `/proc/PID/cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = hako_cgroup::Host::parse(bytes);
    let _ = hako_cgroup::Membership::parse(bytes);
});
