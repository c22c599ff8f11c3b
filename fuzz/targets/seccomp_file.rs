//! A compiled filter in a file: what can be read is what would be written.
#![no_main]

use hako_seccomp::Program;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(program) = Program::decode(bytes) {
        let _ = program.allows(0, [0; 6]);
        let again = Program::decode(&program.encode()).expect("what we write");
        assert_eq!(again, program);
    }
});
