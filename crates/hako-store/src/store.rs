//! The store itself: one directory, opened by every command, so opening it
//! costs a handful of system calls and no SQLite.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::blobs::Blobs;
use crate::database::Database;
use crate::error::{At, Result};
use crate::events::Events;
use crate::images::Images;
use crate::lease::Leases;
use crate::names::Names;
use crate::settings::Settings;
use crate::{layout, netfs, schema};

/// An open store. Cloning is cheap and gives the same store; it can be shared
/// by threads.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    database: Database,
    /// Something may have been written that no power loss should take.
    unsynced: AtomicBool,
}

impl Store {
    /// Opens the store at `root`, making it (mode 0700) when there is nothing.
    ///
    /// Errors: [`crate::Error::LayoutNewer`] for the store of a newer major
    /// version, [`crate::Error::NotAStore`] for a directory that holds other
    /// things, [`crate::Error::NetworkFileSystem`], and I/O errors.
    pub fn open(root: &Path) -> Result<Store> {
        let root = std::path::absolute(root).at("name", root)?;
        layout::prepare(&root)?;
        netfs::refuse(&root)?;
        let database = Database::new(root.join("meta.db"));
        Ok(Store {
            inner: Arc::new(Inner {
                root,
                database,
                unsynced: AtomicBool::new(true),
            }),
        })
    }

    /// The store's directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The path of `name` below the store's directory.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.inner.root.join(name)
    }

    /// The database, for crates that keep tables of their own in it (see
    /// [`Database::migrate`]).
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The database with this crate's tables in it.
    pub(crate) fn tables(&self) -> Result<&Database> {
        self.inner.database.migrate("store", schema::STEPS)?;
        Ok(&self.inner.database)
    }

    /// Content by digest.
    #[must_use]
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::new(self)
    }

    /// Names of images, each with an owner.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        Names::new(self)
    }

    /// Images by id.
    #[must_use]
    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    /// What keeps content alive beside names.
    #[must_use]
    pub fn leases(&self) -> Leases<'_> {
        Leases::new(self)
    }

    /// The event log.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.path("events"))
    }

    /// Settings that belong to the store rather than to a command.
    #[must_use]
    pub fn settings(&self) -> Settings<'_> {
        Settings::new(self)
    }

    /// Brings everything written so far onto the disk: one syncfs(2).
    ///
    /// This is the store's durability policy. Blobs and layers appear by
    /// rename without a sync of their own, so a pull runs at the disk's speed
    /// and pays once; [`Names::set`] calls this before a name appears, unless
    /// nothing was written or found since the last call in this process. A
    /// name thus never outlives its content, and a power loss during a pull
    /// loses that pull only.
    ///
    /// Errors: those of syncfs(2), such as `EIO` and `ENOSPC` of an earlier
    /// delayed write.
    pub fn sync(&self) -> Result<()> {
        self.inner.unsynced.store(false, Ordering::SeqCst);
        let synced = rustix::fs::open(
            &self.inner.root,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .and_then(|dir| rustix::fs::syncfs(&dir))
        .at("sync", &self.inner.root);
        if synced.is_err() {
            self.touch();
        }
        synced
    }

    /// [`Store::sync`] unless nothing happened since the last one.
    pub(crate) fn sync_if_needed(&self) -> Result<()> {
        if self.inner.unsynced.load(Ordering::SeqCst) {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Notes that something was written to the store (or that another process
    /// may have) which the next name depends on.
    pub fn touch(&self) {
        self.inner.unsynced.store(true, Ordering::SeqCst);
    }
}
