//! A seccomp profile: its program is one that the interpreter accepts, for every
//! architecture.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use hako_spec::runtime::{Arch, Seccomp};
    let Ok(profile) = serde_json::from_slice::<Seccomp>(bytes) else {
        return;
    };
    let Ok(program) = hako_seccomp::compile(&profile, Arch::X86_64) else {
        return;
    };
    for arch in [0xc000_003e, 0x4000_0003, 0] {
        for nr in [0, 1, 56, 102, 435, 1000, 0x4000_0000, u32::MAX] {
            let data = hako_seccomp::Data {
                nr,
                arch,
                instruction_pointer: 0,
                args: [1; 6],
            };
            hako_seccomp::interpret(&program.instructions, &data).expect("what we compile");
        }
    }
});
