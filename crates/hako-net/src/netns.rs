//! Network namespaces: how to work in one without living there.
//!
//! A netlink socket belongs to the namespace that its maker was in. So one
//! short-lived thread enters the container's namespace, opens a socket and hands
//! it back: no thread of the program ever stays in a foreign namespace, and no
//! helper process is needed.

use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::netlink::build::Batch;
use crate::route::LOOPBACK;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Does something in a network namespace, on a thread of its own that ends with
/// it. The calling thread stays where it is.
///
/// # Errors
///
/// [`Error::Namespace`] when `netns` is no network namespace or not one that
/// the caller may enter (it needs `CAP_SYS_ADMIN` in its own user namespace and
/// in the one that owns it).
pub fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
                .map_err(Error::Namespace)?;
            work()
        });
        match thread.map_err(Error::Thread)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Makes a network namespace that lives as long as the descriptor (or what else
/// refers to it: a process, a mount, a descriptor elsewhere). All in it is off,
/// the loopback too.
pub fn create() -> Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            hako_sys::ns::unshare(hako_sys::clone::flags::NEWNET).map_err(Error::Namespace)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
                .map_err(Error::Namespace)
        });
        match thread.map_err(Error::Thread)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A socket of the route family in another namespace.
pub(crate) fn route_socket(netns: BorrowedFd<'_>) -> Result<Socket> {
    within(netns, Socket::route)
}

/// Switches on the loopback of a container that gets no other interface; the
/// kernel gives it 127.0.0.1 and ::1. [`attach`](crate::Networks::attach) does
/// it by itself.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    let mut batch = Batch::default();
    batch.up(LOOPBACK);
    route_socket(netns)?.run("switch on the loopback", batch)
}
