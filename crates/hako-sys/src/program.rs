//! The start of a program that is run several times for every container.
//!
//! The standard library's own start looks for the bounds of the stack in
//! `/proc/self/maps`, to tell an overflow from other faults, and for that links
//! the C library's formatted input with its wide characters: a fifth of a
//! millisecond and a twentieth of the program. What else it does is done here.

use std::io::Write as _;

/// Makes `$main`, a `fn() -> u8` that gives the exit status, the program's
/// start; for a crate with `#![no_main]`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        // SAFETY: a program has one `main`; the C library calls it once, with
        // these arguments.
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
            $crate::program::run($main)
        }
    };
}

/// Runs `main` with descriptors 0 to 2 open and a closed pipe as an error, as
/// the standard library does; writes out what is still buffered.
///
/// 125 when a missing descriptor cannot be replaced: the next file would take
/// its number, and its contents what is printed.
pub fn run(main: fn() -> u8) -> i32 {
    if !standard_streams() {
        return 125;
    }
    // SAFETY: SIG_IGN is a valid disposition, and no handler runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let status = main();
    let _ = std::io::stdout().flush();
    i32::from(status)
}

fn standard_streams() -> bool {
    (0..=2).all(|fd| {
        // SAFETY: F_GETFD on any integer is harmless.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
            return true;
        }
        // SAFETY: a path that ends with NUL. The lowest free number is this
        // one, as those below are open.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == fd }
    })
}
