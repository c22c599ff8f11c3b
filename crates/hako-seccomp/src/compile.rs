//! Rules to ranges of call numbers, architecture by architecture.
//!
//! Neighbouring numbers with the same outcome become one range, so that the
//! usual profile (nearly everything is allowed) needs few comparisons.

use hako_spec::runtime::{Arch, Seccomp};

use crate::abi::{Abi, X32_BIT};
use crate::bpf::MAX_INSTRUCTIONS;
use crate::rules::{Rules, verdict};
use crate::tree::{Chain, Outcome, Range, Writer};
use crate::{Error, Newer, Options, Program, Result, flags, multiplexer};

const ENOSYS: u32 = 38;
/// ARM's private calls begin here, far behind the others.
const ARM_PRIVATE: u32 = 0xf0000;
/// The verdict for a calling convention that the profile does not list.
/// libseccomp kills the thread; the rest of such a process is of no use.
const BAD_ARCH: u32 = verdict::KILL_PROCESS;
/// A tracer skips a call by making its number -1, and the filter may see that
/// (seccomp(2), `SECCOMP_RET_TRACE`): it is no call of any architecture.
const SKIPPED: u32 = u32::MAX;

pub(crate) fn compile(profile: &Seccomp, native: &Arch, options: &Options) -> Result<Program> {
    let native = Abi::of(native).ok_or(Error::Native)?;
    let mut rules = Rules::read(profile)?;
    let mut abis = vec![native];
    let mut audits = vec![native.audit()];
    for abi in profile.architectures.iter().filter_map(Abi::of) {
        if !abis.contains(&abi) {
            abis.push(abi);
        }
        if !audits.contains(&abi.audit()) {
            audits.push(abi.audit());
        }
    }

    let mut numbers = Numbers {
        newer: newer(rules.default, options.newer).unwrap_or(rules.default),
        calls: Vec::with_capacity(rules.named.len() + 1),
        ranges: Vec::with_capacity(128),
    };
    let mut writer = Writer::new();
    // The native architecture is written last, so that it is looked at first.
    for audit in audits.into_iter().rev() {
        numbers.ranges.clear();
        let mut from = 0;
        for (abi, end) in spans(audit, &abis) {
            match abi {
                Some(abi) => numbers.add(&mut rules, &mut writer.chains, abi, from..end),
                None => begin(&mut numbers.ranges, from, Outcome::Return(BAD_ARCH)),
            }
            from = end;
        }
        begin(&mut numbers.ranges, SKIPPED, Outcome::Return(rules.default));
        writer.section(audit, &numbers.ranges, &rules);
    }
    let instructions = writer.finish(BAD_ARCH);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong {
            instructions: instructions.len(),
        });
    }
    Ok(Program {
        instructions,
        flags: flags::of(profile, rules.has_notify),
        has_notify: rules.has_notify,
        unknown: rules.unknown,
        native: native.audit(),
    })
}

/// The verdict for calls that are newer than the profile, where it is not the
/// default one.
fn newer(default: u32, wanted: Newer) -> Option<u32> {
    let permissive = matches!(
        default & verdict::ACTION,
        verdict::ALLOW | verdict::LOG | verdict::TRACE
    );
    (wanted == Newer::NoSys && !permissive).then_some(verdict::ERRNO | ENOSYS)
}

/// How the call numbers of an audit architecture are divided: the convention
/// of each part (`None` is not in the profile) and where it ends.
fn spans(audit: u32, abis: &[Abi]) -> impl Iterator<Item = (Option<Abi>, u32)> {
    let listed = |abi: Abi| abis.contains(&abi).then_some(abi);
    let only = abis.iter().copied().find(|abi| abi.audit() == audit);
    let (first, second) = match only {
        Some(Abi::X86_64 | Abi::X32) => (
            (listed(Abi::X86_64), X32_BIT),
            Some((listed(Abi::X32), SKIPPED)),
        ),
        Some(Abi::Arm) => ((only, ARM_PRIVATE), Some((only, SKIPPED))),
        _ => ((only, SKIPPED), None),
    };
    std::iter::once(first).chain(second)
}

/// The ranges of one audit architecture, and room that is used again for the
/// next one.
struct Numbers {
    newer: u32,
    /// Call number (upper half) with a rule (lower half), to be sorted.
    calls: Vec<u64>,
    ranges: Vec<Range>,
}

/// Stands for a rule that does nothing; its call is known to the profile.
const NO_RULE: u32 = u32::MAX;

impl Numbers {
    fn add(
        &mut self,
        rules: &mut Rules,
        chains: &mut Vec<Chain>,
        abi: Abi,
        span: std::ops::Range<u32>,
    ) {
        self.collect(rules, abi, &span);
        let default = Outcome::Return(rules.default);
        let mut next = span.start;
        let mut at = self.calls.iter().copied().peekable();
        let mut candidates = Vec::with_capacity(16);
        while let Some(call) = at.next() {
            let number = (call >> 32) as u32;
            candidates.clear();
            candidates.push(call as u32);
            while let Some(same) = at.next_if(|next| (next >> 32) as u32 == number) {
                candidates.push(same as u32);
            }
            candidates.dedup();
            if number > next {
                begin(&mut self.ranges, next, default);
            }
            let outcome = outcome(rules, chains, &mut candidates, abi.wide());
            begin(&mut self.ranges, number, outcome);
            next = number.saturating_add(1);
        }
        if next < span.end {
            // runc's rule: above the highest number that the profile names.
            let none = self.calls.is_empty();
            let rest = if none {
                default
            } else {
                Outcome::Return(self.newer)
            };
            begin(&mut self.ranges, next, rest);
        }
    }

    fn collect(&mut self, rules: &mut Rules, abi: Abi, span: &std::ops::Range<u32>) {
        self.calls.clear();
        for (row, first, count) in &rules.named {
            let Some(number) = row.number(abi).filter(|number| span.contains(number)) else {
                continue;
            };
            let call = u64::from(number) << 32;
            if *count == 0 {
                self.calls.push(call | u64::from(NO_RULE));
            }
            self.calls
                .extend((*first..first + count).map(|rule| call | u64::from(rule)));
        }
        if abi == Abi::X86 {
            multiplexer::add(rules, &mut self.calls);
        }
        self.calls.sort_unstable();
    }
}

/// Begins a range, unless it continues the one before.
fn begin(ranges: &mut Vec<Range>, start: u32, outcome: Outcome) {
    match ranges.last() {
        Some(last) if last.outcome == outcome => {}
        _ => ranges.push(Range { start, outcome }),
    }
}

/// What happens to a call that these rules name.
fn outcome(
    rules: &Rules,
    chains: &mut Vec<Chain>,
    candidates: &mut Vec<u32>,
    wide: bool,
) -> Outcome {
    candidates.retain(|rule| *rule != NO_RULE);
    let mut found = candidates.iter().filter_map(|rule| rules.get(*rule));
    if let Some(rule) = found.find(|rule| rules.tests(rule).is_empty()) {
        return Outcome::Return(rule.verdict);
    }
    if candidates.is_empty() {
        return Outcome::Return(rules.default);
    }
    let known = chains
        .iter()
        .position(|chain| chain.wide == wide && chain.rules == *candidates);
    let chain = known.unwrap_or_else(|| {
        chains.push(Chain {
            rules: candidates.clone(),
            wide,
            code: None,
        });
        chains.len() - 1
    });
    Outcome::Chain(chain)
}
