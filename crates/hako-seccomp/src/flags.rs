//! The profile's flags as seccomp(2) takes them.

use hako_spec::runtime::{Seccomp, SeccompFlag};

/// Applies to all threads of the process.
pub const TSYNC: u32 = 1 << 0;
/// Actions other than allow are logged.
pub const LOG: u32 = 1 << 1;
/// Speculative store bypass stays on (faster, less safe).
pub const SPEC_ALLOW: u32 = 1 << 2;
/// The call returns a descriptor on which notifications arrive.
pub const NEW_LISTENER: u32 = 1 << 3;
/// Calls under notification wait so that only fatal signals end them.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The kernel refuses two combinations that profiles may ask for: TSYNC with a
/// listener (there is one thread when the filter is installed, so nothing is
/// lost), and WAIT_KILLABLE_RECV without one (where it means nothing).
pub(crate) fn of(profile: &Seccomp, has_notify: bool) -> u32 {
    // A profile that does not speak of flags leaves speculation alone, as runc and
    // crun have it: what it would cost to hinder it was never asked for.
    let mut flags = match profile.flags {
        None => SPEC_ALLOW,
        Some(_) => 0,
    };
    for flag in profile.flags.iter().flatten() {
        flags |= match flag {
            SeccompFlag::Tsync => TSYNC,
            SeccompFlag::Log => LOG,
            SeccompFlag::SpecAllow => SPEC_ALLOW,
            SeccompFlag::WaitKillableRecv => WAIT_KILLABLE_RECV,
        };
    }
    if has_notify {
        flags & !TSYNC | NEW_LISTENER
    } else {
        flags & !WAIT_KILLABLE_RECV
    }
}
