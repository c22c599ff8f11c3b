//! The files that a container gets from the engine: `/etc/hosts`,
//! `/etc/hostname`, `/etc/resolv.conf`; and its volumes.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hako_net::hosts::{Extra, Hosts};
use hako_net::resolv::{self, Reach, Resolv, Wanted};
use hako_spec::runtime::Mount;
use hako_store::random;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::engine::Engine;
use crate::error::{At, Result};
use crate::options::{NetworkMode, VolumeSource};
use crate::record::Record;
use crate::spec::{bind, hostname};

/// Writes the three files into `dir`. Called again when the address is known:
/// the files keep their inodes, which are mounted in the container.
pub(crate) fn write(
    dir: &Path,
    record: &Record,
    mode: &NetworkMode,
    address: Option<IpAddr>,
) -> Result<()> {
    let name = hostname(record);
    let put = |file: &str, text: &str| {
        let path = dir.join(file);
        std::fs::write(&path, text).at("write", &path)
    };
    put("hostname", &hako_net::hosts::hostname(&name)?)?;
    let base = match mode {
        NetworkMode::Host => std::fs::read_to_string("/etc/hosts").ok(),
        _ => None,
    };
    let extra: Vec<Extra> = record
        .options
        .add_host
        .iter()
        .map(|(name, address)| Extra {
            name: name.clone(),
            address: *address,
        })
        .collect();
    let addresses: Vec<IpAddr> = address.into_iter().collect();
    let hosts = Hosts {
        hostname: &name,
        aliases: std::slice::from_ref(&record.name),
        addresses: &addresses,
        extra: &extra,
        base: base.as_deref(),
    };
    put("hosts", &hako_net::hosts::hosts(&hosts)?)?;
    if address.is_none() {
        put("resolv.conf", &resolver(record, mode)?.to_string())?;
    }
    Ok(())
}

fn resolver(record: &Record, mode: &NetworkMode) -> Result<Resolv> {
    let reach = match mode {
        NetworkMode::Host => Reach::Host,
        NetworkMode::None => Reach::Nothing,
        NetworkMode::Pasta => Reach::Pasta,
        NetworkMode::Bridge | NetworkMode::Default => Reach::Bridge,
    };
    let options = &record.options;
    let wanted = Wanted {
        nameservers: options.dns.clone(),
        search: options.dns_search.clone(),
        options: options.dns_options.clone(),
    };
    let host = Resolv::read(resolv::HOST).unwrap_or_default();
    let upstream = Resolv::read(resolv::UPSTREAM);
    Ok(resolv::choose(&host, upstream.as_ref(), reach, &wanted)?.resolv)
}

impl Engine {
    /// The mounts of a container's volumes. Volumes that are new get what the
    /// image has at their place. `root` is the mounted root file system.
    pub(crate) fn volumes(&self, record: &Record, root: &OwnedFd) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for volume in &record.options.volumes {
            let source = match &volume.source {
                VolumeSource::Path(path) => {
                    make_source(path)?;
                    PathBuf::from(path)
                }
                VolumeSource::Named(name) => {
                    let dir = self.store.path("volumes").join(name);
                    self.volume(&dir, &volume.target, root)?
                }
                VolumeSource::Anonymous => self.own_volume(record, &volume.target, root)?,
            };
            let source = source.to_string_lossy();
            let mut options = volume.options.clone();
            let has = |options: &[String], words: &[&str]| {
                options.iter().any(|o| words.contains(&o.as_str()))
            };
            if !has(&options, &["bind", "rbind"]) {
                options.push("rbind".to_owned());
            }
            if !has(&options, &["private", "rprivate", "slave", "rslave"]) {
                options.push("rprivate".to_owned());
            }
            let words: Vec<&str> = options.iter().map(String::as_str).collect();
            mounts.push(bind(&source, &volume.target, &words));
        }
        for target in &record.image_volumes {
            let clean = target.trim_end_matches('/');
            if record
                .options
                .volumes
                .iter()
                .any(|v| v.target.trim_end_matches('/') == clean)
                || !target.starts_with('/')
            {
                continue;
            }
            let source = self.own_volume(record, target, root)?;
            mounts.push(bind(
                &source.to_string_lossy(),
                target,
                &["rbind", "rprivate"],
            ));
        }
        Ok(mounts)
    }

    /// A volume that goes with its container.
    fn own_volume(&self, record: &Record, target: &str, root: &OwnedFd) -> Result<PathBuf> {
        let name: String = target
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    b as char
                } else {
                    '-'
                }
            })
            .collect();
        let digest = hash(target);
        let dir = self
            .dir(&record.id)
            .join("volumes")
            .join(format!("{name}.{digest:016x}"));
        self.volume(&dir, target, root)
    }

    /// The directory of a volume; a new one appears with its contents or not
    /// at all.
    fn volume(&self, dir: &Path, target: &str, root: &OwnedFd) -> Result<PathBuf> {
        if dir.is_dir() {
            return Ok(dir.to_path_buf());
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).at("create", parent)?;
        let aside = parent.join(format!(
            ".new.{}",
            random::name().at("name a volume in", parent)?
        ));
        std::fs::create_dir(&aside).at("create", &aside)?;
        let copied = copy_up(root, target, &aside);
        if let Err(e) = copied {
            let _ = std::fs::remove_dir_all(&aside);
            return Err(e);
        }
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            &aside,
            rustix::fs::CWD,
            dir,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            // Another container made it at the same moment.
            Err(Errno::EXIST) => {
                std::fs::remove_dir_all(&aside).at("remove", &aside)?;
            }
            other => other.at("create", dir)?,
        }
        Ok(dir.to_path_buf())
    }
}

/// A small stable hash, for directory names (FNV-1a).
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// As Docker's `-v`: a missing directory of the host is made.
fn make_source(path: &str) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path).at("create the volume's source", path)
        }
        _ => Ok(()),
    }
}

/// Copies the image's directory `target`, with owners and modes, into `to`.
fn copy_up(root: &OwnedFd, target: &str, to: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match rustix::fs::openat2(root.as_fd(), target, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.at("open the image's", target)?,
    };
    let to = rustix::fs::open(to, flags, Mode::empty()).at("open", to)?;
    copy_tree(&from, &to, 0).at("copy the image's", target)
}

fn copy_tree(from: &OwnedFd, to: &OwnedFd, depth: u32) -> std::io::Result<()> {
    if depth > 200 {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in rustix::fs::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let meta = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(meta.st_mode & 0o7777);
        let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(meta.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let a = rustix::fs::openat(from, name, dir, Mode::empty())?;
                let b = rustix::fs::openat(to, name, dir, Mode::empty())?;
                copy_tree(&a, &b, depth + 1)?;
                continue;
            }
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let a = rustix::fs::openat(from, name, read, Mode::empty())?;
                let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let b = rustix::fs::openat(to, name, write, Mode::RWXU)?;
                std::io::copy(
                    &mut std::fs::File::from(a),
                    &mut std::fs::File::from(b.try_clone()?),
                )?;
                own(&b, &meta)?;
                rustix::fs::fchmod(&b, mode)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(link, to, name)?;
                let (uid, gid) = (Uid::from_raw(meta.st_uid), Gid::from_raw(meta.st_gid));
                rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            kind => rustix::fs::mknodat(to, name, kind, mode, meta.st_rdev)?,
        }
    }
    let meta = rustix::fs::fstat(from)?;
    own(to, &meta)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(meta.st_mode & 0o7777))?;
    Ok(())
}

fn own(fd: &OwnedFd, meta: &rustix::fs::Stat) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.st_uid), Gid::from_raw(meta.st_gid));
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}
