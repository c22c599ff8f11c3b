//! The images that are pulled: root file systems of Debian, a small and a
//! large one, each as one layer and as eight, in gzip and in zstd.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{layout, tools};

/// The release that the images are made of: the same for who compares.
const SUITE: &str = "bookworm";

/// A root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Minbase,
    Build,
}

impl Root {
    fn name(self) -> &'static str {
        match self {
            Root::Minbase => "minbase",
            Root::Build => "build",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Root::Minbase => "",
            Root::Build => "build-essential clang cmake gdb git python3-dev",
        }
    }
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// The name of the program and of the media types.
    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// Compresses a file to standard output.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Compression::Gzip => &["-6", "-n", "-c"],
            Compression::Zstd => &["-3", "-q", "-c"],
        }
    }
}

/// A layer as the registry has it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) digest: String,
    pub(super) size: u64,
}

/// An image in a layout.
#[derive(Debug)]
pub(super) struct Image {
    root: Root,
    count: usize,
    pub(super) compression: Compression,
    /// Its name in tables and in the registry.
    pub(super) name: String,
    /// The layout, with the reference `latest`.
    pub(super) layout: PathBuf,
}

/// The images whose names hold one of `words`, below `dir`.
pub(super) fn all(small: bool, words: &[String], dir: &Path) -> Vec<Image> {
    let roots: &[Root] = match small {
        true => &[Root::Minbase],
        false => &[Root::Minbase, Root::Build],
    };
    let mut images = Vec::new();
    for root in roots {
        for count in [1, 8] {
            for compression in [Compression::Gzip, Compression::Zstd] {
                let name = format!("{}-{count}-{}", root.name(), compression.name());
                if words.is_empty() || words.iter().any(|word| name.contains(word)) {
                    images.push(Image {
                        root: *root,
                        count,
                        compression,
                        layout: dir.join("images").join(&name),
                        name,
                    });
                }
            }
        }
    }
    images
}

/// Makes those images that are not there yet.
pub(super) fn make(images: &[Image], dir: &Path) -> Result<()> {
    for root in [Root::Minbase, Root::Build] {
        let mut missing = images.iter();
        if !missing.any(|image| image.root == root && !image.layout.is_dir()) {
            continue;
        }
        let files = dir.join("roots").join(root.name());
        if !files.is_dir() {
            tools::debootstrap(SUITE, root.packages(), &files)?;
            clean(&files)?;
        }
        for count in [1, 8] {
            let missing = |image: &&Image| {
                (image.root, image.count) == (root, count) && !image.layout.is_dir()
            };
            let missing: Vec<&Image> = images.iter().filter(missing).collect();
            if missing.is_empty() {
                continue;
            }
            let tars = dir.join("tars");
            let _ = fs::remove_dir_all(&tars);
            fs::create_dir_all(&tars)?;
            let archives = layout::archives(&files, count, &tars)?;
            for image in missing {
                eprintln!("making the image {}", image.name);
                let new = image.layout.with_extension("new");
                let _ = fs::remove_dir_all(&new);
                layout::write(&archives, image.compression, &new)?;
                fs::rename(&new, &image.layout)?;
            }
            fs::remove_dir_all(&tars)?;
        }
    }
    Ok(())
}

/// Removes what no image has: packages, their lists and logs.
fn clean(root: &Path) -> Result<()> {
    for dir in ["var/cache/apt", "var/lib/apt/lists", "var/log"] {
        let dir = root.join(dir);
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        fs::create_dir(&dir)?;
    }
    Ok(())
}

impl Image {
    /// The layers, the base first.
    pub(super) fn layers(&self) -> Result<Vec<Layer>> {
        let index = json(&self.layout.join("index.json"))?;
        let manifest = self.blob(&index["manifests"][0]["digest"])?;
        let layers = json(&manifest)?;
        let layers = layers["layers"].as_array().context("no layers")?;
        let layer = |layer: &Value| {
            Some(Layer {
                digest: layer["digest"].as_str()?.to_owned(),
                size: layer["size"].as_u64()?,
            })
        };
        layers
            .iter()
            .map(|value| layer(value).context("a layer without digest or size"))
            .collect()
    }

    fn blob(&self, digest: &Value) -> Result<PathBuf> {
        let digest = digest.as_str().context("no digest")?;
        let hex = digest.trim_start_matches("sha256:");
        Ok(self.layout.join("blobs/sha256").join(hex))
    }
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_by_size_and_name() {
        let dir = Path::new("/w");
        assert_eq!(all(true, &[], dir).len(), 4);
        assert_eq!(all(false, &[], dir).len(), 8);
        let some = all(false, &["8-zstd".to_owned()], dir);
        let names: Vec<&str> = some.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["minbase-8-zstd", "build-8-zstd"]);
    }
}
