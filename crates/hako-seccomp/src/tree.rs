//! Ranges of call numbers to code: a search tree for each architecture and a
//! chain of tests for each call whose arguments matter.

use crate::assembler::{Assembler, Target};
use crate::bpf::{
    AND, Instruction, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, OFFSET_ARCH, OFFSET_NR,
    high_half, low_half,
};
use crate::rules::{Op, Rules, Test};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This verdict.
    Return(u32),
    /// What an entry of [`Writer::chains`] says.
    Chain(usize),
}

/// Call numbers from `start` up to the next range's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) outcome: Outcome,
}

/// Rules that are tried one after the other.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) rules: Vec<u32>,
    /// Whether whole 64-bit arguments are compared.
    pub(crate) wide: bool,
    pub(crate) code: Option<Target>,
}

pub(crate) struct Writer {
    out: Assembler,
    pub(crate) chains: Vec<Chain>,
    sections: Vec<(u32, Target)>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let out = Assembler::with_capacity(512);
        Self {
            out,
            chains: Vec::with_capacity(16),
            sections: Vec::with_capacity(4),
        }
    }

    /// Writes the code for an architecture, given its ranges from zero on.
    pub(crate) fn section(&mut self, audit: u32, ranges: &[Range], rules: &Rules) {
        let mut start = self.search(ranges, rules);
        if matches!(start, Target::At(_)) {
            start = self.out.load(OFFSET_NR, start);
        }
        self.sections.push((audit, start));
    }

    /// Writes the choice between the architectures; `other` is the verdict for
    /// those that have no section. The section written last is tried first.
    pub(crate) fn finish(mut self, other: u32) -> Vec<Instruction> {
        let mut start = Target::Return(other);
        for (audit, section) in self.sections {
            start = self.out.jump(JUMP_EQUAL, audit, section, start);
        }
        let start = self.out.load(OFFSET_ARCH, start);
        self.out.finish(start)
    }

    fn search(&mut self, ranges: &[Range], rules: &Rules) -> Target {
        match ranges {
            [] => Target::Return(rules.default),
            [only] => match only.outcome {
                Outcome::Return(verdict) => Target::Return(verdict),
                Outcome::Chain(chain) => self.chain(chain, rules),
            },
            // One number between two ranges with one outcome.
            [before, one, after]
                if before.outcome == after.outcome
                    && one.start.checked_add(1) == Some(after.start) =>
            {
                let others = self.search(std::slice::from_ref(before), rules);
                let this = self.search(std::slice::from_ref(one), rules);
                self.out.jump(JUMP_EQUAL, one.start, this, others)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let start = high.first().map_or(0, |range| range.start);
                let high = self.search(high, rules);
                let low = self.search(low, rules);
                self.out.jump(JUMP_GREATER_EQUAL, start, high, low)
            }
        }
    }

    fn chain(&mut self, at: usize, rules: &Rules) -> Target {
        let mut next = Target::Return(rules.default);
        let Some(chain) = self.chains.get_mut(at) else {
            return next;
        };
        if let Some(code) = chain.code {
            return code;
        }
        for rule in chain.rules.iter().rev().filter_map(|rule| rules.get(*rule)) {
            let mut passes = Target::Return(rule.verdict);
            for test in rules.tests(rule).iter().rev() {
                passes = write_test(&mut self.out, test, chain.wide, passes, next);
            }
            next = passes;
        }
        chain.code = Some(next);
        next
    }
}

/// Writes one test: the high half decides unless it is equal.
fn write_test(out: &mut Assembler, test: &Test, wide: bool, yes: Target, no: Target) -> Target {
    let (low, high) = (test.value as u32, (test.value >> 32) as u32);
    let (code, yes, no) = match test.op {
        Op::Masked(mask) => {
            let mut start = yes;
            if mask as u32 != 0 {
                start = masked(out, low_half(test.index), mask as u32, low, start, no);
            }
            let mask = (mask >> 32) as u32;
            if wide && mask != 0 {
                start = masked(out, high_half(test.index), mask, high, start, no);
            }
            return start;
        }
        Op::Equal => (JUMP_EQUAL, yes, no),
        Op::NotEqual => (JUMP_EQUAL, no, yes),
        Op::Greater => (JUMP_GREATER, yes, no),
        Op::LessEqual => (JUMP_GREATER, no, yes),
        Op::GreaterEqual => (JUMP_GREATER_EQUAL, yes, no),
        Op::Less => (JUMP_GREATER_EQUAL, no, yes),
    };
    let start = out.jump(code, low, yes, no);
    let start = if start == yes {
        start
    } else {
        out.load(low_half(test.index), start)
    };
    if !wide {
        return start;
    }
    let start = out.jump(JUMP_EQUAL, high, start, no);
    let start = match code {
        JUMP_EQUAL => start,
        _ => out.jump(JUMP_GREATER, high, yes, start),
    };
    out.load(high_half(test.index), start)
}

fn masked(
    out: &mut Assembler,
    offset: u32,
    mask: u32,
    value: u32,
    yes: Target,
    no: Target,
) -> Target {
    let start = out.jump(JUMP_EQUAL, value, yes, no);
    let start = if mask == u32::MAX {
        start
    } else {
        out.before(AND, mask, start)
    };
    out.load(offset, start)
}
