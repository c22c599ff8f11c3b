//! Tests against libseccomp and against the kernel.
//!
//! libseccomp compiles the same profile (a C helper, built here with gcc); both
//! programs are then run over every call number and over arguments at the
//! borders of every rule.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use hako_spec::runtime::{Arch, Seccomp, SeccompOp};

use crate::abi::{Abi, X32_BIT};
use crate::rules::{Rules, verdict};
use crate::{
    Data, Instruction, Newer, Options, Program, compile, compile_with, default_profile, interpret,
    table,
};

const NO_CAPABILITIES: [&str; 0] = [];

fn helper() -> &'static Path {
    static HELPER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = HELPER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oracle");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oracle.c");
        let output = Command::new("gcc")
            .args(["-O1", "-o"])
            .args([&path, &source])
            .arg("-lseccomp")
            .output()
            .expect("gcc (packages gcc, libc6-dev, libseccomp-dev)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (dir, path)
    });
    path
}

fn run(mode: &str, input: &[u8]) -> (Vec<u8>, String, bool) {
    let mut child = Command::new(helper())
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.stdout,
        String::from_utf8(output.stderr).unwrap(),
        output.status.success(),
    )
}

fn bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for at in program {
        bytes.extend(at.code.to_ne_bytes());
        bytes.extend([at.jt, at.jf]);
        bytes.extend(at.k.to_ne_bytes());
    }
    bytes
}

fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    assert_eq!(bytes.len() % 8, 0);
    let read = |at: &[u8]| Instruction {
        code: u16::from_ne_bytes([at[0], at[1]]),
        jt: at[2],
        jf: at[3],
        k: u32::from_ne_bytes([at[4], at[5], at[6], at[7]]),
    };
    bytes.chunks(8).map(read).collect()
}

fn name_of(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "x86_64",
        Abi::X32 => "x32",
        Abi::X86 => "x86",
        Abi::Aarch64 => "aarch64",
        Abi::Arm => "arm",
        Abi::Riscv64 => "riscv64",
        Abi::Loongarch64 => panic!("libseccomp 2.5.4 lacks it"),
    }
}

/// Calls without a number in libseccomp: audit architecture and our number.
type Unknown = BTreeSet<(u32, u32)>;

/// libseccomp's program, and the calls that it has no number for.
fn libseccomp(profile: &Seccomp, abis: &[Abi]) -> Result<(Vec<Instruction>, Unknown), String> {
    // The rules are given as runc gives them.
    let mut text = String::new();
    let rules = Rules::read(profile).unwrap();
    text += &format!("default {}\n", rules.default);
    for abi in abis {
        text += &format!("arch {}\n", name_of(*abi));
    }
    for rule in &profile.syscalls {
        let mut alone = profile.clone();
        alone.syscalls = vec![rule.clone()];
        let verdict = Rules::read(&alone).unwrap().get(0).map(|rule| rule.verdict);
        let Some(verdict) = verdict else { continue };
        let twice = rule
            .args
            .iter()
            .map(|arg| arg.index)
            .collect::<BTreeSet<_>>()
            .len()
            < rule.args.len();
        let tests: Vec<String> = rule
            .args
            .iter()
            .map(|arg| {
                let op = match arg.op {
                    SeccompOp::NotEqual => 1,
                    SeccompOp::LessThan => 2,
                    SeccompOp::LessEqual => 3,
                    SeccompOp::Equal => 4,
                    SeccompOp::GreaterEqual => 5,
                    SeccompOp::GreaterThan => 6,
                    SeccompOp::MaskedEqual => 7,
                };
                format!("{} {op} {} {}", arg.index, arg.value, arg.value_two)
            })
            .collect();
        for name in &rule.names {
            if twice {
                for test in &tests {
                    text += &format!("rule {verdict} {name} 1 {test}\n");
                }
            } else {
                text += &format!(
                    "rule {verdict} {name} {} {}\n",
                    tests.len(),
                    tests.join(" ")
                );
            }
        }
    }
    let (bpf, messages, success) = run("compile", text.as_bytes());
    if !success {
        return Err(messages);
    }
    let mut unknown = BTreeSet::new();
    for line in messages.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (lacking, name) = match words[..] {
            ["unknown", name] => (abis, name),
            ["lacks", at, name] => (
                std::slice::from_ref(&abis[at.parse::<usize>().unwrap()]),
                name,
            ),
            _ => panic!("{line}"),
        };
        let number = |abi: &Abi| Some((abi.audit(), table::find(name)?.number(*abi)?));
        unknown.extend(lacking.iter().filter_map(number));
    }
    Ok((instructions(&bpf), unknown))
}

