//! Compiled filters of earlier containers. Most containers of a host have one
//! of a few seccomp profiles, and to read one and to compile it is most of what
//! the runtime itself has to do for a container.
//!
//! A file holds the text of a profile with its program. Its name is a number
//! that is made of the text, so that there are never more than [`PLACES`] of
//! them, and a profile takes another's place where both have one number. What is
//! in a file counts only if it is about the very text, written by this very
//! binary, and whole: else it is as if there were none.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hako_seccomp::Program;
use hako_spec::runtime::Config;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::seccomp::Prepared;
use crate::error::{Error, Result};
use crate::log;
use crate::state::write_whole;

/// The directory below `--root`; no id of a container has this sign.
const NAME: &str = "#filters";
const PLACES: u64 = 64;
/// A longer profile is compiled each time.
const MAX_PROFILE: usize = 1 << 20;

/// crun's annotations: names that are unknown are an error, not left out; and
/// the listener of profiles that name none.
const STRICT: &str = "run.oci.seccomp_fail_unknown_syscall";
const RECEIVER: &str = "run.oci.seccomp.receiver";

/// Those below a root.
#[derive(Debug)]
pub struct Filters {
    dir: PathBuf,
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Read {
    /// The configuration; without its profile where the filter is known.
    pub config: Config,
    /// Its text.
    pub text: Vec<u8>,
    /// Where in the text its profile stands.
    profile: Option<Range<usize>>,
    known: Option<Program>,
}

impl Filters {
    /// The filters of the containers below `root`.
    pub fn of(root: &Path) -> Self {
        Filters {
            dir: root.join(NAME),
        }
    }

    /// Reads a configuration.
    pub fn read(&self, text: Vec<u8>) -> Result<Read> {
        let profile = profile(&text);
        let known = profile.clone().and_then(|at| self.known(&text, at));
        let (config, known) = match known {
            Some((config, program)) => (config, Some(program)),
            None => (Config::from_slice(&text)?, None),
        };
        Ok(Read {
            config,
            text,
            profile,
            known,
        })
    }

    /// A configuration but its profile, whose filter is known.
    fn known(&self, text: &[u8], profile: Range<usize>) -> Option<(Config, Program)> {
        let program = self.find(text.get(profile.clone())?)?;
        let rest = [
            text.get(..profile.start)?,
            b"null",
            text.get(profile.end..)?,
        ]
        .concat();
        // What is wrong with it is told with its place in the whole text.
        Some((Config::from_slice(&rest).ok()?, program))
    }

    /// The filter of a configuration, compiled and kept if it was not known.
    pub fn prepare(&self, read: &Read) -> Result<Option<Prepared>> {
        let prepared = self.prepared(read)?;
        if let Some(prepared) = &prepared {
            let strict = read.config.annotations.get(STRICT);
            if strict.is_some_and(|value| value != "0")
                && let Some(name) = prepared.program().unknown.first()
            {
                return Err(Error::new(format!(
                    "linux.seccomp: unknown system call {name:?}, which the annotation {STRICT} forbids"
                )));
            }
            log::debug(&format!("seccomp filter flags: {}", prepared.flags()));
        }
        Ok(prepared)
    }

    fn prepared(&self, read: &Read) -> Result<Option<Prepared>> {
        if let Some(program) = &read.known {
            return Ok(Some(Prepared::of(program.clone())));
        }
        let linux = read.config.linux.as_ref();
        let Some(parsed) = linux.and_then(|l| l.seccomp.as_ref()) else {
            return Ok(None);
        };
        let receiver = read.config.annotations.get(RECEIVER);
        let prepared = Prepared::compile(parsed, receiver.map(String::as_str))?;
        // With a listener there is more to it than its program.
        let program = prepared.program();
        if !program.has_notify
            && let Some(profile) = read.profile.clone().and_then(|at| read.text.get(at))
            && let Err(e) = self.keep(profile, program)
        {
            log::debug(&format!("the compiled filter is not kept: {e}"));
        }
        Ok(Some(prepared))
    }

    fn find(&self, profile: &[u8]) -> Option<Program> {
        let bytes = fs::read(self.place(profile)).ok()?;
        let (sum, rest) = bytes.split_at_checked(8)?;
        let rest = rest.strip_prefix(&*key(profile)?)?;
        if sum != hash(rest).to_ne_bytes() {
            return None;
        }
        Program::decode(rest)
    }

    fn keep(&self, profile: &[u8], program: &Program) -> Result<()> {
        let Some(key) = key(profile) else {
            return Ok(());
        };
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => {}
        }
        let program = program.encode();
        let sum = hash(&program).to_ne_bytes();
        let bytes = [&sum, &*key, &program].concat();
        write_whole(&self.place(profile), &bytes)
    }

    fn place(&self, profile: &[u8]) -> PathBuf {
        let number = hash(profile) % PLACES;
        self.dir.join(number.to_string())
    }
}

