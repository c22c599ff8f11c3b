//! The sealed stub: the last program before the container's own.
//!
//! A process of the runtime that has entered a container must never be the one
//! that executes a path of the container: `/proc/self/exe`, as the path itself,
//! behind a link, in a `#!` line or as an ELF interpreter, would then name the
//! host's runtime binary, which a root user inside could open and later
//! overwrite (CVE-2019-5736). So the runtime executes this stub first: an ELF
//! file of a few hundred bytes in a sealed memfd, without libraries, whose only
//! work is the execve(2) of the path it was made for. Whatever asks for
//! `/proc/self/exe` then gets the stub, which nobody can write.
//!
//! The stub closes its error descriptor by close-on-exec when the program
//! starts (executed again by its own path, it finds it closed and exits with
//! 126 rather than go round for ever); when it cannot start, it writes the error number there, 4 bytes in
//! native order, and exits with 127 (no such file) or 126 (anything else), as
//! shells do.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

// Layout behind the code: i32 error descriptor (-1: none), then the path.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.hako_stub,\"a\",@progbits",
    ".globl hako_stub_start",
    ".globl hako_stub_end",
    "hako_stub_start:",
    "mov edi, dword ptr [rip + hako_stub_end]", // error descriptor
    "test edi, edi",
    "js 2f",
    "mov esi, 2",  // F_SETFD
    "mov edx, 1",  // FD_CLOEXEC
    "mov eax, 72", // fcntl
    "syscall",
    "cmp rax, -9", // EBADF: it was closed, so this is the stub's second run
    "jne 2f",
    "mov edi, 126",
    "jmp 5f",
    "2:",
    "lea rdi, [rip + hako_stub_end + 4]", // path
    "lea rsi, [rsp + 8]",                 // argv
    "mov rcx, [rsp]",                     // argc
    "lea rdx, [rsi + rcx*8 + 8]",         // envp
    "mov eax, 59",                        // execve
    "syscall",
    "neg eax",
    "push rax",
    "mov ebx, eax",
    "mov edi, dword ptr [rip + hako_stub_end]",
    "test edi, edi",
    "js 3f",
    "mov rsi, rsp",
    "mov edx, 4",
    "mov eax, 1", // write
    "syscall",
    "3:",
    "mov edi, 126",
    "cmp ebx, 2", // ENOENT
    "jne 4f",
    "mov edi, 127",
    "4:",
    "5:",
    "mov eax, 231", // exit_group
    "syscall",
    "hlt",
    ".balign 8",
    "hako_stub_end:",
    ".long 0",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.hako_stub,\"a\",@progbits",
    ".globl hako_stub_start",
    ".globl hako_stub_end",
    ".balign 8",
    "hako_stub_start:",
    "adr x19, hako_stub_end",
    "ldr w0, [x19]",
    "tbnz w0, #31, 2f",
    "mov x1, #2",  // F_SETFD
    "mov x2, #1",  // FD_CLOEXEC
    "mov x8, #25", // fcntl
    "svc #0",
    "cmn x0, #9", // EBADF: it was closed, so this is the stub's second run
    "b.ne 2f",
    "mov x0, #126",
    "b 5f",
    "2:",
    "add x0, x19, #4",
    "add x1, sp, #8",
    "ldr x3, [sp]",
    "add x2, x1, x3, lsl #3",
    "add x2, x2, #8",
    "mov x8, #221", // execve
    "svc #0",
    "neg x20, x0",
    "sub sp, sp, #16",
    "str w20, [sp]",
    "ldr w0, [x19]",
    "tbnz w0, #31, 3f",
    "mov x1, sp",
    "mov x2, #4",
    "mov x8, #64", // write
    "svc #0",
    "3:",
    "mov x0, #126",
    "cmp w20, #2", // ENOENT
    "b.ne 4f",
    "mov x0, #127",
    "4:",
    "5:",
    "mov x8, #94", // exit_group
    "svc #0",
    "brk #0",
    ".balign 8",
    "hako_stub_end:",
    ".word 0",
    ".popsection",
);

unsafe extern "C" {
    static hako_stub_start: u8;
    static hako_stub_end: u8;
}

fn code() -> &'static [u8] {
    let start = &raw const hako_stub_start;
    let end = &raw const hako_stub_end;
    // SAFETY: both symbols delimit one run of read-only bytes made above.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

const BASE: u64 = 0x10_0000;
const HEADER: usize = 64 + 2 * 56;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The ELF file: one header, one loadable read-only executable segment, and
/// the note that its stack is not executable.
fn image(path: &CStr, error_fd: i32) -> Vec<u8> {
    let code = code();
    let size = (HEADER + code.len() + 4 + path.to_bytes_with_nul().len()) as u64;
    let mut elf = Vec::with_capacity(size as usize);
    let u16s = |elf: &mut Vec<u8>, v: &[u16]| v.iter().for_each(|v| elf.extend(v.to_ne_bytes()));
    let u32s = |elf: &mut Vec<u8>, v: &[u32]| v.iter().for_each(|v| elf.extend(v.to_ne_bytes()));
    let u64s = |elf: &mut Vec<u8>, v: &[u64]| v.iter().for_each(|v| elf.extend(v.to_ne_bytes()));
    // e_ident: 64 bit, little endian, version 1, System V.
    elf.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    u16s(&mut elf, &[2, MACHINE]); // ET_EXEC
    u32s(&mut elf, &[1]);
    u64s(&mut elf, &[BASE + HEADER as u64, 64, 0]); // entry, phoff, shoff
    u32s(&mut elf, &[0]);
    u16s(&mut elf, &[64, 56, 2, 64, 0, 0]);
    u32s(&mut elf, &[1, 5]); // PT_LOAD, R+X
    u64s(&mut elf, &[0, BASE, BASE, size, size, 0x1000]);
    u32s(&mut elf, &[0x6474_e551, 6]); // PT_GNU_STACK, RW
    u64s(&mut elf, &[0, 0, 0, 0, 0, 16]);
    elf.extend_from_slice(code);
    elf.extend(error_fd.to_ne_bytes());
    elf.extend_from_slice(path.to_bytes_with_nul());
    elf
}