/// Values on both sides of every border that a test of this profile has.
fn borders(profile: &Seccomp) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX)]);
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, arg.value_two & arg.value] {
            values.extend([value, value.wrapping_sub(1), value.wrapping_add(1)]);
            values.extend([
                value | 1 << 32,
                value & 0xffff_ffff,
                value << 32,
                value ^ 1 << 63,
            ]);
        }
    }
    values.into_iter().collect()
}

/// Compares over all numbers; returns how many calls were compared.
fn compare(
    profile: &Seccomp,
    ours: &Program,
    theirs: &[Instruction],
    abis: &[Abi],
    skip: &Unknown,
) -> usize {
    let values = borders(profile);
    let mut compared = 0;
    let mut audits: Vec<u32> = abis.iter().map(|abi| abi.audit()).collect();
    audits.push(0x1234);
    audits.dedup();
    for audit in audits {
        let special = [
            X32_BIT - 1,
            0x4000_1000,
            0xeffff,
            0xf0007,
            1 << 31,
            u32::MAX - 1,
            u32::MAX,
        ];
        let numbers = (0..700)
            .chain(X32_BIT..X32_BIT + 700)
            .chain(0xf0000..0xf0008)
            .chain(special);
        for nr in numbers.filter(|nr| !skip.contains(&(audit, *nr))) {
            for (at, value) in values.iter().enumerate() {
                // One argument at the border, the others at various ones.
                let mut args = [0; 6];
                for (index, arg) in args.iter_mut().enumerate() {
                    *arg = values[(at * (index + 1) + index * nr as usize) % values.len()];
                }
                args[at % 6] = *value;
                args[0] = if at % 2 == 0 { *value } else { args[0] };
                let data = Data {
                    nr,
                    arch: audit,
                    instruction_pointer: 0,
                    args,
                };
                let expected = match interpret(theirs, &data).unwrap() {
                    // The verdict for what is not listed differs on purpose.
                    verdict::KILL_THREAD if !listed(abis, audit, nr) => verdict::KILL_PROCESS,
                    expected => expected,
                };
                let found = interpret(&ours.instructions, &data).unwrap();
                assert_eq!(
                    found, expected,
                    "{found:#x}, libseccomp {expected:#x}: {data:x?}"
                );
                compared += 1;
            }
        }
    }
    compared
}

fn listed(abis: &[Abi], audit: u32, nr: u32) -> bool {
    let x32 = nr >= X32_BIT && nr != u32::MAX;
    match audit {
        _ if audit != Abi::X86_64.audit() => abis.iter().any(|abi| abi.audit() == audit),
        _ if x32 => abis.contains(&Abi::X32),
        _ => abis.contains(&Abi::X86_64) || nr == u32::MAX,
    }
}

/// Compiles both ways and compares.
pub(crate) fn compare_with_libseccomp(profile: &Seccomp, abis: &[Abi]) -> usize {
    let ours = compile_with(profile, Arch::X86_64, literally()).unwrap();
    let (theirs, unknown) = libseccomp(profile, abis).unwrap();
    compare(profile, &ours, &theirs, abis, &unknown)
}

fn literally() -> Options {
    Options {
        newer: Newer::DefaultAction,
    }
}

