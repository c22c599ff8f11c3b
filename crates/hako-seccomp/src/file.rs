//! A compiled program as bytes, for whoever keeps it.

use crate::bpf::Instruction;
use crate::{MAX_INSTRUCTIONS, Program};

/// Numbers before the instructions: architecture, flags, whether a rule
/// notifies, and how many instructions follow.
const HEADER: usize = 4;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

impl Program {
    /// The program as bytes, for this machine.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = self.instructions.len();
        let mut bytes = Vec::with_capacity(4 * HEADER + INSTRUCTION * count);
        let header = [
            self.native,
            self.flags,
            self.has_notify.into(),
            u32::try_from(count).unwrap_or(u32::MAX),
        ];
        for number in header {
            bytes.extend(number.to_ne_bytes());
        }
        for one in &self.instructions {
            bytes.extend(one.code.to_ne_bytes());
            bytes.extend([one.jt, one.jf]);
            bytes.extend(one.k.to_ne_bytes());
        }
        bytes.extend(self.unknown.join("\n").bytes());
        bytes
    }

    /// The program that [`encode`](Program::encode) has made these bytes of.
    /// `None`: they are not such bytes. That the instructions are those of
    /// some profile cannot be seen from them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(4).map(number);
        let mut next = || numbers.next().flatten();
        let (native, flags, has_notify) = (next()?, next()?, next()? == 1);
        let count = usize::try_from(next()?).ok()?;
        if count > MAX_INSTRUCTIONS {
            return None;
        }
        let rest = bytes.get(4 * HEADER..)?;
        let (program, names) = rest.split_at_checked(INSTRUCTION * count)?;
        let instruction = |bytes: &[u8]| match bytes {
            [a, b, jt, jf, k @ ..] => Some(Instruction {
                code: u16::from_ne_bytes([*a, *b]),
                jt: *jt,
                jf: *jf,
                k: number(k)?,
            }),
            _ => None,
        };
        let instructions = program.chunks_exact(INSTRUCTION).map(instruction);
        let names = std::str::from_utf8(names).ok()?;
        Some(Program {
            instructions: instructions.collect::<Option<_>>()?,
            flags,
            has_notify,
            unknown: names
                .split('\n')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            native,
        })
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use hako_spec::runtime::{Arch, Seccomp};

    use super::*;

    fn program() -> Program {
        let profile = br#"{
            "defaultAction": "SCMP_ACT_ERRNO",
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                { "names": ["read", "never_heard_of", "nor_this"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["write"], "action": "SCMP_ACT_ALLOW",
                  "args": [{ "index": 2, "value": 4294967296, "op": "SCMP_CMP_LT" }] }
            ]
        }"#;
        let profile: Seccomp = serde_json::from_slice(profile).unwrap();
        crate::compile(&profile, Arch::native().unwrap()).unwrap()
    }

    #[test]
    fn comes_back_as_it_was() {
        let program = program();
        assert_eq!(program.unknown, ["never_heard_of", "nor_this"]);
        assert_eq!(Program::decode(&program.encode()), Some(program));
    }

    #[test]
    fn no_bytes_are_fatal() {
        let bytes = program().encode();
        let header = 4 * HEADER + INSTRUCTION * program().instructions.len();
        for end in 0..header {
            assert_eq!(Program::decode(&bytes[..end]), None, "{end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let _ = Program::decode(&bytes);
        }
    }
}
