//! Writes a program from its end to its start.
//!
//! BPF jumps lead forward only, by at most 255 instructions when they are
//! conditional. Written backwards, every target exists before the jump to it,
//! and one that lies too far is reached through a copy of the return or a long
//! jump placed right here.

use crate::bpf::{Instruction, JUMP, LOAD, RETURN};

/// Where a jump leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The end of the program with this verdict.
    Return(u32),
    /// An instruction that is written already.
    At(Label),
}

/// How many instructions were written when the one meant was the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A conditional jump reaches 255; ensuring a second target may put one
/// instruction between.
const REACH: usize = 254;

pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    /// The nearest return of each verdict.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    pub(crate) fn with_capacity(instructions: usize) -> Self {
        Self {
            reversed: Vec::with_capacity(instructions),
            returns: Vec::with_capacity(8),
        }
    }

    /// Puts an instruction before all others.
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len())
    }

    /// The label through which the next instruction reaches a target.
    fn near(&mut self, target: Target) -> Label {
        let here = self.reversed.len();
        match target {
            Target::At(label) if here - label.0 <= REACH => label,
            Target::At(label) => self.push(JUMP, 0, 0, (here - label.0) as u32),
            Target::Return(verdict) => {
                let known = self.returns.iter().position(|(known, _)| *known == verdict);
                if let Some((_, label)) = known.and_then(|at| self.returns.get(at))
                    && here - label.0 <= REACH
                {
                    return *label;
                }
                let label = self.push(RETURN, 0, 0, verdict);
                match known.and_then(|at| self.returns.get_mut(at)) {
                    Some(entry) => entry.1 = label,
                    None => self.returns.push((verdict, label)),
                }
                label
            }
        }
    }

    /// A conditional jump before everything written so far.
    pub(crate) fn jump(&mut self, code: u16, k: u32, holds: Target, fails: Target) -> Target {
        if holds == fails {
            return holds;
        }
        let holds = self.near(holds);
        let fails = self.near(fails);
        let here = self.reversed.len();
        // Both fit: `near` left at most 254 instructions, and at most one more
        // was written since.
        let (jt, jf) = ((here - holds.0) as u8, (here - fails.0) as u8);
        Target::At(self.push(code, jt, jf, k))
    }

    /// Puts an operation that falls through right before the target; a jump is
    /// laid where the target is not the newest instruction.
    pub(crate) fn before(&mut self, code: u16, k: u32, target: Target) -> Target {
        let next = match target {
            Target::Return(_) => self.near_newest(target),
            Target::At(label) if label.0 == self.reversed.len() => label,
            Target::At(_) => self.near_newest(target),
        };
        debug_assert_eq!(next.0, self.reversed.len());
        Target::At(self.push(code, 0, 0, k))
    }

    fn near_newest(&mut self, target: Target) -> Label {
        match target {
            Target::Return(verdict) => self.push(RETURN, 0, 0, verdict),
            Target::At(label) => {
                let distance = self.reversed.len() - label.0;
                self.push(JUMP, 0, 0, distance as u32)
            }
        }
    }

    /// A load of a word of the call's data right before the target.
    pub(crate) fn load(&mut self, offset: u32, target: Target) -> Target {
        self.before(LOAD, offset, target)
    }

    /// The program that begins at the target.
    pub(crate) fn finish(mut self, start: Target) -> Vec<Instruction> {
        match start {
            Target::At(label) if label.0 == self.reversed.len() => {}
            other => {
                self.near_newest(other);
            }
        }
        self.reversed.reverse();
        self.reversed
    }
}
