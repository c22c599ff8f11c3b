//! Classic BPF as seccomp(2) accepts it: the instruction, its checks and an
//! interpreter.
//!
//! The interpreter lets the runtime ask what a filter will do before it is
//! installed, and lets tests compare filters call by call.

use crate::{Error, Result};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Instruction {
    /// Operation: class, size or operator, source (`linux/bpf_common.h`).
    pub code: u16,
    /// Instructions to skip when the test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Immediate value or offset.
    pub k: u32,
}

/// What a filter sees of a call: the kernel's `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Data {
    /// System call number.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the calling convention.
    pub arch: u32,
    /// Address of the instruction that made the call.
    pub instruction_pointer: u64,
    /// Arguments in order, each widened to 64 bits.
    pub args: [u64; 6],
}

pub(crate) const OFFSET_NR: u32 = 0;
pub(crate) const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;
const DATA_SIZE: u32 = 64;

/// Where the two halves of an argument lie (little-endian machines only).
pub(crate) const fn low_half(index: u8) -> u32 {
    OFFSET_ARGS + 8 * index as u32
}

pub(crate) const fn high_half(index: u8) -> u32 {
    low_half(index) + 4
}

pub(crate) const LOAD: u16 = 0x20;
pub(crate) const AND: u16 = 0x54;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_EQUAL: u16 = 0x15;
pub(crate) const JUMP_GREATER: u16 = 0x25;
pub(crate) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

impl Data {
    fn word(&self, offset: u32) -> Option<u32> {
        if offset >= DATA_SIZE || !offset.is_multiple_of(4) {
            return None;
        }
        let wide = match offset / 8 {
            0 => u64::from(self.arch) << 32 | u64::from(self.nr),
            1 => self.instruction_pointer,
            word => *self.args.get(word as usize - 2)?,
        };
        Some((wide >> (offset % 8 * 8)) as u32)
    }
}

/// Runs a program as the kernel would and returns its verdict
/// (`SECCOMP_RET_*` with data).
///
/// Jumps lead forward only, so that a run takes no more steps than the program
/// has instructions.
///
/// # Errors
/// [`Error::Program`] for an instruction that the kernel refuses, a jump out
/// of the program, or a program without end or too long.
pub fn interpret(program: &[Instruction], data: &Data) -> Result<u32> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong {
            instructions: program.len(),
        });
    }
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let mut pc = 0_usize;
    loop {
        let bad = |problem| Error::Program { at: pc, problem };
        let at = program.get(pc).ok_or(bad("runs off the end"))?;
        let mut skip = 0_usize;
        match at.code {
            LOAD => {
                let word = data.word(at.k);
                a = word.ok_or(bad("loads outside of the call's data"))?;
            }
            0x00 => a = at.k,
            0x01 => x = at.k,
            0x80 => a = DATA_SIZE,
            0x81 => x = DATA_SIZE,
            0x60 => a = *cell(&mut memory, at.k).ok_or(bad("has no such memory cell"))?,
            0x61 => x = *cell(&mut memory, at.k).ok_or(bad("has no such memory cell"))?,
            0x02 => *cell(&mut memory, at.k).ok_or(bad("has no such memory cell"))? = a,
            0x03 => *cell(&mut memory, at.k).ok_or(bad("has no such memory cell"))? = x,
            0x07 => x = a,
            0x87 => a = x,
            JUMP => skip = at.k as usize,
            RETURN => return Ok(at.k),
            0x16 => return Ok(a),
            code if code & 0xff07 == 0x05 => {
                let operand = if code & 0x08 == 0 { at.k } else { x };
                let holds = match code & 0xf0 {
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    0x40 => a & operand != 0,
                    _ => return Err(bad("has an unknown jump")),
                };
                skip = usize::from(if holds { at.jt } else { at.jf });
            }
            code if code & 0xff07 == 0x04 => {
                let operand = if code & 0x08 == 0 { at.k } else { x };
                a = calculate(code, a, operand)
                    .ok_or(bad("has an unknown or impossible operation"))?;
            }
            _ => return Err(bad("has an unknown operation")),
        }
        pc = pc.saturating_add(1).saturating_add(skip);
    }
}

