//! Any instructions: the interpreter ends with a verdict or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let program: Vec<hako_seccomp::Instruction> = bytes
        .chunks_exact(8)
        .map(|word| hako_seccomp::Instruction {
            code: u16::from_le_bytes([word[0], word[1]]),
            jt: word[2],
            jf: word[3],
            k: u32::from_le_bytes([word[4], word[5], word[6], word[7]]),
        })
        .collect();
    let _ = hako_seccomp::interpret(&program, &hako_seccomp::Data::default());
});
