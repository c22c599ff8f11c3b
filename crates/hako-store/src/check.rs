//! Is the store as it should be? For `hako system check`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;

use crate::error::{At, Db, Error, Result};
use crate::images;
use crate::lock::{self, Wait};
use crate::names::{Filter, descriptor_at};
use crate::store::Store;

/// How thorough a check is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Read every blob and compare its digest.
    pub deep: bool,
    /// Remove strays: files that no command would ever look at.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// SQLite's own check of `meta.db` says this.
    Database(String),
    /// A name, image or lease needs a blob that is not there.
    Missing {
        /// Who needs it.
        needed_by: String,
        /// The blob.
        digest: Digest,
    },
    /// A blob has another size than those who need it say.
    Size {
        /// The blob.
        digest: Digest,
        /// The size promised, in bytes.
        expected: u64,
        /// The file's size.
        actual: u64,
    },
    /// A blob's content is not what its name says (deep check).
    Content {
        /// The blob.
        digest: Digest,
        /// What reading it gave.
        why: String,
    },
    /// A file that is not the store's, or that a killed command left.
    Stray {
        /// The file.
        path: PathBuf,
        /// Whether the check removed it.
        removed: bool,
    },
    /// A directory of another crate has a problem.
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Database(text) => write!(f, "database: {text}"),
            Problem::Missing { needed_by, digest } => {
                write!(
                    f,
                    "{needed_by} needs blob {digest}, which is not in the store"
                )
            }
            Problem::Size {
                digest,
                expected,
                actual,
            } => {
                write!(f, "blob {digest} has {actual} bytes instead of {expected}")
            }
            Problem::Content { digest, why } => write!(f, "blob {digest}: {why}"),
            Problem::Stray { path, removed } => {
                let done = if *removed { " (removed)" } else { "" };
                write!(f, "stray {}{done}", path.display())
            }
            Problem::Other(text) => f.write_str(text),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong; strays that were removed are listed too.
    pub problems: Vec<Problem>,
    /// Blobs looked at.
    pub blobs: usize,
    /// Names looked at.
    pub names: usize,
    /// Unfinished downloads, which are no problem.
    pub unfinished: usize,
}

impl Report {
    /// Whether nothing is wrong, or nothing any more.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems
            .iter()
            .all(|p| matches!(p, Problem::Stray { removed: true, .. }))
    }
}

impl Store {
    /// Compares the database with the files.
    ///
    /// Errors: when the check itself cannot be made.
    pub fn check(&self, options: Options) -> Result<Report> {
        let mut report = Report::default();
        let lock = self.path("gc.lock");
        let _lock = lock::file(&lock, Wait::Forever).at("lock", &lock)?;
        report
            .problems
            .extend(self.tables()?.check()?.into_iter().map(Problem::Database));
        if options.repair {
            self.leases().reap()?;
        }
        self.check_names(&mut report)?;
        self.check_images(&mut report)?;
        self.check_files(options, &mut report)?;
        Ok(report)
    }

    fn expect(&self, needed_by: &str, target: &Descriptor, report: &mut Report) -> Result<()> {
        let digest = target.digest.clone();
        match self.blobs().size(&digest)? {
            None => {
                report.problems.push(Problem::Missing {
                    needed_by: needed_by.to_owned(),
                    digest,
                });
            }
            Some(actual) if actual != target.size => {
                let expected = target.size;
                report.problems.push(Problem::Size {
                    digest,
                    expected,
                    actual,
                });
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn check_names(&self, report: &mut Report) -> Result<()> {
        let names = self.names().list(&Filter::default())?;
        report.names = names.len();
        for name in names {
            let who = format!("{} of {}", name.reference, name.owner);
            self.expect(&who, &name.target, report)?;
            if let Ok(links) = crate::links::collect(self, &name.target) {
                let ours = self.images().below(&name.target.digest)?;
                for image in ours {
                    // The way from the name to each image must be there.
                    if !links.iter().any(|(_, child)| *child == image.id) {
                        let needed_by = who.clone();
                        report.problems.push(Problem::Missing {
                            needed_by,
                            digest: image.id,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_images(&self, report: &mut Report) -> Result<()> {
        let found = self.tables()?.read(|conn| {
            let mut all = Vec::new();
            for id in images::ids(conn, "SELECT id FROM images", [])? {
                let mut statement = conn
                    .prepare_cached("SELECT descriptor FROM manifests WHERE image = ?1")
                    .db("query of images")?;
                let rows = statement
                    .query_map([id.as_str()], |row| descriptor_at(row, 0))
                    .db("query of images")?;
                let manifests: Vec<Descriptor> =
                    rows.collect::<Result<_, _>>().db("query of images")?;
                all.push((id, manifests));
            }
            Ok::<_, Error>(all)
        })?;
        for (id, manifests) in found {
            let who = format!("image {}", id.short());
            if !self.blobs().contains(&id)? {
                report.problems.push(Problem::Missing {
                    needed_by: who.clone(),
                    digest: id,
                });
            }
            for manifest in manifests {
                self.expect(&who, &manifest, report)?;
            }
        }
        Ok(())
    }

    fn check_files(&self, options: Options, report: &mut Report) -> Result<()> {
        let mut blobs = BTreeSet::new();
        let mut strays = Vec::new();
        self.blobs().walk(&mut |digest, path, _| match digest {
            Some(digest) => {
                blobs.insert(digest);
            }
            None => strays.push(path),
        })?;
        report.blobs = blobs.len();
        if options.deep {
            for digest in blobs {
                let read = match self.blobs().open(&digest) {
                    Ok(mut reader) => reader.drain().map_err(|e| e.to_string()),
                    // A collection or a user took it meanwhile.
                    Err(Error::BlobUnknown(_)) => Ok(()),
                    Err(e) => Err(e.to_string()),
                };
                if let Err(why) = read {
                    report.problems.push(Problem::Content { digest, why });
                }
            }
        }
        for (path, name) in self.unfinished()? {
            let known = name.starts_with("new-")
                || name
                    .split_once('-')
                    .is_some_and(|(a, hex)| format!("{a}:{hex}").parse::<Digest>().is_ok());
            let live = match lock::existing_file(&path, Wait::No) {
                Ok(Some(_)) => false,
                Ok(None) => true,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(_) => false,
            };
            if live || (known && !name.starts_with("new-")) {
                report.unfinished += 1;
            } else {
                strays.push(path);
            }
        }
        let trash = self.path("trash");
        for entry in std::fs::read_dir(&trash).at("list", &trash)? {
            strays.push(entry.at("list", &trash)?.path());
        }
        for path in strays {
            let removed = options.repair && std::fs::remove_file(&path).is_ok();
            report.problems.push(Problem::Stray { path, removed });
        }
        Ok(())
    }
}
