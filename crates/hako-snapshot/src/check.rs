//! The layers' and snapshots' part in `hako system check`.

use hako_store::check::{Options, Problem};
use hako_store::lock::{self, Wait};

use crate::erofs::{self, Below};
use crate::error::{At, Result};
use crate::key::LayerKey;
use crate::layers::Snapshotter;
use crate::record::{self, LAYER, SNAPSHOT, Snapshot};

/// An error with its sources.
fn told(mut error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        error = source;
        text = format!("{text}: {error}");
    }
    text
}

impl Snapshotter {
    /// What is not as it should be under `snapshots/`. With
    /// [`Options::repair`], what killed commands left is removed, and so are
    /// layers that a power loss made worthless.
    ///
    /// Errors: when the check itself cannot be made.
    pub fn check(&self, options: Options) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        self.check_tmp(options, &mut problems)?;
        let layers = self.dirs.root.join("layers");
        for entry in std::fs::read_dir(&layers).at("list", &layers)? {
            let path = entry.at("list", &layers)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(LayerKey::parse);
            let Some(key) = name else {
                problems.push(Problem::Stray {
                    path,
                    removed: false,
                });
                continue;
            };
            if !self.survived(&key)? {
                let removed = options.repair && self.remove_worthless(&key)?;
                problems.push(Problem::Stray { path, removed });
            } else if let Err(error) = self.layer(&key) {
                problems.push(Problem::Other(error.to_string()));
            } else if !path.join(erofs::TREE).is_dir() {
                problems.push(Problem::Other(format!("{} has no tree", path.display())));
            } else if erofs::is_image(&path) {
                match Below::open(&path) {
                    Ok(image) if image.is_whole().at("examine", &path)? => {}
                    Ok(_) => {
                        let text = format!("the data in {} is cut off", path.display());
                        problems.push(Problem::Other(text));
                    }
                    Err(error) => problems.push(Problem::Other(told(&error))),
                }
            }
        }
        let active = self.dirs.root.join("active");
        for entry in std::fs::read_dir(&active).at("list", &active)? {
            let path = entry.at("list", &active)?.path();
            match record::read::<Snapshot>(&path.join(SNAPSHOT)) {
                Ok(Some(snapshot)) => {
                    for key in &snapshot.layers {
                        if !self.dirs.layer(key).join(LAYER).exists() {
                            let text = format!(
                                "snapshot {} needs layer {key}, which is not unpacked",
                                snapshot.id
                            );
                            problems.push(Problem::Other(text));
                        }
                    }
                }
                Ok(None) => problems.push(Problem::Stray {
                    path,
                    removed: false,
                }),
                Err(error) => problems.push(Problem::Other(error.to_string())),
            }
        }
        Ok(problems)
    }

    fn check_tmp(&self, options: Options, problems: &mut Vec<Problem>) -> Result<()> {
        let tmp = self.dirs.tmp();
        let mut strays = Vec::new();
        for entry in std::fs::read_dir(&tmp).at("list", &tmp)? {
            let path = entry.at("list", &tmp)?.path();
            let live = matches!(lock::directory(&path, false, Wait::No), Ok(None));
            if !live && path.symlink_metadata().is_ok() {
                strays.push(path);
            }
        }
        if options.repair {
            self.dirs.sweep()?;
        }
        for path in strays {
            let removed = options.repair && path.symlink_metadata().is_err();
            problems.push(Problem::Stray { path, removed });
        }
        Ok(())
    }
}
