//! How root file systems are made here: chosen once per kernel by a trial,
//! remembered with the reason.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use hako_sys::clone::flags::NEWNS;
use hako_sys::id_map;
use hako_sys::ns::{FS, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, mkdirat, mknodat, openat, setxattr};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use serde::{Deserialize, Serialize};

use crate::dirs::{Dirs, place};
use crate::erofs;
use crate::error::{At, Error, Result};
use crate::overlay::{self, Overlay};
use crate::record;

/// A way to make a root file system of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Overlayfs over EROFS images whose files lie in the layers' tars, by root.
    Erofs,
    /// Overlayfs over directories, by root.
    Overlay,
    /// Overlayfs in a user namespace, whose own marks are `user.overlay.*`.
    OverlayUser,
    /// A copy of the files for each container.
    Plain,
}

impl Backend {
    /// `erofs`, `overlay`, `overlay-user` or `plain`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Erofs => "erofs",
            Backend::Overlay => "overlay",
            Backend::OverlayUser => "overlay-user",
            Backend::Plain => "plain",
        }
    }
}

/// A backend and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// Why, for `hako info`.
    pub reason: String,
    /// The kernel's release when it was chosen; another one is tried anew.
    pub kernel: String,
    /// Whether it was chosen for a user namespace.
    pub rootless: bool,
    /// Whether that user namespace has one id alone: then all files of all
    /// layers are its root's. Layers of the two kinds do not mix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_id: Option<bool>,
}

/// Whether this user namespace has one user id only, as for users without
/// subordinate ids (user_namespaces(7)).
pub(crate) fn single_id() -> Result<bool> {
    let path = Path::new("/proc/self/uid_map");
    let text = std::fs::read_to_string(path).at("read", path)?;
    Ok(id_map::count(&text) <= 1)
}

/// Refuses a store whose layers were unpacked with one id where there are many
/// now, or the other way round: owners would be wrong, or files out of reach.
fn same_ids(dirs: &Dirs, old: &Choice, single: bool) -> Result<()> {
    let changed = old.rootless && old.single_id.is_some_and(|was| was != single);
    if !changed {
        return Ok(());
    }
    for place in ["layers", "active"] {
        let place = dirs.root.join(place);
        let mut entries = std::fs::read_dir(&place).at("list", &place)?;
        if entries.next().is_some() {
            let path = dirs.root.clone();
            return Err(match single {
                true => Error::FewerIds { path },
                false => Error::MoreIds { path },
            });
        }
    }
    Ok(())
}

/// The remembered choice, or a new one.
pub(crate) fn choose(dirs: &Dirs, rootless: bool) -> Result<Choice> {
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let path = dirs.root.join("backend.json");
    let single = rootless && single_id()?;
    // An unreadable memory is no memory.
    if let Ok(Some(choice)) = record::read::<Choice>(&path) {
        if rootless {
            same_ids(dirs, &choice, single)?;
        }
        if choice.kernel == kernel
            && choice.rootless == rootless
            && choice.single_id == rootless.then_some(single)
        {
            return Ok(choice);
        }
    }
    let (backend, reason) = try_all(dirs, rootless)?;
    let choice = Choice {
        backend,
        reason,
        kernel,
        rootless,
        single_id: rootless.then_some(single),
    };
    let new = dirs.temporary("backend")?;
    let file = new.path.join("backend.json");
    record::write(&file, &choice)?;
    std::fs::rename(&file, &path).at("create", &path)?;
    Ok(choice)
}

/// The first that works, and why it is that one.
fn try_all(dirs: &Dirs, rootless: bool) -> Result<(Backend, String)> {
    let works = |what: &str| format!("a trial mount of overlayfs over {what} works");
    let mut directories = (Backend::OverlayUser, works("directories"));
    if !rootless {
        let why_not = match try_images(dirs)? {
            Ok(()) => return Ok((Backend::Erofs, works("EROFS images backed by files"))),
            Err(why) => why,
        };
        directories.0 = Backend::Overlay;
        directories.1 += &format!(", over EROFS images not: {why_not}");
    }
    Ok(match trial(dirs, rootless)? {
        Ok(()) => directories,
        Err(why) => (
            Backend::Plain,
            format!("overlayfs does not work here: {why}"),
        ),
    })
}

