//! Where a puller keeps its store: a file system made anew for each pull.
//!
//! An emptied directory would not do. ext4 does not use an inode again for a
//! minute after its file was removed, and looks at each such inode for every
//! file that it makes: whoever comes after a large removal pays for it, up to
//! ten times the work of making the files.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};

use crate::command::output;

/// Bytes of the file system: more than any puller makes of the largest image.
const SIZE: u64 = 4 << 30;

/// The place of all stores: below it are the mounts of one after the other,
/// also where it is mounted a second time. For a mount namespace that nobody
/// shares.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf> {
    let place = dir.join("stores");
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    mount_bind(&place, &place).with_context(|| format!("mount {}", place.display()))?;
    mount_change(&place, MountPropagationFlags::SHARED)?;
    Ok(place)
}

/// An empty file system; dropping it unmounts it and what is mounted there.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) path: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("warning: {error:#}");
        }
    }
}

impl Store {
    /// On `place`, from the file `store.img` in `dir`.
    pub(super) fn make(dir: &Path, place: &Path) -> Result<Store> {
        let image = dir.join("store.img");
        if !image.exists() {
            fill(&image).with_context(|| image.display().to_string())?;
        }
        let options = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
        output(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", options])
                .arg(&image),
        )?;
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on"]);
        let device = output(losetup.arg(&image)).context("get a loop device")?;
        let device = device.trim();
        let path = place.join("store");
        fs::create_dir_all(&path)?;
        // Nothing of the kernel's works in the background of a measurement.
        let mounted = mount(
            device,
            &path,
            "ext4",
            MountFlags::empty(),
            Some(c"noinit_itable"),
        );
        // From now on the mount alone holds the device.
        output(Command::new("losetup").arg("--detach").arg(device))?;
        mounted.with_context(|| format!("mount {device} on {}", path.display()))?;
        Ok(Store { path })
    }

    fn clear(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        for at in below(&mounts, &self.path).iter().rev() {
            let flags = match *at == self.path {
                // The file is made a file system again: nobody may have this one.
                true => UnmountFlags::empty(),
                false => UnmountFlags::DETACH,
            };
            let begun = Instant::now();
            while let Err(error) = unmount(at, flags) {
                if error != Errno::BUSY || begun.elapsed() > Duration::from_secs(10) {
                    return Err(error).with_context(|| format!("unmount {}", at.display()));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// Makes the file, without holes: the first puller would have to fill them.
fn fill(image: &Path) -> std::io::Result<()> {
    let new = image.with_extension("new");
    let mut zeros = std::io::repeat(0).take(SIZE);
    std::io::copy(&mut zeros, &mut File::create(&new)?)?;
    fs::rename(new, image)
}

/// The mount points at or below `dir`, the oldest first, as mountinfo has them.
fn below(mounts: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_directory() {
        let mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 / /w/store/a rw - overlay b rw\n\
                      3 1 8:1 / /w/store2 rw - overlay b rw\n";
        assert_eq!(
            below(mounts, Path::new("/w/store")),
            [Path::new("/w/store/a")]
        );
    }
}
