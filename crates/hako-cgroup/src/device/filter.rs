//! A device policy as the BPF program of a version 2 cgroup
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`, linux/bpf.h `struct bpf_cgroup_dev_ctx`):
//! it gets the kind, the use and the numbers, and answers 1 to allow.

use hako_sys::bpf::Instruction;

use super::policy::{Access, Exception, Kind, Policy};

const LOAD_WORD: u8 = 0x61;
const MOV64_REG: u8 = 0xbf;
const MOV64: u8 = 0xb7;
const AND64: u8 = 0x57;
const SHIFT_RIGHT64: u8 = 0x77;
/// Compares the lower halves, so that numbers above 2^31 compare right.
const JUMP32_IF_EQUAL: u8 = 0x16;
const JUMP32_IF_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const USE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;

fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset,
        immediate,
    }
}

/// Compiles a policy. The program is as long as the policy, some ten
/// instructions an exception.
#[must_use]
pub fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(MOV64_REG, USE, KIND, 0, 0),
        op(AND64, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT64, USE, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &policy.exceptions {
        block(&mut program, exception, !policy.default_allow);
    }
    answer(&mut program, policy.default_allow);
    program
}

fn answer(program: &mut Vec<Instruction>, allow: bool) {
    program.push(op(MOV64, RESULT, 0, 0, i32::from(allow)));
    program.push(op(EXIT, 0, 0, 0, 0));
}

/// One exception: jumps behind itself unless everything matches.
fn block(program: &mut Vec<Instruction>, exception: &Exception, allow: bool) {
    // (code, register, immediate) of the tests that leave the block.
    let mut tests = Vec::with_capacity(6);
    let kind = match exception.kind {
        Kind::Char => KIND_CHAR,
        Kind::Block => KIND_BLOCK,
    };
    tests.push((JUMP32_IF_NOT_EQUAL, KIND, kind));
    if exception.access != Access::ALL {
        let bits = i32::from(exception.access.bits());
        tests.push((MOV64_REG, SCRATCH, 0));
        if allow {
            // Every use that is asked for must be granted by this exception.
            tests.push((AND64, SCRATCH, !bits & 0xffff));
            tests.push((JUMP32_IF_NOT_EQUAL, SCRATCH, 0));
        } else {
            // One use that is denied denies the whole, as version 1 has it.
            tests.push((AND64, SCRATCH, bits));
            tests.push((JUMP32_IF_EQUAL, SCRATCH, 0));
        }
    }
    for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
        if let Some(number) = number {
            tests.push((JUMP32_IF_NOT_EQUAL, register, number.cast_signed()));
        }
    }
    let length = tests.len();
    for (at, (code, register, immediate)) in tests.into_iter().enumerate() {
        program.push(match code {
            MOV64_REG => op(code, register, USE, 0, 0),
            AND64 => op(code, register, 0, 0, immediate),
            _ => {
                // Over the rest of the tests and the two of the answer; at
                // most eight.
                let distance = length - at - 1 + 2;
                op(code, register, 0, distance as i16, immediate)
            }
        });
    }
    answer(program, allow);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_spec::runtime::{DeviceKind, DeviceRule};
    use proptest::prelude::*;

    /// Runs a program as the kernel would, for the few operations used.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u64; 11];
        let mut at = 0usize;
        for _ in 0..=program.len() {
            let i = program[at];
            let (to, from) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            let jump = match i.code {
                LOAD_WORD => {
                    assert_eq!(from, 1, "loads are from the context");
                    r[to] = u64::from(context[i.offset as usize / 4]);
                    false
                }
                MOV64_REG => {
                    r[to] = r[from];
                    false
                }
                MOV64 => {
                    r[to] = i.immediate as i64 as u64;
                    false
                }
                AND64 => {
                    r[to] &= i.immediate as i64 as u64;
                    false
                }
                SHIFT_RIGHT64 => {
                    r[to] >>= i.immediate;
                    false
                }
                JUMP32_IF_EQUAL => r[to] as u32 == i.immediate as u32,
                JUMP32_IF_NOT_EQUAL => r[to] as u32 != i.immediate as u32,
                EXIT => return r[0] == 1,
                code => panic!("unknown code {code:#x}"),
            };
            at += 1 + if jump { i.offset as usize } else { 0 };
        }
        panic!("does not end");
    }

    /// What the policy says, without any program.
    fn decide(policy: &Policy, kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        let hit = policy.exceptions.iter().any(|e| {
            e.kind == kind
                && e.major.is_none_or(|m| m == major)
                && e.minor.is_none_or(|m| m == minor)
                && if policy.default_allow {
                    e.access.bits() & access != 0
                } else {
                    access & !e.access.bits() == 0
                }
        });
        hit != policy.default_allow
    }

    fn rules() -> impl Strategy<Value = Vec<DeviceRule>> {
        let number = prop_oneof![
            Just(None),
            (0i64..4).prop_map(Some),
            Just(Some(0xffff_ffff)),
            Just(Some(0x8000_0000)),
        ];
        let kind = prop_oneof![
            Just(None),
            Just(Some(DeviceKind::Char)),
            Just(Some(DeviceKind::Block))
        ];
        let one = (any::<bool>(), kind, number.clone(), number, "[rwm]{1,3}");
        let one = one.prop_map(|(allow, kind, major, minor, access)| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: Some(access),
            ..DeviceRule::default()
        });
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn program_and_policy_agree(
            rules in rules(),
            queries in proptest::collection::vec(
                (any::<bool>(), 1u8..8, prop_oneof![0u32..4, Just(u32::MAX), Just(1 << 31)], 0u32..4),
                20,
            ),
        ) {
            if let Ok(policy) = Policy::build(&rules) {
                let program = compile(&policy);
                for (char, access, major, minor) in queries {
                    let (kind, number) = if char { (Kind::Char, 2) } else { (Kind::Block, 1) };
                    prop_assert_eq!(
                        run(&program, number, access.into(), major, minor),
                        decide(&policy, kind, access, major, minor)
                    );
                }
            }
        }

        /// The last matching rule decides, wherever the policy can say it.
        #[test]
        fn policy_and_rules_agree(rules in rules(), access in 0usize..3, major in 0u32..4, minor in 0u32..4) {
            let bit = [1u8, 2, 4][access];
            if let Ok(policy) = Policy::build(&rules) {
                let last = rules.iter().rev().find(|r| {
                    matches!(r.kind, None | Some(DeviceKind::Char))
                        && r.major.is_none_or(|m| m == i64::from(major))
                        && r.minor.is_none_or(|m| m == i64::from(minor))
                        && {
                            let all = r.kind.is_none() && r.major.is_none() && r.minor.is_none();
                            let bits = Access::parse(r.access.as_deref().unwrap()).unwrap().bits();
                            (all && !r.allow) || bits & bit != 0
                        }
                });
                prop_assert_eq!(
                    decide(&policy, Kind::Char, bit, major, minor),
                    last.is_some_and(|r| r.allow)
                );
            }
        }
    }
}
