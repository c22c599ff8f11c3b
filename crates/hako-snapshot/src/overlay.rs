//! Overlay mounts, detached from every path.
//!
//! Three ways, the first that the kernel has:
//! - each layer by descriptor (`FSCONFIG_SET_FD`, Linux 6.13);
//! - each layer by the path of its descriptor in `/proc/self/fd`
//!   (`lowerdir+`, Linux 6.8; a value may have 255 bytes, so a path in the
//!   store might not fit);
//! - mount(2) with all of them in one text of at most 4095 bytes, in the same
//!   short form, on a directory from which the mount is taken off again.
//!
//! `metacopy=off,redirect_dir=nofollow` keeps the upper directory a plain record
//! of what changed and takes no redirection from anybody (`off` would follow
//! some, and is refused with `userxattr`); `index=off` and `nfs_export=off` because layers are shared by
//! many mounts.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount as classic_mount, open_tree, unmount,
};

/// Most lower layers of an overlay (OVL_MAX_STACK in the kernel's
/// `fs/overlayfs/params.h`).
pub(crate) const MAX_LAYERS: usize = 500;

/// Options of mount(2) fit into one page.
const PAGE: usize = 4096;

const FIXED: [(&CStr, &CStr); 4] = [
    (c"metacopy", c"off"),
    (c"redirect_dir", c"nofollow"),
    (c"index", c"off"),
    (c"nfs_export", c"off"),
];

/// What to mount.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// Lower directories, the top one first; at least one, and two without an
    /// upper.
    pub(crate) lower: Vec<OwnedFd>,
    /// Upper and work directory.
    pub(crate) upper: Option<(OwnedFd, OwnedFd)>,
    /// Marks are `user.overlay.*`.
    pub(crate) userxattr: bool,
    /// Nothing is synced, and after a crash the upper directory is refused.
    pub(crate) volatile: bool,
    /// The mount is read-only.
    pub(crate) read_only: bool,
}

/// Why a mount failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: &'static str,
    /// The kernel's own words, if it had any.
    pub(crate) log: String,
    pub(crate) source: io::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.source)?;
        match self.log.as_str() {
            "" => Ok(()),
            log => write!(f, " ({log})"),
        }
    }
}

/// A way of telling the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Descriptors,
    Paths,
    Classic,
}

const WAYS: [Way; 3] = [Way::Descriptors, Way::Paths, Way::Classic];

/// Index into [`WAYS`] of the first that this kernel may have.
static KNOWN: AtomicU8 = AtomicU8::new(0);

/// Mounts, detached. `spot` makes an empty directory, which the last way needs.
pub(crate) fn mount(
    overlay: &Overlay,
    spot: &dyn Fn() -> io::Result<PathBuf>,
) -> Result<OwnedFd, Failed> {
    let first = KNOWN.load(Ordering::Relaxed);
    let mut last = failed("mount", Errno::NOSYS);
    for (number, way) in (0u8..).zip(WAYS).skip(usize::from(first)) {
        match with(overlay, way, spot) {
            Ok(mount) => {
                KNOWN.store(number, Ordering::Relaxed);
                return Ok(mount);
            }
            // This kernel does not know this way.
            Err(Attempt::Unsupported(failed)) => last = failed,
            Err(Attempt::Failed(failed)) => return Err(failed),
        }
    }
    Err(last)
}

enum Attempt {
    Unsupported(Failed),
    Failed(Failed),
}

pub(crate) fn failed(step: &'static str, errno: Errno) -> Failed {
    Failed {
        step,
        log: String::new(),
        source: errno.into(),
    }
}

/// Mounts in one way.
fn with(
    overlay: &Overlay,
    way: Way,
    spot: &dyn Fn() -> io::Result<PathBuf>,
) -> Result<OwnedFd, Attempt> {
    if way != Way::Classic {
        return configured(overlay, way);
    }
    let told = |source| Failed {
        step: "make a mount point",
        log: String::new(),
        source,
    };
    let spot = spot().map_err(|e| Attempt::Failed(told(e)))?;
    classic(overlay, &spot).map_err(Attempt::Failed)
}

fn configured(overlay: &Overlay, way: Way) -> Result<OwnedFd, Attempt> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(e @ Errno::NOSYS) => return Err(Attempt::Unsupported(failed("open", e))),
        Err(e) => return Err(Attempt::Failed(failed("open overlayfs", e))),
    };
    let told = |step: &'static str, e: Errno| Failed {
        step,
        log: log(&context),
        source: e.into(),
    };
    let layer = |key: &CStr, fd: BorrowedFd<'_>| {
        let set = match way {
            Way::Descriptors => fsconfig_set_fd(&context, key, fd),
            _ => fsconfig_set_string(&context, key, proc_path(fd)),
        };
        set.map_err(|e| {
            let failed = told("add a layer", e);
            // An unknown parameter, or an unknown type of a known one.
            match e {
                Errno::INVAL => Attempt::Unsupported(failed),
                _ => Attempt::Failed(failed),
            }
        })
    };
    for lower in &overlay.lower {
        layer(c"lowerdir+", lower.as_fd())?;
    }
    if let Some((upper, work)) = &overlay.upper {
        layer(c"upperdir", upper.as_fd())?;
        layer(c"workdir", work.as_fd())?;
    }
    let set = |e: Errno| Attempt::Failed(told("set an option", e));
    for (key, value) in FIXED {
        fsconfig_set_string(&context, key, value).map_err(set)?;
    }
    if overlay.userxattr {
        fsconfig_set_flag(&context, c"userxattr").map_err(set)?;
    }
    if overlay.volatile && overlay.upper.is_some() {
        fsconfig_set_flag(&context, c"volatile").map_err(set)?;
    }
    fsconfig_create(&context).map_err(|e| Attempt::Failed(told("create the overlay", e)))?;
    let attributes = match overlay.read_only {
        true => MountAttrFlags::MOUNT_ATTR_RDONLY,
        false => MountAttrFlags::empty(),
    };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| Attempt::Failed(told("mount the overlay", e)))
}

