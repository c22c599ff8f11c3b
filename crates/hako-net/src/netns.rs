//! Network namespaces: how to work in one without living there.
//!
//! A netlink socket belongs to the namespace that its maker was in. So one
//! short-lived thread enters the container's namespace, opens a socket and hands
//! it back: no thread of the program ever stays in a foreign namespace, and no
//! helper process is needed.

use crate::error::{Error, Result};
use crate::lease::file;
use crate::netlink::Socket;
use crate::netlink::build::Batch;
use crate::route::LOOPBACK;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

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

/// The IPv4 addresses of a namespace that are not its loopback's, in the
/// kernel's order: what pasta gave a container.
pub fn addresses(netns: BorrowedFd<'_>) -> Result<Vec<Ipv4Addr>> {
    let found = crate::route::addresses(&mut route_socket(netns)?)?;
    Ok(found
        .into_iter()
        .filter(|(destination, _)| destination.link != LOOPBACK)
        .map(|(_, address)| address)
        .collect())
}

/// Binds a network namespace to a new file in the calling thread's mount
/// namespace: it lives on with no process in it, and can be opened by its path.
///
/// The file is 0600 of the caller's. Fails with `EEXIST` when there is one.
pub fn pin(netns: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let failed = |source| file("bind a network namespace to", path, source);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
    rustix::mount::mount_bind(source, path).map_err(|source| {
        let _ = rustix::fs::unlink(path);
        failed(source)
    })
}

/// Undoes [`pin`]; a path that is not there is well. The namespace goes when
/// nothing else holds it.
pub fn unpin(path: &Path) -> Result<()> {
    let failed = |source| file("unbind the network namespace at", path, source);
    // DETACH: who has the path open (pasta) shall not keep us from it. EINVAL:
    // the file is there and nothing is bound to it.
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(path, flags) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(source) => return Err(failed(source)),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
