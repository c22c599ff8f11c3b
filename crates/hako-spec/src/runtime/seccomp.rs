//! System call filters (config-linux.md "Seccomp").

object! {
    /// A filter.
    pub struct Seccomp {
        /// What happens to calls that no rule matches.
        pub default_action: SeccompAction = "defaultAction" required,
        /// Its errno, for actions that have one; absent means EPERM.
        pub default_errno_ret: Option<u32> = "defaultErrnoRet",
        /// Architectures beside the native one.
        pub architectures: Vec<Arch> = "architectures",
        /// Flags of seccomp(2).
        pub flags: Option<Vec<SeccompFlag>> = "flags",
        /// Socket that gets the notification descriptor.
        pub listener_path: Option<String> = "listenerPath",
        /// Opaque text for that socket's owner.
        pub listener_metadata: Option<String> = "listenerMetadata",
        /// Rules.
        pub syscalls: Vec<SyscallRule> = "syscalls",
    }

    /// What happens to some calls.
    pub struct SyscallRule {
        /// The calls, by name; at least one.
        pub names: Vec<String> = "names" required,
        /// What happens.
        pub action: SeccompAction = "action" required,
        /// Its errno, for actions that have one; absent means EPERM.
        pub errno_ret: Option<u32> = "errnoRet",
        /// Conditions, all of which must hold.
        pub args: Vec<SeccompArg> = "args",
    }

    /// A condition on one argument.
    pub struct SeccompArg {
        /// Which argument, 0 to 5.
        pub index: u32 = "index" required,
        /// Compared with; the mask of [`SeccompOp::MaskedEqual`].
        pub value: u64 = "value" required,
        /// The value under the mask of [`SeccompOp::MaskedEqual`].
        pub value_two: u64 = "valueTwo",
        /// How.
        pub op: SeccompOp = "op" required,
    }
}

names! {
    /// What the kernel does with a call.
    pub enum SeccompAction("seccomp action") {
        /// Kills the thread; the older name of [`SeccompAction::KillThread`].
        Kill = "SCMP_ACT_KILL",
        /// Kills the process.
        KillProcess = "SCMP_ACT_KILL_PROCESS",
        /// Kills the thread.
        KillThread = "SCMP_ACT_KILL_THREAD",
        /// Sends SIGSYS.
        Trap = "SCMP_ACT_TRAP",
        /// Fails with an errno.
        Errno = "SCMP_ACT_ERRNO",
        /// Asks a tracer.
        Trace = "SCMP_ACT_TRACE",
        /// Allows.
        Allow = "SCMP_ACT_ALLOW",
        /// Allows and logs.
        Log = "SCMP_ACT_LOG",
        /// Asks the listener.
        Notify = "SCMP_ACT_NOTIFY",
    }

    /// Comparisons.
    pub enum SeccompOp("seccomp operator") {
        /// Equal.
        Equal = "SCMP_CMP_EQ",
        /// Not equal.
        NotEqual = "SCMP_CMP_NE",
        /// Less.
        LessThan = "SCMP_CMP_LT",
        /// Less or equal.
        LessEqual = "SCMP_CMP_LE",
        /// Greater or equal.
        GreaterEqual = "SCMP_CMP_GE",
        /// Greater.
        GreaterThan = "SCMP_CMP_GT",
        /// Equal under a mask.
        MaskedEqual = "SCMP_CMP_MASKED_EQ",
    }

    /// Flags of seccomp(2) SECCOMP_SET_MODE_FILTER.
    pub enum SeccompFlag("seccomp flag") {
        /// All threads get the filter.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
        /// All actions but allow are logged.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// No mitigation of speculative store bypass.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        /// A process that waits for the listener can only be killed.
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }

    /// System call architectures, as libseccomp 2.6 names them.
    pub enum Arch("seccomp architecture") {
        /// 64-bit x86.
        X86_64 = "SCMP_ARCH_X86_64",
        /// 32-bit x86.
        X86 = "SCMP_ARCH_X86",
        /// 32-bit pointers on 64-bit x86.
        X32 = "SCMP_ARCH_X32",
        /// 32-bit Arm, EABI.
        Arm = "SCMP_ARCH_ARM",
        /// 64-bit Arm.
        Aarch64 = "SCMP_ARCH_AARCH64",
        /// 32-bit MIPS, big-endian.
        Mips = "SCMP_ARCH_MIPS",
        /// 64-bit MIPS, big-endian.
        Mips64 = "SCMP_ARCH_MIPS64",
        /// 32-bit pointers on 64-bit MIPS, big-endian.
        Mips64N32 = "SCMP_ARCH_MIPS64N32",
        /// 32-bit MIPS, little-endian.
        Mipsel = "SCMP_ARCH_MIPSEL",
        /// 64-bit MIPS, little-endian.
        Mipsel64 = "SCMP_ARCH_MIPSEL64",
        /// 32-bit pointers on 64-bit MIPS, little-endian.
        Mipsel64N32 = "SCMP_ARCH_MIPSEL64N32",
        /// 32-bit PowerPC.
        Ppc = "SCMP_ARCH_PPC",
        /// 64-bit PowerPC, big-endian.
        Ppc64 = "SCMP_ARCH_PPC64",
        /// 64-bit PowerPC, little-endian.
        Ppc64Le = "SCMP_ARCH_PPC64LE",
        /// 31-bit S/390.
        S390 = "SCMP_ARCH_S390",
        /// 64-bit S/390.
        S390X = "SCMP_ARCH_S390X",
        /// 32-bit PA-RISC.
        Parisc = "SCMP_ARCH_PARISC",
        /// 64-bit PA-RISC.
        Parisc64 = "SCMP_ARCH_PARISC64",
        /// 64-bit RISC-V.
        Riscv64 = "SCMP_ARCH_RISCV64",
        /// 64-bit LoongArch.
        Loongarch64 = "SCMP_ARCH_LOONGARCH64",
        /// Motorola 68000.
        M68k = "SCMP_ARCH_M68K",
        /// SuperH, little-endian.
        Sh = "SCMP_ARCH_SH",
        /// SuperH, big-endian.
        Sheb = "SCMP_ARCH_SHEB",
    }
}

impl SeccompAction {
    /// Whether the action carries an errno or a tracer's message.
    #[must_use]
    pub fn takes_errno(self) -> bool {
        matches!(self, SeccompAction::Errno | SeccompAction::Trace)
    }
}

impl Arch {
    /// The architecture that this program was built for.
    #[must_use]
    pub fn native() -> Option<Self> {
        let little = cfg!(target_endian = "little");
        Some(match std::env::consts::ARCH {
            "x86_64" => Arch::X86_64,
            "x86" => Arch::X86,
            "aarch64" => Arch::Aarch64,
            "arm" => Arch::Arm,
            "mips" => {
                if little {
                    Arch::Mipsel
                } else {
                    Arch::Mips
                }
            }
            "mips64" => {
                if little {
                    Arch::Mipsel64
                } else {
                    Arch::Mips64
                }
            }
            "powerpc" => Arch::Ppc,
            "powerpc64" => {
                if little {
                    Arch::Ppc64Le
                } else {
                    Arch::Ppc64
                }
            }
            "s390x" => Arch::S390X,
            "riscv64" => Arch::Riscv64,
            "loongarch64" => Arch::Loongarch64,
            "m68k" => Arch::M68k,
            _ => return None,
        })
    }
}
