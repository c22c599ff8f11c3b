//! Image layouts from a root file system: one layer or several, in each
//! compression. The same root gives the same bytes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::image::Compression;
use crate::command::{output, show};

/// No file in a layer is younger: the first of January 2025.
const YOUNGEST: &str = "@1735689600";

/// What an entry of an archive takes besides a file's content, at least.
const HEADER: u64 = 1024;

/// Makes the archives of `count` layers of about the same size from `root`, in
/// `dir`.
pub(super) fn archives(root: &Path, count: usize, dir: &Path) -> Result<Vec<PathBuf>> {
    let parts = split(root, count)?;
    let mut archives = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let list = dir.join("list");
        let mut names = Vec::new();
        for path in part {
            names.extend_from_slice(path.as_os_str().as_bytes());
            names.push(0);
        }
        fs::write(&list, names)?;
        let archive = dir.join(format!("{index}.tar"));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--format=posix", "--numeric-owner", "--xattrs"])
            .args(["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"])
            .args(["--clamp-mtime", "--mtime", YOUNGEST])
            .args(["--no-recursion", "--null", "--directory"])
            .arg(root)
            .arg("--files-from")
            .arg(&list)
            .arg("--file")
            .arg(&archive);
        output(&mut tar)?;
        archives.push(archive);
    }
    Ok(archives)
}

/// Which paths are in which layer: in their order, cut where the size is
/// reached; a directory is in each layer that has something below it, and the
/// names of one file are in the same layer.
fn split(root: &Path, count: usize) -> Result<Vec<BTreeSet<PathBuf>>> {
    let mut entries = Vec::new();
    walk(root, Path::new(""), &mut entries)?;
    let size = |entry: &fs::Metadata| match entry.is_file() {
        true => entry.len().saturating_add(HEADER),
        false => HEADER,
    };
    let total: u64 = entries.iter().map(|(_, entry)| size(entry)).sum();
    let most = total / count as u64 + 1;
    let mut parts = vec![BTreeSet::new(); count];
    let mut places: HashMap<(u64, u64), usize> = HashMap::new();
    let mut done = 0;
    for (path, entry) in &entries {
        let now = usize::try_from(done / most)?.min(count - 1);
        let mut place = now;
        if entry.is_file() && entry.nlink() > 1 {
            place = *places.entry((entry.dev(), entry.ino())).or_insert(now);
        }
        let with_above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        if let Some(part) = parts.get_mut(place) {
            part.extend(with_above.map(Path::to_owned));
        }
        done += size(entry);
    }
    Ok(parts)
}

fn walk(root: &Path, below: &Path, entries: &mut Vec<(PathBuf, fs::Metadata)>) -> Result<()> {
    let dir = root.join(below);
    let mut names = fs::read_dir(&dir)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.file_name()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("read {}", dir.display()))?;
    names.sort();
    for name in names {
        let path = below.join(name);
        let metadata = fs::symlink_metadata(root.join(&path))?;
        let is_dir = metadata.is_dir();
        entries.push((path.clone(), metadata));
        if is_dir {
            walk(root, &path, entries)?;
        }
    }
    Ok(())
}

/// Writes a layout of the archives to `dir`, with the reference `latest`.
pub(super) fn write(archives: &[PathBuf], compression: Compression, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for archive in archives {
        diff_ids.push(sha256(archive)?);
        let new = dir.join("new");
        let mut compress = Command::new(compression.name());
        compress.args(compression.flags()).arg(archive);
        compress.stdin(Stdio::null()).stdout(File::create(&new)?);
        let status = compress.status().with_context(|| show(&compress))?;
        ensure!(status.success(), "{}: {status}", show(&compress));
        let kind = format!(
            "application/vnd.oci.image.layer.v1.tar+{}",
            compression.name()
        );
        layers.push(keep(dir, &new, &kind)?);
    }
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Cmd": ["/bin/true"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let config = document(dir, &config, kind)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": config,
        "layers": layers,
    });
    let mut manifest = document(dir, &manifest, kind)?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string())?;
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    Ok(fs::write(dir.join("oci-layout"), version.to_string())?)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn document(dir: &Path, document: &Value, kind: &str) -> Result<Value> {
    let new = dir.join("new");
    File::create(&new)?.write_all(document.to_string().as_bytes())?;
    keep(dir, &new, kind)
}

/// Gives a file its place among the blobs and returns its descriptor.
fn keep(dir: &Path, file: &Path, kind: &str) -> Result<Value> {
    let digest = sha256(file)?;
    let size = fs::metadata(file)?.len();
    let hex = digest.trim_start_matches("sha256:");
    fs::rename(file, dir.join("blobs/sha256").join(hex))?;
    Ok(json!({ "mediaType": kind, "digest": digest, "size": size }))
}

fn sha256(file: &Path) -> Result<String> {
    let text = output(Command::new("sha256sum").arg(file))?;
    let hex = text.split(' ').next().unwrap_or_default();
    Ok(format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path) -> PathBuf {
        let root = dir.join("root");
        for name in ["a/deep", "b", "empty"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["a/deep/1", "a/2", "b/3", "b/4"] {
            fs::write(root.join(name), vec![b'x'; 50_000]).unwrap();
        }
        fs::hard_link(root.join("a/2"), root.join("b/link")).unwrap();
        root
    }

    #[test]
    fn every_path_is_in_a_layer_and_links_are_together() {
        let dir = tempfile::tempdir().unwrap();
        let root = tree(dir.path());
        let parts = split(&root, 2).unwrap();
        let all: BTreeSet<&PathBuf> = parts.iter().flatten().collect();
        assert_eq!(all.len(), 9);
        let has = |part: usize, path: &str| parts[part].contains(Path::new(path));
        assert!(has(0, "a/2") && has(0, "b/link") && !has(1, "b/link"));
        assert!(has(1, "b") && has(1, "b/4") && !has(0, "b/4"));
        assert_eq!(split(&root, 1).unwrap()[0].len(), 9);
    }

    #[test]
    fn the_same_root_gives_the_same_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = tree(dir.path());
        let index = |name: &str| {
            let work = dir.path().join(name);
            fs::create_dir(&work).unwrap();
            let archives = archives(&root, 2, &work).unwrap();
            write(&archives, Compression::Gzip, &work.join("layout")).unwrap();
            fs::read_to_string(work.join("layout/index.json")).unwrap()
        };
        assert_eq!(index("one"), index("two"));
    }
}
