//! The ways to enter the kernel that a filter can tell apart.
//!
//! Of the architectures in the runtime specification those have a table that
//! a little-endian 64-bit machine can run: the kernel of such a machine never
//! reports another one, so that rules for it would be dead code.

use hako_spec::runtime::Arch;

/// The bit that x32 calls carry in their number; they report the audit
/// architecture of x86_64 (`arch/x86/include/uapi/asm/unistd.h`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// A calling convention with its own system call numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Abi {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
}

impl Abi {
    /// `None` for an architecture whose calls this machine family never sees.
    pub(crate) fn of(arch: &Arch) -> Option<Self> {
        Some(match arch {
            Arch::X86_64 => Self::X86_64,
            Arch::X32 => Self::X32,
            Arch::X86 => Self::X86,
            Arch::Aarch64 => Self::Aarch64,
            Arch::Arm => Self::Arm,
            Arch::Riscv64 => Self::Riscv64,
            Arch::Loongarch64 => Self::Loongarch64,
            _ => return None,
        })
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`, as `seccomp_data.arch` has it.
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
            Self::Loongarch64 => 0xc000_0102,
        }
    }

    /// Whether arguments are compared as 64-bit values. x32 passes pointers
    /// and longs of 32 bits, and its rules look at the low half alone, as
    /// libseccomp's do.
    pub(crate) const fn wide(self) -> bool {
        !matches!(self, Self::X32 | Self::X86 | Self::Arm)
    }
}
