//! The profile, checked and brought into the form that code is made of.
//!
//! What the specification leaves open follows runc with libseccomp, which
//! profiles are written for (runtime-spec config-linux.md, "Seccomp"):
//!
//! - A rule whose action equals the default does nothing.
//! - A rule that tests one argument twice stands for one rule per test, so
//!   that any of them matches.
//! - Of the rules for a call, the first without arguments decides alone; else
//!   any match counts, the first in the profile's order if actions differ.

use hako_spec::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOp};

use crate::table::{self, Row};
use crate::{Error, Result};

/// `SECCOMP_RET_*` of `linux/seccomp.h`.
pub(crate) mod verdict {
    pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(crate) const KILL_THREAD: u32 = 0;
    pub(crate) const TRAP: u32 = 0x0003_0000;
    pub(crate) const ERRNO: u32 = 0x0005_0000;
    pub(crate) const NOTIFY: u32 = 0x7fc0_0000;
    pub(crate) const TRACE: u32 = 0x7ff0_0000;
    pub(crate) const LOG: u32 = 0x7ffc_0000;
    pub(crate) const ALLOW: u32 = 0x7fff_0000;
    pub(crate) const ACTION: u32 = 0xffff_0000;
}

const EPERM: u32 = 1;
/// The kernel cuts larger numbers to this one (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

/// One test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) index: u8,
    pub(crate) op: Op,
    pub(crate) value: u64,
}

/// The comparisons; a masked one carries its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Masked(u64),
}

/// A verdict for calls whose arguments pass all tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) verdict: u32,
    first: u32,
    count: u32,
}

/// A profile's rules, independent of an architecture.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) default: u32,
    rules: Vec<Rule>,
    tests: Vec<Test>,
    /// Which call has which rules (first, count), in the profile's order. A
    /// call whose rules do nothing is named with a count of zero.
    pub(crate) named: Vec<(Row, u32, u32)>,
    pub(crate) has_notify: bool,
    pub(crate) unknown: Vec<String>,
}

impl Rules {
    pub(crate) fn tests(&self, rule: &Rule) -> &[Test] {
        let first = rule.first as usize;
        self.tests
            .get(first..first + rule.count as usize)
            .unwrap_or_default()
    }

    pub(crate) fn get(&self, rule: u32) -> Option<&Rule> {
        self.rules.get(rule as usize)
    }

    /// Adds a rule and returns its place.
    pub(crate) fn add(&mut self, verdict: u32, tests: &[Test]) -> u32 {
        self.rules.push(Rule {
            verdict,
            first: self.tests.len() as u32,
            count: tests.len() as u32,
        });
        self.tests.extend_from_slice(tests);
        self.rules.len() as u32 - 1
    }

    pub(crate) fn read(profile: &Seccomp) -> Result<Self> {
        let default = verdict_of(
            &profile.default_action,
            profile.default_errno_ret,
            "default",
        )?;
        if default == verdict::NOTIFY {
            return Err(Error::NotifyAsDefault);
        }
        let names = profile.syscalls.iter().map(|rule| rule.names.len()).sum();
        let mut all = Self {
            default,
            named: Vec::with_capacity(names),
            ..Self::default()
        };
        for rule in &profile.syscalls {
            let first_name = match rule.names.first() {
                Some(name) => name.as_str(),
                None => return Err(Error::NoNames),
            };
            let verdict = verdict_of(&rule.action, rule.errno_ret, first_name)?;
            all.has_notify |= verdict == verdict::NOTIFY;
            let first = all.rules.len() as u32;
            if verdict != default {
                all.read_tests(verdict, &rule.args, first_name)?;
            }
            let count = all.rules.len() as u32 - first;
            let mut row = None;
            for name in &rule.names {
                let found = table::find_after(row, name);
                row = found.or(row);
                match found {
                    Some(row) => all.named.push((row, first, count)),
                    None if name.is_empty() => return Err(Error::EmptyName),
                    None => all.unknown.push(name.clone()),
                }
            }
        }
        Ok(all)
    }

    fn read_tests(&mut self, verdict: u32, args: &[SeccompArg], name: &str) -> Result<()> {
        let first = self.tests.len();
        let mut seen = 0_u8;
        let mut twice = false;
        for arg in args {
            let index = u8::try_from(arg.index).ok().filter(|index| *index < 6);
            let index = index.ok_or_else(|| Error::ArgumentIndex {
                name: name.to_owned(),
                index: u64::from(arg.index),
            })?;
            twice |= seen & 1 << index != 0;
            seen |= 1 << index;
            let (op, value) = match arg.op {
                SeccompOp::Equal => (Op::Equal, arg.value),
                SeccompOp::NotEqual => (Op::NotEqual, arg.value),
                SeccompOp::GreaterThan => (Op::Greater, arg.value),
                SeccompOp::GreaterEqual => (Op::GreaterEqual, arg.value),
                SeccompOp::LessThan => (Op::Less, arg.value),
                SeccompOp::LessEqual => (Op::LessEqual, arg.value),
                SeccompOp::MaskedEqual => (Op::Masked(arg.value), arg.value_two & arg.value),
            };
            // A mask of zero lets everything pass.
            if op != Op::Masked(0) {
                self.tests.push(Test { index, op, value });
            } else if twice || args.len() > 1 {
                self.tests.push(Test {
                    index,
                    op: Op::GreaterEqual,
                    value: 0,
                });
            }
        }
        let count = self.tests.len() - first;
        if twice {
            for at in 0..count {
                let first = (first + at) as u32;
                self.rules.push(Rule {
                    verdict,
                    first,
                    count: 1,
                });
            }
        } else {
            self.rules.push(Rule {
                verdict,
                first: first as u32,
                count: count as u32,
            });
        }
        Ok(())
    }
}

fn verdict_of(action: &SeccompAction, errno: Option<u32>, name: &str) -> Result<u32> {
    let data = |limit| match errno {
        None => Ok(EPERM),
        Some(errno) if errno <= limit => Ok(errno),
        Some(errno) => Err(Error::ErrnoRange {
            name: name.to_owned(),
            errno,
        }),
    };
    let plain = match action {
        SeccompAction::Errno => return Ok(verdict::ERRNO | data(MAX_ERRNO)?),
        SeccompAction::Trace => return Ok(verdict::TRACE | data(0xffff)?),
        SeccompAction::Kill | SeccompAction::KillThread => verdict::KILL_THREAD,
        SeccompAction::KillProcess => verdict::KILL_PROCESS,
        SeccompAction::Trap => verdict::TRAP,
        SeccompAction::Allow => verdict::ALLOW,
        SeccompAction::Log => verdict::LOG,
        SeccompAction::Notify => verdict::NOTIFY,
    };
    // "When the action doesn't support an errno, the runtime MUST print and
    // error and fail."
    match errno {
        Some(_) => Err(Error::ErrnoUnused {
            name: name.to_owned(),
        }),
        None => Ok(plain),
    }
}
