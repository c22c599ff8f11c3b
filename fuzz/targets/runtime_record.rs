//! The runtime's record of a container, `state.json`; what can be read can be
//! used and written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(saved) = hako_runtime::outside::record(bytes) {
        let _ = saved.cgroup().is_none();
        let again = serde_json::to_vec(&saved).expect("records can be written");
        hako_runtime::outside::record(&again).expect("what we write");
    }
});
