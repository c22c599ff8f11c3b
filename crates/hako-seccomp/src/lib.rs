//! Seccomp profile to BPF program.
//!
//! [`compile`] turns the `linux.seccomp` object of a runtime configuration
//! (runtime-spec config-linux.md, "Seccomp") into the classic BPF program that
//! seccomp(2) installs. It stands in for libseccomp, which a static and small
//! runtime cannot load, and gives the same verdicts; where it differs on
//! purpose is said next to the code: [`Newer`], `multiplexer`, and the verdict
//! for a foreign architecture (the whole process is killed, not one thread).
//!
//! The way: `rules` checks the profile, `compile` sorts it into ranges of call
//! numbers, `tree` writes a search tree through `assembler`. [`interpret`]
//! runs a program, which tests and [`Program::allows`] use. [`default_profile`]
//! is the profile for containers that bring none.

mod abi;
mod assembler;
mod bpf;
mod compile;
mod default;
mod file;
mod multiplexer;
mod rules;
mod table;
mod tree;

pub mod flags;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;

pub use bpf::{Data, Instruction, MAX_INSTRUCTIONS, interpret};
pub use default::default_profile;

use hako_spec::runtime::{Arch, Seccomp};

/// Why a profile has no program, or a program no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine's own architecture has no table of system calls.
    #[error("seccomp: no table of system calls for this machine's architecture")]
    Native,
    /// An entry of `syscalls` has no names.
    #[error("seccomp: a syscalls entry has no names")]
    NoNames,
    /// A name is empty.
    #[error("seccomp: a system call name is empty")]
    EmptyName,
    /// Calls have six arguments.
    #[error("seccomp: rule for {name}: argument index {index} is not below 6")]
    ArgumentIndex {
        /// The first name of the rule.
        name: String,
        /// The index given.
        index: u64,
    },
    /// `errnoRet` on an action that returns none.
    #[error("seccomp: rule for {name}: its action takes no errnoRet")]
    ErrnoUnused {
        /// The first name of the rule, or `default`.
        name: String,
    },
    /// `errnoRet` is larger than an errno (or a tracer's datum) can be.
    #[error("seccomp: rule for {name}: errnoRet {errno} is out of range")]
    ErrnoRange {
        /// The first name of the rule, or `default`.
        name: String,
        /// The number given.
        errno: u32,
    },
    /// Nobody could answer: the process that hands the listener over would
    /// wait for itself.
    #[error("seccomp: SCMP_ACT_NOTIFY cannot be the default action")]
    NotifyAsDefault,
    /// More instructions than the kernel takes.
    #[error(
        "seccomp: the profile needs {instructions} instructions, the kernel takes {MAX_INSTRUCTIONS}"
    )]
    TooLong {
        /// How many it would be.
        instructions: usize,
    },
    /// An instruction that the kernel would refuse.
    #[error("seccomp: instruction {at} of the program {problem}")]
    Program {
        /// Its place, from zero.
        at: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

type Result<T> = std::result::Result<T, Error>;

/// What to do with calls that are newer than the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newer {
    /// They fail with ENOSYS when the default action forbids (runc's way, and
    /// ours). C libraries try a new call first and fall back to the old one on
    /// ENOSYS; the EPERM of a profile that never heard of the call breaks
    /// programs instead. A call is newer when its number lies above every
    /// number that the profile names for the architecture, whatever the action
    /// is. Profiles whose default is allow, log or trace are left alone.
    #[default]
    NoSys,
    /// They get the default action, as the profile's text says.
    DefaultAction,
}

/// How to compile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What to do with calls that are newer than the profile.
    pub newer: Newer,
}

/// A filter, ready for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions, at most [`MAX_INSTRUCTIONS`].
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`, [`flags::NEW_LISTENER`] included where it is
    /// needed.
    pub flags: u32,
    /// Whether a rule notifies: the call then returns a descriptor, which goes
    /// to the profile's `listenerPath`.
    pub has_notify: bool,
    /// Names that no architecture here has. They are ignored, as runc does;
    /// worth a warning.
    pub unknown: Vec<String>,
    native: u32,
}

impl Program {
    /// The verdict for a call of the native architecture: `SECCOMP_RET_*`
    /// with its data.
    ///
    /// # Errors
    /// Those of [`interpret`], if the instructions were changed.
    pub fn verdict(&self, nr: u32, args: [u64; 6]) -> Result<u32> {
        let data = Data {
            nr,
            arch: self.native,
            instruction_pointer: 0,
            args,
        };
        interpret(&self.instructions, &data)
    }

    /// Whether a call of the native architecture is executed (allowed, or
    /// allowed and logged). A notifying or tracing rule counts as no, because
    /// somebody else decides.
    #[must_use]
    pub fn allows(&self, nr: u32, args: [u64; 6]) -> bool {
        use rules::verdict;
        matches!(
            self.verdict(nr, args)
                .map(|verdict| verdict & verdict::ACTION),
            Ok(verdict::ALLOW | verdict::LOG)
        )
    }
}

/// Compiles a profile for a machine, with the usual options.
///
/// The native architecture is always part of the filter; others are when the
/// profile lists them and this family of machines can run them.
///
/// # Errors
/// A profile that the specification forbids, or that needs more than
/// [`MAX_INSTRUCTIONS`].
pub fn compile(profile: &Seccomp, native: Arch) -> Result<Program> {
    compile::compile(profile, &native, &Options::default())
}

/// Like [`compile`], with options.
///
/// # Errors
/// Those of [`compile`].
pub fn compile_with(profile: &Seccomp, native: Arch, options: Options) -> Result<Program> {
    compile::compile(profile, &native, &options)
}

/// The number of a call on an architecture (x32 numbers carry the x32 bit);
/// `None` if the architecture lacks it or has no table here.
#[must_use]
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    table::find_after(None, name)?.number(abi::Abi::of(&arch)?)
}
