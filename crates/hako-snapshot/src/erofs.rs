//! Layers that are not unpacked: the layer's own tar as one file, and an EROFS
//! image of its names and attributes over it ([`hako_erofs`]).
//!
//! An image is mounted on the layer's directory `fs` where that is, once for all
//! containers, so that they share its page cache, and stays mounted until the
//! garbage collection finds it unused: [`Snapshotter::provide`]. A root file
//! system holds the file systems of its layers by itself, so a mount that goes
//! too early costs others the sharing and nothing else.

use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hako_erofs::{Image, Index, Lower};
use hako_layer::Applied;
use hako_store::lock::{self, Wait};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use crate::error::{At, Error, Result};
use crate::key::LayerKey;
use crate::layers::Snapshotter;
use crate::overlay::{Failed, failed, log};

/// Name of the image in a layer's directory.
const IMAGE: &str = "image.erofs";
/// Name of the file that the image's files lie in: the tar, and a little more.
const DATA: &str = "data";
/// Name of the directory that shows the tree.
pub(crate) const TREE: &str = "fs";
/// The longest value of a mount option (fsconfig(2)).
const MAX_VALUE: usize = 255;

/// Whether the layer in `dir` is an image, and not a directory of files.
pub(crate) fn is_image(dir: &Path) -> bool {
    dir.join(IMAGE).exists()
}

/// A layer below, opened.
#[derive(Debug)]
pub(crate) struct Below {
    image: Image<File>,
    data: File,
}

impl Below {
    /// The image of the layer in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let open = |name| {
            let path = dir.join(name);
            File::open(&path).at("open", &path)
        };
        let image = Image::open(open(IMAGE)?).map_err(|source| Error::Image {
            path: dir.join(IMAGE),
            source,
        })?;
        let data = open(DATA)?;
        Ok(Below { image, data })
    }

    /// Whether all the data is there that the image needs.
    pub(crate) fn is_whole(&self) -> std::io::Result<bool> {
        Ok(self.data.metadata()?.len() >= self.image.data_len())
    }

    /// As the index of the layer above wants it.
    pub(crate) fn lower(&self) -> Lower<'_> {
        Lower {
            image: &self.image,
            data: &self.data,
        }
    }
}

/// Reads `tar` into the data of the layer in `dir`.
pub(crate) fn index<'a>(
    dir: &Path,
    tar: impl Read,
    lower: Option<&'a [Lower<'a>]>,
) -> Result<Result<Index<'a>, hako_erofs::Error>> {
    let path = dir.join(DATA);
    let data = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .at("create", &path)?;
    let options = hako_erofs::Options {
        lower,
        ..hako_erofs::Options::default()
    };
    Ok(Index::new(tar, &data, &options))
}

/// Writes the image of the layer in `dir`.
pub(crate) fn write(dir: &Path, index: Index<'_>) -> Result<Applied> {
    let path = dir.join(IMAGE);
    let file = File::create_new(&path).at("create", &path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let applied = index.write(&mut out).map_err(|source| Error::Image {
        path: path.clone(),
        source,
    })?;
    out.flush().at("write", &path)?;
    Ok(applied)
}

/// Mounts the image of the layer in `dir`, detached.
///
/// Files are read past the page cache of the data's file (`directio`) where the
/// kernel and the store's file system can do that: or each page would be in
/// memory twice.
pub(crate) fn mount(dir: &Path) -> Result<OwnedFd, Failed> {
    mount_with(dir, true).or_else(|_| mount_with(dir, false))
}

fn mount_with(dir: &Path, direct: bool) -> Result<OwnedFd, Failed> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| failed("open the file system EROFS", e))?;
    let told = |step: &'static str| {
        let context = &context;
        move |e: Errno| Failed {
            step,
            log: log(context),
            source: e.into(),
        }
    };
    // The kernel opens what is named when the file system is created.
    let mut open = Vec::new();
    let mut set = |key: &str, name: &str| {
        let path = dir.join(name);
        if path.as_os_str().len() <= MAX_VALUE {
            return fsconfig_set_string(&context, key, path.as_os_str().as_bytes());
        }
        let file = File::open(&path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        let short = format!("/proc/self/fd/{}", file.as_raw_fd());
        open.push(file);
        fsconfig_set_string(&context, key, short)
    };
    set("source", IMAGE).map_err(told("name the image"))?;
    set("device", DATA).map_err(told("name the image's data"))?;
    fsconfig_set_flag(&context, "ro").map_err(told("set an option"))?;
    if direct {
        fsconfig_set_flag(&context, "directio").map_err(told("read past the cache"))?;
    }
    fsconfig_create(&context).map_err(told("create the file system"))?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    fsmount(&context, flags, MountAttrFlags::MOUNT_ATTR_RDONLY).map_err(told("mount the image"))
}

/// Puts the mount where the layer in `dir` is seen.
pub(crate) fn attach(mount: &OwnedFd, dir: &Path) -> Result<(), Failed> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, dir.join(TREE), flags).map_err(|e| failed("attach the image", e))
}

/// Whether a mount begins at the directory `path`.
fn is_mounted(path: &Path) -> Result<bool> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(CWD, path, flags, StatxFlags::TYPE).at("examine", path)?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Takes the mount of the layer in `dir` away, if there is one.
pub(crate) fn detach(dir: &Path) {
    // Nothing else is ever mounted there; to whom it may not be granted, it
    // was not mounted by.
    let _ = unmount(
        dir.join(TREE),
        UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
    );
}

impl Snapshotter {
    /// Takes the mount of a layer's image in this mount namespace away, if there
    /// is one; containers that have the layer keep it.
    ///
    /// Errors: I/O errors.
    pub fn withdraw(&self, key: &LayerKey) -> Result<()> {
        let dir = self.dirs.layer(key);
        if is_mounted(&dir.join(TREE))? {
            detach(&dir);
        }
        Ok(())
    }

    /// Mounts the images of `layers` in this mount namespace, where they are
    /// not. [`Snapshotter::mount`] does it as well; whoever makes a mount
    /// namespace for a container does it before, so that the next container
    /// finds them.
    ///
    /// Errors: [`Error::MountLayer`], and I/O errors.
    pub fn provide(&self, layers: &[LayerKey]) -> Result<()> {
        for key in layers {
            let dir = self.dirs.layer(key);
            let tree = dir.join(TREE);
            if is_mounted(&tree)? || !is_image(&dir) {
                continue;
            }
            // Several may want it at once.
            let _lock = lock::directory(&dir, false, Wait::Forever).at("lock", &dir)?;
            if is_mounted(&tree)? {
                continue;
            }
            let refused = |failed: Failed| Error::MountLayer {
                layer: key.to_string(),
                step: failed.step,
                log: failed.log,
                source: failed.source,
            };
            mount(&dir)
                .and_then(|mount| attach(&mount, &dir))
                .map_err(refused)?;
        }
        Ok(())
    }
}