/// Makes and mounts two small images, and a detached overlay of them, and looks
/// whether what images rely on holds. The inner result is the verdict.
fn try_images(dirs: &Dirs) -> Result<Result<(), String>> {
    let tmp = dirs.temporary("trial")?;
    for (layer, members) in [
        ("low", ["seen", "gone", "opaque/hidden"].as_slice()),
        ("high", [".wh.gone", "opaque/.wh..wh..opq"].as_slice()),
    ] {
        let dir = tmp.path.join(layer);
        let tree = dir.join(erofs::TREE);
        std::fs::create_dir_all(&tree).at("create", &tree)?;
        let mut tar = hako_tar::Writer::new(Vec::new());
        for path in members {
            let entry = hako_tar::Entry::file(*path, 4);
            tar.append(&entry, b"text".as_slice()).at("write", &dir)?;
        }
        let tar = tar.finish().at("write", &dir)?;
        let index = erofs::index(&dir, tar.as_slice(), None)?;
        let index = index.map_err(|source| Error::Image {
            path: dir.clone(),
            source,
        })?;
        erofs::write(&dir, index)?;
    }
    for name in ["upper", "work", "spot"] {
        let path = tmp.path.join(name);
        std::fs::create_dir(&path).at("create", &path)?;
    }
    // In a mount namespace of its own, so that no mount is left behind however
    // this ends.
    let verdict = std::thread::scope(|scope| {
        let apart = || {
            unshare(NEWNS | FS).map_err(step("a mount namespace"))?;
            let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            mount_change("/", private).map_err(step("a private mount namespace"))?;
            verdict_on_images(&tmp.path)
        };
        let thread = scope.spawn(apart);
        thread
            .join()
            .unwrap_or_else(|_| Err("the trial has died".to_owned()))
    });
    Ok(verdict)
}

fn verdict_on_images(tmp: &Path) -> Result<(), String> {
    let layers = ["high", "low"].map(|name| tmp.join(name));
    // Attached, as those of containers are.
    let mount = |dir: &PathBuf| {
        erofs::mount(dir)
            .and_then(|mount| erofs::attach(&mount, dir))
            .map_err(|e| e.to_string())?;
        place(&dir.join(erofs::TREE)).map_err(|e| e.to_string())
    };
    let lower: Result<Vec<OwnedFd>, String> = layers.iter().map(mount).collect();
    verdict(tmp, lower?, false)
}

/// Mounts two small layers, detached, and looks whether what the layers' form
/// relies on holds. The inner result is the verdict.
fn trial(dirs: &Dirs, rootless: bool) -> Result<Result<(), String>> {
    let tmp = dirs.temporary("trial")?;
    for name in [
        "low",
        "low/opaque",
        "high",
        "high/opaque",
        "upper",
        "work",
        "spot",
    ] {
        let path = tmp.path.join(name);
        std::fs::create_dir(&path).at("create", &path)?;
    }
    for name in ["low/gone", "low/seen", "low/opaque/hidden"] {
        let path = tmp.path.join(name);
        std::fs::write(&path, name).at("write", &path)?;
    }
    Ok(verdict_on_directories(&tmp.path, rootless))
}

fn step(what: &'static str) -> impl Fn(Errno) -> String {
    move |e| format!("{what}: {}", std::io::Error::from(e))
}

fn verdict_on_directories(tmp: &Path, rootless: bool) -> Result<(), String> {
    let gone = tmp.join("high/gone");
    mknodat(CWD, &gone, FileType::CharacterDevice, Mode::empty(), 0).map_err(step("a whiteout"))?;
    let mark = if rootless {
        "user.overlay.opaque"
    } else {
        "trusted.overlay.opaque"
    };
    setxattr(tmp.join("high/opaque"), mark, b"y", XattrFlags::empty())
        .map_err(step("an opaque mark"))?;
    let open = |name: &str| place(&tmp.join(name)).map_err(|e| e.to_string());
    verdict(tmp, vec![open("high")?, open("low")?], rootless)
}

fn verdict(tmp: &Path, lower: Vec<OwnedFd>, rootless: bool) -> Result<(), String> {
    let open = |name: &str| place(&tmp.join(name)).map_err(|e| e.to_string());
    let overlay = Overlay {
        lower,
        upper: Some((open("upper")?, open("work")?)),
        userxattr: rootless,
        volatile: false,
        read_only: false,
    };
    let mount = overlay::mount(&overlay, &|| Ok(tmp.join("spot"))).map_err(|e| e.to_string())?;
    let look = |name: &str| {
        openat(
            mount.as_fd(),
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(drop)
    };
    look("seen").map_err(step("a lower file"))?;
    if look("gone").is_ok() || look("opaque/hidden").is_ok() {
        return Err("whiteouts do not hide".to_owned());
    }
    mkdirat(mount.as_fd(), "new", Mode::RWXU).map_err(step("a write"))?;
    if !tmp.join("upper/new").is_dir() {
        return Err("a write does not arrive in the upper directory".to_owned());
    }
    Ok(())
}
