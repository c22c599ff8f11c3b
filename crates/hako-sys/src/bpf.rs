//! bpf(2) as far as the device filter of a cgroup v2 needs it: load a program
//! of type `BPF_PROG_TYPE_CGROUP_DEVICE`, attach, list and detach it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;
/// The kernel's bound on programs attached to one cgroup is 64.
const MAX_ATTACHED: usize = 64;

/// One instruction in the kernel's layout (`struct bpf_insn`): `code`, then a
/// byte with the source register in its upper and the destination register in
/// its lower half, then offset and immediate.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Source register << 4 | destination register.
    pub registers: u8,
    /// Jump distance in instructions, or memory offset in bytes.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Calls bpf(2) with `attr`, which the kernel may write to.
///
/// # Safety
/// `T` is the kernel's layout of the attributes of `command`, and every
/// address in it is valid for what the command does with it.
unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: as the caller promises; the size is the struct's own.
    crate::check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    })
}

/// Lets this process lock as much memory as it likes; kernels before 5.11
/// account BPF programs to RLIMIT_MEMLOCK. An error is ignored: the load then
/// tells.
fn lift_memlock() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid rlimit that outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Loads a device filter. `EPERM` without CAP_BPF or CAP_SYS_ADMIN, `EINVAL`
/// when the verifier refuses the program.
pub fn load_device_filter(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let attempt = || {
        let mut attr = Load {
            prog_type: TYPE_CGROUP_DEVICE,
            insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
            insns: program.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..Load::default()
        };
        // SAFETY: `insns` holds `insn_cnt` instructions and `license` is
        // NUL-terminated; both outlive the call and are only read.
        unsafe { call(PROG_LOAD, &mut attr) }
    };
    let fd = match attempt() {
        Err(Errno::PERM) => {
            lift_memlock();
            attempt()?
        }
        other => other?,
    };
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches `program` to the cgroup v2 directory `cgroup`, beside others, or
/// in the place of `replace` in one step.
pub fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    if let Some(old) = replace {
        attr.attach_flags |= REPLACE;
        attr.replace_bpf_fd = old.as_raw_fd() as u32;
    }
    // SAFETY: descriptors and flags only.
    unsafe { call(PROG_ATTACH, &mut attr) }.map(|_| ())
}

/// Takes `program` off the cgroup again.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: descriptors only.
    unsafe { call(PROG_DETACH, &mut attr) }.map(|_| ())
}

/// The device filters attached to `cgroup` itself. Programs that this process
/// may not open (security modules) are left out.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_ATTACHED as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` is writable for `prog_cnt` numbers.
    unsafe { call(PROG_QUERY, &mut attr) }?;
    let count = (attr.prog_cnt as usize).min(MAX_ATTACHED);
    let mut filters = Vec::new();
    for id in ids.into_iter().take(count) {
        let mut attr = ById {
            id,
            ..ById::default()
        };
        // SAFETY: integers only.
        match unsafe { call(PROG_GET_FD_BY_ID, &mut attr) } {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(fd) => filters.push(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
            Err(Errno::PERM | Errno::ACCESS | Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filters)
}
