//! The container's output in a file, in the kubelet's or in Docker's form.
//!
//! Output is cut into lines; a line above 16 KiB, or one that does not go on
//! for a tenth of a second (a prompt), is written in parts. All that was read
//! at once has one time and goes out in one write(2).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::config::{Driver, Log};
use crate::error::{Error, Result};
use crate::record::write_all;
use crate::time::Stamp;

/// The longest piece of a line in one entry, as Docker and containerd have it.
const MAX_LINE: usize = 16 << 10;
/// How long the rest of a line is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Logger {
    config: Log,
    file: Option<OwnedFd>,
    size: u64,
    /// Begun lines of stdout and stderr.
    begun: [Vec<u8>; 2],
    /// When the older begun line is written as it is.
    due: Option<Instant>,
    out: Vec<u8>,
    /// Bytes of output that could not be written.
    pub(crate) lost: u64,
}

impl Logger {
    pub(crate) fn open(config: &Log) -> Result<Self> {
        let mut logger = Self {
            config: config.clone(),
            file: None,
            size: 0,
            begun: [Vec::new(), Vec::new()],
            due: None,
            out: Vec::new(),
            lost: 0,
        };
        logger.reopen()?;
        Ok(logger)
    }

    /// Opens the file by its name again, for whoever has moved it away.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        if self.config.driver == Driver::None {
            return Ok(());
        }
        let path = &self.config.path;
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))
            .map_err(Error::path("open", path))?;
        let size = rustix::fs::fstat(&file)
            .map_err(Error::path("read", path))?
            .st_size;
        self.size = u64::try_from(size).unwrap_or(0);
        self.file = Some(file);
        Ok(())
    }

    /// When [`Logger::flush_due`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what was read from a stream.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.config.driver == Driver::None {
            return;
        }
        let time = Stamp::now();
        let mut begun = std::mem::take(self.begun_of(stream));
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut text = text;
            while begun.len() + text.len() > MAX_LINE {
                let (now, later) =
                    text.split_at(MAX_LINE.saturating_sub(begun.len()).min(text.len()));
                begun.extend_from_slice(now);
                self.entry(stream, time, &begun, false);
                begun.clear();
                text = later;
            }
            if !ends {
                begun.extend_from_slice(text);
            } else if begun.is_empty() {
                self.entry(stream, time, text, true);
            } else {
                begun.extend_from_slice(text);
                self.entry(stream, time, &begun, true);
                begun.clear();
            }
        }
        if !begun.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + PATIENCE);
        }
        *self.begun_of(stream) = begun;
        self.write_out();
    }

    /// Writes begun lines that have waited long enough.
    pub(crate) fn flush_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Writes begun lines as they are.
    pub(crate) fn flush(&mut self) {
        self.due = None;
        let time = Stamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut begun = std::mem::take(self.begun_of(stream));
            if !begun.is_empty() {
                self.entry(stream, time, &begun, false);
                begun.clear();
                *self.begun_of(stream) = begun;
            }
        }
        self.write_out();
    }

    /// Notes in the log that output may be missing here.
    pub(crate) fn gap(&mut self, why: &str) {
        self.flush();
        let text = format!("[hako-monitor: output may be missing here: {why}]");
        let time = Stamp::now();
        self.entry(Stream::Stderr, time, text.as_bytes(), true);
        self.write_out();
    }

    fn begun_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.begun;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn entry(&mut self, stream: Stream, time: Stamp, text: &[u8], whole: bool) {
        let out = &mut self.out;
        match self.config.driver {
            Driver::None => {}
            Driver::K8sFile => {
                let tag = if whole { 'F' } else { 'P' };
                out.extend_from_slice(format!("{time} {} {tag} ", stream.name()).as_bytes());
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Driver::JsonFile => {
                let mut text = String::from_utf8_lossy(text).into_owned();
                if whole {
                    text.push('\n');
                }
                out.extend_from_slice(b"{\"log\":");
                // A string always serialises.
                let _ = serde_json::to_writer(&mut *out, &text);
                out.extend_from_slice(
                    format!(",\"stream\":\"{}\",\"time\":\"{time}\"}}\n", stream.name()).as_bytes(),
                );
            }
        }
    }

    /// A full disk must not stop the container: what cannot be written is
    /// counted and dropped.
    fn write_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let length = self.out.len() as u64;
        if self.config.max_size > 0 && self.size > 0 && self.size + length > self.config.max_size {
            // Going on in a file that is too long is better than not at all.
            let _ = self.rotate();
        }
        let written = match &self.file {
            Some(file) => write_all(file.as_fd(), &self.out).is_ok(),
            None => false,
        };
        if written {
            self.size += length;
        } else {
            self.lost += length;
        }
        self.out.clear();
    }

    fn rotate(&mut self) -> Result<()> {
        let path = self.config.path.clone();
        let files = self.config.max_files.max(1);
        if files == 1 {
            if let Some(file) = &self.file {
                rustix::fs::ftruncate(file, 0).map_err(Error::path("truncate", &path))?;
            }
            self.size = 0;
            return Ok(());
        }
        for number in (1..files).rev() {
            let from = match number {
                1 => path.clone(),
                _ => numbered(&path, number - 1),
            };
            match rustix::fs::rename(&from, numbered(&path, number)) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(Error::path("rename", from)(e)),
            }
        }
        self.reopen()
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fixture {
        temp: tempfile::TempDir,
        logger: Logger,
    }

    fn logger(driver: Driver, max_size: u64, max_files: u32) -> Fixture {
        let temp = tempfile::tempdir().unwrap();
        let config = Log {
            driver,
            path: temp.path().join("log"),
            max_size,
            max_files,
        };
        let logger = Logger::open(&config).unwrap();
        Fixture { temp, logger }
    }

    fn lines(f: &Fixture) -> Vec<String> {
        let text = std::fs::read(f.temp.path().join("log")).unwrap();
        String::from_utf8_lossy(&text)
            .lines()
            .map(|l| l.split_once(' ').map_or(l, |(_, rest)| rest).to_owned())
            .collect()
    }

    #[test]
    fn the_kubelets_form() {
        let mut f = logger(Driver::K8sFile, 0, 0);
        f.logger.write(Stream::Stdout, b"one\n\ntwo");
        f.logger.write(Stream::Stderr, b"err\n");
        f.logger.write(Stream::Stdout, b"!\nprompt> ");
        assert_eq!(
            lines(&f),
            ["stdout F one", "stdout F ", "stderr F err", "stdout F two!"]
        );
        f.logger.flush_due(Instant::now());
        assert_eq!(lines(&f).len(), 4, "too early");
        f.logger.flush_due(Instant::now() + PATIENCE);
        assert_eq!(lines(&f)[4], "stdout P prompt> ");
        f.logger.write(Stream::Stdout, b"ls\n");
        assert_eq!(lines(&f)[5], "stdout F ls");
        f.logger.gap("a test");
        assert!(lines(&f)[6].starts_with("stderr F [hako-monitor: output may be missing"));
    }

    #[test]
    fn dockers_form() {
        let mut f = logger(Driver::JsonFile, 0, 0);
        f.logger.write(Stream::Stderr, b"a\"\\\x01\xff\n");
        f.logger.write(Stream::Stdout, b"rest");
        f.logger.flush();
        let text = std::fs::read_to_string(f.temp.path().join("log")).unwrap();
        let entries: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(entries[0]["log"], "a\"\\\u{1}\u{fffd}\n");
        assert_eq!(entries[0]["stream"], "stderr");
        assert!(entries[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(entries[1]["log"], "rest");
    }

    #[test]
    fn files_turn_over() {
        let mut f = logger(Driver::K8sFile, 200, 3);
        for i in 0..20 {
            f.logger
                .write(Stream::Stdout, format!("line {i:02}\n").as_bytes());
        }
        let mut names: Vec<_> = std::fs::read_dir(f.temp.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        for name in names {
            let size = f.temp.path().join(name).metadata().unwrap().len();
            assert!((1..=200).contains(&size));
        }
        let last = std::fs::read_to_string(f.temp.path().join("log")).unwrap();
        assert!(last.contains("line 19"));

        let mut f = logger(Driver::K8sFile, 200, 1);
        for i in 0..20 {
            f.logger
                .write(Stream::Stdout, format!("line {i:02}\n").as_bytes());
        }
        assert_eq!(std::fs::read_dir(f.temp.path()).unwrap().count(), 1);
        assert!(f.temp.path().join("log").metadata().unwrap().len() <= 200);
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let config = Log {
            driver: Driver::K8sFile,
            path: "/dev/full".into(),
            ..Log::default()
        };
        let mut logger = Logger::open(&config).unwrap();
        logger.write(Stream::Stdout, b"gone\n");
        assert!(logger.lost > 0);
    }

    #[test]
    fn reopens_for_who_moved_it() {
        let mut f = logger(Driver::K8sFile, 0, 0);
        let path = f.temp.path().join("log");
        f.logger.write(Stream::Stdout, b"old\n");
        std::fs::rename(&path, f.temp.path().join("moved")).unwrap();
        f.logger.reopen().unwrap();
        f.logger.write(Stream::Stdout, b"new\n");
        assert_eq!(lines(&f), ["stdout F new"]);
    }

    proptest! {
        /// Whatever the cuts, the entries put together are what was written.
        #[test]
        fn nothing_is_lost(
            pieces in proptest::collection::vec(prop_oneof![
                "[a-z\n]{0,30}",
                (0usize..40_000).prop_map(|n| "x".repeat(n)),
            ], 0..8),
        ) {
            let mut f = logger(Driver::K8sFile, 0, 0);
            for piece in &pieces {
                f.logger.write(Stream::Stdout, piece.as_bytes());
            }
            f.logger.flush();
            let text = std::fs::read_to_string(f.temp.path().join("log")).unwrap();
            let mut back = String::new();
            for line in text.lines() {
                let mut parts = line.splitn(4, ' ');
                let (tag, text) = (parts.nth(2).unwrap(), parts.next().unwrap());
                prop_assert!(text.len() <= MAX_LINE);
                back.push_str(text);
                if tag == "F" {
                    back.push('\n');
                }
            }
            prop_assert_eq!(back, pieces.concat());
        }
    }
}