/// An empty file in memory that can be sealed and, after that, executed.
pub fn executable_memfd(name: &CStr) -> Result<OwnedFd, Errno> {
    const MFD_EXEC: u32 = 0x10;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is known since Linux 6.3; without it older kernels make
    // executable files anyway.
    match rustix::fs::memfd_create(name, flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
}

/// Makes a stub for `path` (as seen when it runs: after the change of root).
/// `error_fd` must be open, and not close-on-exec, when the stub is executed;
/// the stub marks it close-on-exec itself.
///
/// Execute it with [`crate::exec::at`] and an empty path. Errors: those of
/// memfd_create(2) and of writing and sealing the file.
pub fn make(path: &CStr, error_fd: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    // The name by which monitors of programs without files know a runtime's.
    let fd = executable_memfd(c"runc_cloned:/proc/self/exe")?;
    let elf = image(path, error_fd.map_or(-1, |fd| fd.as_raw_fd()));
    let mut rest = elf.as_slice();
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    rustix::fs::fcntl_add_seals(
        &fd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    /// Runs a stub for `path` through /proc/self/fd and gives its output, its
    /// exit code and what it wrote to the error pipe.
    fn run(path: &CStr, args: &[&str]) -> (String, Option<i32>, Vec<u8>) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        fds_keep(&writer);
        let stub = make(path, Some(writer.as_fd())).unwrap();
        let program = format!("/proc/self/fd/{}", stub.as_raw_fd());
        let out = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        drop(writer);
        let mut errors = Vec::new();
        reader.read_to_end(&mut errors).unwrap();
        (
            String::from_utf8(out.stdout).unwrap(),
            out.status.code(),
            errors,
        )
    }

    fn fds_keep(fd: &impl AsFd) {
        crate::fds::keep_on_exec(fd.as_fd()).unwrap();
    }

    #[test]
    fn executes_with_arguments_and_environment() {
        let (out, code, errors) = run(
            c"/bin/sh",
            &["-c", "echo $0 $1; test -n \"$PATH\"", "a", "b"],
        );
        assert_eq!((out.as_str(), code), ("a b\n", Some(0)));
        assert!(errors.is_empty());
    }

    #[test]
    fn error_descriptor_does_not_reach_the_program() {
        let (_reader, writer) = std::io::pipe().unwrap();
        fds_keep(&writer);
        let stub = make(c"/bin/ls", Some(writer.as_fd())).unwrap();
        let program = format!("/proc/self/fd/{}", stub.as_raw_fd());
        let out = Command::new(program)
            .args(["-l", "/proc/self/fd"])
            .output()
            .unwrap();
        let list = String::from_utf8(out.stdout).unwrap();
        assert!(list.contains(" 1 -> "), "{list}");
        assert!(
            !list.contains(&format!(" {} -> ", writer.as_raw_fd())),
            "{list}"
        );
    }

    #[test]
    fn reports_a_missing_program() {
        let (_, code, errors) = run(c"/does/not/exist", &[]);
        assert_eq!(code, Some(127));
        assert_eq!(errors, 2i32.to_ne_bytes());
    }

    #[test]
    fn reports_a_program_that_cannot_run() {
        let (_, code, errors) = run(c"/etc/passwd", &[]);
        assert_eq!(code, Some(126));
        assert_eq!(errors, 13i32.to_ne_bytes());
    }

    #[test]
    fn nobody_can_write_it() {
        let stub = make(c"/bin/true", None).unwrap();
        assert_eq!(rustix::io::pwrite(&stub, b"x", 0).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(&stub, 0).unwrap_err(), Errno::PERM);
    }

    #[test]
    fn its_own_path_gives_the_stub_again_and_ends() {
        // The attack's first step is the path /proc/self/exe: it names the
        // stub, whose second run finds its error descriptor closed and ends.
        let (_, code, errors) = run(c"/proc/self/exe", &[]);
        assert_eq!(code, Some(126));
        assert!(errors.is_empty());
    }

    #[test]
    fn its_own_path_never_names_the_maker() {
        let stub = make(c"/proc/self/exe", None).unwrap();
        let program = format!("/proc/self/fd/{}", stub.as_raw_fd());
        let mut child = Command::new(program).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let exe = std::fs::read_link(format!("/proc/{}/exe", child.id()));
        // Or it would go on for ever.
        child.kill().unwrap();
        child.wait().unwrap();
        let exe = exe.unwrap();
        assert!(exe.to_string_lossy().contains("runc_cloned"), "{exe:?}");
    }
}