/// What a file must begin with: which program wrote it, and of which profile.
fn key(profile: &[u8]) -> Option<Vec<u8>> {
    let own = fs::metadata("/proc/self/exe").ok()?;
    let (size, seconds, nanos) = (own.len(), own.mtime(), own.mtime_nsec());
    let length = profile.len();
    let head = format!("{size} {seconds}.{nanos} {length}\n");
    Some([head.as_bytes(), profile, b"\n"].concat())
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Where in the text `config` the value of `linux.seccomp` stands.
fn profile(config: &[u8]) -> Option<Range<usize>> {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        linux: Linux<'a>,
    }
    #[derive(Deserialize)]
    struct Linux<'a> {
        #[serde(borrow)]
        seccomp: &'a RawValue,
    }
    let outline: Outline<'_> = serde_json::from_slice(config).ok()?;
    let profile = outline.linux.seccomp.get();
    let start = (profile.as_ptr() as usize).checked_sub(config.as_ptr() as usize)?;
    let sound = profile.len() <= MAX_PROFILE && profile.starts_with('{');
    sound.then(|| start..start + profile.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "ociVersion": "1.2.0", "hostname": "x",
        "linux": {
            "seccomp": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                { "names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW" } ] },
            "rootfsPropagation": "slave"
        }
    }"#;

    fn filters() -> (tempfile::TempDir, Filters) {
        let dir = tempfile::tempdir().unwrap();
        let filters = Filters::of(dir.path());
        (dir, filters)
    }

    fn prepared(filters: &Filters, text: &str) -> (bool, Program) {
        let read = filters.read(text.as_bytes().to_vec()).unwrap();
        let known = read.known.is_some();
        let linux = read.config.linux.clone().unwrap();
        assert_eq!(linux.seccomp.is_none(), known);
        assert_eq!(linux.rootfs_propagation.as_deref(), Some("slave"));
        assert_eq!(read.config.hostname.as_deref(), Some("x"));
        let filter = filters.prepare(&read).unwrap();
        (known, filter.unwrap().program().clone())
    }

    fn is_known(filters: &Filters, text: &str) -> bool {
        filters.read(text.into()).unwrap().known.is_some()
    }

    fn only_file(filters: &Filters) -> PathBuf {
        let mut all = fs::read_dir(&filters.dir).unwrap();
        let first = all.next().unwrap().unwrap().path();
        assert!(all.next().is_none());
        first
    }

    #[test]
    fn the_second_time_it_is_known() {
        let (_dir, filters) = filters();
        let (known, first) = prepared(&filters, CONFIG);
        assert!(!known);
        let (known, second) = prepared(&filters, CONFIG);
        assert!(known);
        assert_eq!(first, second);
        // Whatever is around it.
        let other = CONFIG.replace("1.2.0", "1.1.0");
        assert!(prepared(&filters, &other).0);
        let other = CONFIG.replace("exit_group", "exit");
        let (known, third) = prepared(&filters, &other);
        assert!(!known && third != first);
    }

    #[test]
    fn no_change_of_a_file_is_taken_for_a_filter() {
        let (_dir, filters) = filters();
        let (_, program) = prepared(&filters, CONFIG);
        let path = only_file(&filters);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(!is_known(&filters, CONFIG), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(!is_known(&filters, CONFIG), "{at}");
        }
        // And it is mended.
        assert_eq!(prepared(&filters, CONFIG), (false, program.clone()));
        assert_eq!(prepared(&filters, CONFIG), (true, program));
    }

    #[test]
    fn another_profile_in_its_place_is_another() {
        let (_dir, filters) = filters();
        prepared(&filters, CONFIG);
        let path = only_file(&filters);
        let other = CONFIG[profile(CONFIG.as_bytes()).unwrap()].replace("read", "write");
        fs::rename(&path, filters.place(other.as_bytes())).unwrap();
        assert!(filters.find(other.as_bytes()).is_none());
    }

    #[test]
    fn faults_have_their_places_in_the_whole_text() {
        let (_dir, filters) = filters();
        prepared(&filters, CONFIG);
        let bad = CONFIG.replace(r#""slave""#, "7");
        let error = filters.read(bad.into_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 6 column"), "{error}");
    }

    #[test]
    fn what_is_no_profile_has_no_filter() {
        let (_dir, filters) = filters();
        for text in [
            r#"{"ociVersion": "1.0.0"}"#,
            r#"{"ociVersion": "1.0.0", "linux": {}}"#,
            r#"{"ociVersion": "1.0.0", "linux": {"seccomp": null}}"#,
        ] {
            let read = filters.read(text.as_bytes().to_vec()).unwrap();
            let filter = filters.prepare(&read).unwrap();
            assert!(filter.is_none() && !filters.dir.exists(), "{text}");
        }
    }
}