#[test]
fn default_profile_equals_libseccomp() {
    let all_guards = [
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_TIME",
        "CAP_SYS_NICE",
    ];
    let machines = [
        (Arch::X86_64, vec![Abi::X86_64, Abi::X86, Abi::X32]),
        (Arch::Aarch64, vec![Abi::Aarch64, Abi::Arm]),
        (Arch::Riscv64, vec![Abi::Riscv64]),
    ];
    for (native, abis) in machines {
        for capabilities in [&NO_CAPABILITIES[..], &all_guards] {
            let profile = default_profile(capabilities, native);
            let ours = compile_with(&profile, native, literally()).unwrap();
            assert!(ours.unknown.is_empty(), "{:?}", ours.unknown);
            let (theirs, unknown) = libseccomp(&profile, &abis).unwrap();
            // All of them younger than the library: 2.5.4 of Debian 12.
            assert!(unknown.len() < 80, "{unknown:x?}");
            let compared = compare(&profile, &ours, &theirs, &abis, &unknown);
            println!(
                "{native:?}: {} instructions, libseccomp {}; {compared} calls compared, {} numbers left out",
                ours.instructions.len(),
                theirs.len(),
                unknown.len()
            );
            assert!(compared > 50_000);
            assert!(ours.instructions.len() * 2 < theirs.len());
        }
    }
}

#[test]
fn x32_left_out_is_refused() {
    let mut profile = default_profile(&NO_CAPABILITIES, Arch::X86_64);
    profile.architectures = vec![Arch::X86_64];
    let ours = compile_with(&profile, Arch::X86_64, literally()).unwrap();
    let (theirs, unknown) = libseccomp(&profile, &[Abi::X86_64]).unwrap();
    compare(&profile, &ours, &theirs, &[Abi::X86_64], &unknown);
    assert_eq!(
        ours.verdict(X32_BIT, [0; 6]).unwrap(),
        verdict::KILL_PROCESS
    );
}

/// The profile that podman and buildah use, with its many errno rules
/// (package golang-github-containers-common).
#[test]
fn podmans_profile_equals_libseccomp() {
    let path = "/usr/share/containers/seccomp.json";
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    // As for a container without capabilities on x86_64.
    file["syscalls"].as_array_mut().unwrap().retain(|rule| {
        let has = |place: &str| rule[place].as_object().is_some_and(|o| !o.is_empty());
        !has("includes")
    });
    let object = file.as_object_mut().unwrap();
    object.remove("archMap");
    for rule in object["syscalls"].as_array_mut().unwrap() {
        for key in ["includes", "excludes", "comment", "errno"] {
            rule.as_object_mut().unwrap().remove(key);
        }
    }
    object.remove("defaultErrno");
    object.insert(
        "architectures".to_owned(),
        serde_json::json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
    );
    let profile: Seccomp = serde_json::from_value(file).unwrap();
    let abis = [Abi::X86_64, Abi::X86];
    let ours = compile_with(&profile, Arch::X86_64, literally()).unwrap();
    let (theirs, unknown) = libseccomp(&profile, &abis).unwrap();
    let compared = compare(&profile, &ours, &theirs, &abis, &unknown);
    println!(
        "{} instructions, libseccomp {}; {compared} calls",
        ours.instructions.len(),
        theirs.len()
    );
    assert!(compared > 10_000);
}

#[test]
fn the_kernel_takes_it_and_obeys() {
    let profile = default_profile(&NO_CAPABILITIES, Arch::X86_64);
    let program = compile(&profile, Arch::X86_64).unwrap();
    let (out, messages, success) = run("install", &bytes(&program.instructions));
    assert!(success, "{messages}");
    let expected = "getppid 1\nunshare -1\nclone -1\nclone3 -38\nvsock -1\nvsock-high -1\nunix 1\n\
                    personality 1\npersonality-4 -1\nnewer -38\nkeyctl -1\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
