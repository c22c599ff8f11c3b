//! Mounts that nobody else sees and that go with the thread.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount,
};

/// Runs `work` in a thread with a mount namespace of its own.
pub(crate) fn isolated<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let flags = hako_sys::ns::FS | hako_sys::clone::flags::NEWNS;
            hako_sys::ns::unshare(flags).expect("this test needs root");
            let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            mount_change("/", private).unwrap();
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn attach(context: &OwnedFd, target: &Path) {
    fsconfig_create(context)
        .unwrap_or_else(|e| panic!("{}: {e}: {}", target.display(), log(context)));
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(context, flags, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap();
    std::fs::create_dir_all(target).unwrap();
    move_mount(
        &mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .unwrap();
}

/// What the kernel says about a refused mount.
fn log(context: &OwnedFd) -> String {
    let mut text = [0; 4096];
    let n = rustix::io::read(context, &mut text).unwrap_or(0);
    String::from_utf8_lossy(&text[..n]).into_owned()
}

/// Mounts an image over its data.
pub(crate) fn erofs(image: &Path, data: &Path, target: &Path) {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).expect("this test needs EROFS");
    fsconfig_set_string(&context, "source", image).unwrap();
    fsconfig_set_string(&context, "device", data).unwrap();
    fsconfig_set_flag(&context, "ro").unwrap();
    attach(&context, target);
}

/// Mounts an overlay of the layers, the lowest first.
pub(crate) fn overlay(layers: &[PathBuf], target: &Path) {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for layer in layers.iter().rev() {
        fsconfig_set_string(&context, "lowerdir+", layer).unwrap();
    }
    let none = target.with_extension("none");
    std::fs::create_dir_all(&none).unwrap();
    fsconfig_set_string(&context, "lowerdir+", &none).unwrap();
    for (key, value) in [("redirect_dir", "off"), ("metacopy", "off")] {
        fsconfig_set_string(&context, key, value).unwrap();
    }
    attach(&context, target);
}