/// mount(2) on `spot`, and the mount taken off it again.
fn classic(overlay: &Overlay, spot: &Path) -> Result<OwnedFd, Failed> {
    let mut options = Vec::new();
    for (number, lower) in overlay.lower.iter().enumerate() {
        options.extend_from_slice(if number == 0 { b"lowerdir=" } else { b":" });
        options.extend_from_slice(proc_path(lower.as_fd()).as_bytes());
    }
    let mut add = |key: &str, value: &[u8]| {
        options.push(b',');
        options.extend_from_slice(key.as_bytes());
        options.extend_from_slice(value);
    };
    if let Some((upper, work)) = &overlay.upper {
        add("upperdir=", proc_path(upper.as_fd()).as_bytes());
        add("workdir=", proc_path(work.as_fd()).as_bytes());
    }
    for (key, value) in FIXED {
        add(&format!("{}=", key.to_string_lossy()), value.to_bytes());
    }
    if overlay.userxattr {
        add("userxattr", b"");
    }
    if overlay.volatile && overlay.upper.is_some() {
        add("volatile", b"");
    }
    if options.len() >= PAGE {
        return Err(failed(
            "write the options, which are longer than 4095 bytes",
            Errno::TOOBIG,
        ));
    }
    let options = CString::new(options).map_err(|_| failed("write the options", Errno::INVAL))?;
    let flags = if overlay.read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    classic_mount("overlay", spot, "overlay", flags, options.as_c_str())
        .map_err(|e| failed("mount the overlay", e))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, spot, flags).map_err(|e| failed("take the overlay", e));
    // The clone keeps it alive.
    unmount(spot, UnmountFlags::DETACH).map_err(|e| failed("detach the overlay", e))?;
    tree
}

/// A short path of an open directory, without characters to escape.
fn proc_path(fd: BorrowedFd<'_>) -> CString {
    // Digits hold no NUL.
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// What the kernel wrote about a mount that failed: lines such as
/// `e overlay: …`, one a read (Documentation/filesystems/mount_api.rst).
pub(crate) fn log(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(n) = rustix::io::read(context, &mut buffer) {
        let line = buffer.get(..n).unwrap_or_default();
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        lines.push(text.get(2..).unwrap_or(text).to_owned());
        if n == 0 || lines.len() == 8 {
            break;
        }
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::place;
    use rustix::fs::{Mode, OFlags, openat};

    /// Runs in a thread with a mount namespace of its own. Needs root.
    fn apart(work: impl FnOnce() + Send + 'static) {
        std::thread::spawn(move || {
            use rustix::mount::{MountPropagationFlags, mount_change};
            hako_sys::ns::unshare(hako_sys::ns::FS | hako_sys::clone::flags::NEWNS)
                .expect("this test needs root");
            let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            mount_change("/", private).unwrap();
            work();
        })
        .join()
        .unwrap();
    }

    fn layers(dir: &Path, count: usize) -> Vec<OwnedFd> {
        let lower = (0..count).map(|n| {
            let layer = dir.join(format!("layer,with:odd\\name-{n}"));
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join(format!("f{n}")), n.to_string()).unwrap();
            std::fs::write(layer.join("top"), n.to_string()).unwrap();
            place(&layer).unwrap()
        });
        lower.collect::<Vec<_>>().into_iter().rev().collect()
    }

    fn read(mount: &OwnedFd, name: &str) -> String {
        let file = openat(mount, name, OFlags::RDONLY, Mode::empty()).unwrap();
        std::io::read_to_string(std::fs::File::from(file)).unwrap()
    }

    #[test]
    fn every_way_mounts_128_layers() {
        for way in WAYS {
            apart(move || {
                let dir = tempfile::tempdir().unwrap();
                let lower = layers(dir.path(), 128);
                for name in ["upper", "work", "spot"] {
                    std::fs::create_dir(dir.path().join(name)).unwrap();
                }
                let open = |name| place(&dir.path().join(name)).unwrap();
                let overlay = Overlay {
                    lower,
                    upper: Some((open("upper"), open("work"))),
                    userxattr: false,
                    volatile: true,
                    read_only: false,
                };
                let spot = dir.path().join("spot");
                let mount = match with(&overlay, way, &|| Ok(spot.clone())) {
                    Ok(mount) => mount,
                    Err(Attempt::Failed(e) | Attempt::Unsupported(e)) => panic!("{way:?}: {e:?}"),
                };
                assert_eq!(
                    (read(&mount, "top").as_str(), read(&mount, "f0").as_str()),
                    ("127", "0")
                );
                assert_eq!(
                    std::fs::read_dir(&spot).unwrap().count(),
                    0,
                    "nothing stays on the spot"
                );
            });
        }
    }

    #[test]
    fn the_kernel_tells_why() {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("this test needs root");
        fsconfig_set_string(&context, c"nonsense", c"1").unwrap_err();
        let log = log(&context);
        assert!(
            log.contains("nonsense") && !log.starts_with("e "),
            "{log:?}"
        );
    }

    #[test]
    fn one_lower_layer_alone_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lower = layers(dir.path(), 1);
        let overlay = Overlay {
            lower,
            upper: None,
            userxattr: false,
            volatile: false,
            read_only: true,
        };
        let none = || unreachable!("this kernel has other ways");
        let error = mount(&overlay, &none).unwrap_err();
        assert_eq!(error.step, "create the overlay");
    }
}