fn cell(memory: &mut [u32; 16], k: u32) -> Option<&mut u32> {
    memory.get_mut(k as usize)
}

fn calculate(code: u16, a: u32, operand: u32) -> Option<u32> {
    let immediate = code & 0x08 == 0;
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        // A division by zero in X ends the program with verdict 0; as an
        // immediate the kernel refuses it. Neither has a use in a filter.
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 if immediate => a.checked_shl(operand)?,
        0x70 if immediate => a.checked_shr(operand)?,
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        0x80 if immediate => a.wrapping_neg(),
        0xa0 => a ^ operand,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    #[test]
    fn loads_every_word() {
        let data = Data {
            nr: 1,
            arch: 2,
            instruction_pointer: 0x4_0000_0003,
            args: [
                0x6_0000_0005,
                0x8_0000_0007,
                0xa_0000_0009,
                0xc_0000_000b,
                0xe_0000_000d,
                0x10_0000_000f,
            ],
        };
        for word in 0..16 {
            let program = [op(LOAD, 0, 0, word * 4), op(0x16, 0, 0, 0)];
            assert_eq!(interpret(&program, &data).unwrap(), word + 1);
        }
    }

    #[test]
    fn arithmetic_memory_and_jumps() {
        let run = |program: &[Instruction]| interpret(program, &Data::default());
        let program = [
            op(0x00, 0, 0, 40),
            op(0x02, 0, 0, 3),
            op(0x01, 0, 0, 2),
            op(0x60, 0, 0, 3),
            op(0x0c, 0, 0, 0),
            op(JUMP_EQUAL, 0, 1, 42),
            op(RETURN, 0, 0, 7),
            op(RETURN, 0, 0, 8),
        ];
        assert_eq!(run(&program).unwrap(), 7);
        assert_eq!(
            run(&[op(0x00, 0, 0, 5), op(0x84, 0, 0, 0), op(0x16, 0, 0, 0)]).unwrap(),
            5_u32.wrapping_neg()
        );
        assert_eq!(
            run(&[
                op(0x00, 0, 0, 6),
                op(0x45, 1, 0, 4),
                op(RETURN, 0, 0, 0),
                op(RETURN, 0, 0, 1)
            ])
            .unwrap(),
            1
        );
        assert_eq!(
            run(&[op(JUMP, 0, 0, 1), op(RETURN, 0, 0, 0), op(RETURN, 0, 0, 1)]).unwrap(),
            1
        );
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let run = |program: &[Instruction]| interpret(program, &Data::default());
        for program in [
            &[][..],
            &[op(LOAD, 0, 0, 64), op(RETURN, 0, 0, 0)],
            &[op(LOAD, 0, 0, 2), op(RETURN, 0, 0, 0)],
            &[op(LOAD, 0, 0, 0)],
            &[op(JUMP, 0, 0, u32::MAX), op(RETURN, 0, 0, 0)],
            &[op(0x02, 0, 0, 16), op(RETURN, 0, 0, 0)],
            &[op(0x34, 0, 0, 0), op(RETURN, 0, 0, 0)],
            &[op(0x64, 0, 0, 32), op(RETURN, 0, 0, 0)],
            &[op(0xffff, 0, 0, 0), op(RETURN, 0, 0, 0)],
            &[op(0x28, 0, 0, 0), op(RETURN, 0, 0, 0)],
        ] {
            assert!(run(program).is_err(), "{program:?}");
        }
        assert!(matches!(
            run(&vec![op(RETURN, 0, 0, 0); 4097]),
            Err(Error::TooLong { .. })
        ));
    }
}
