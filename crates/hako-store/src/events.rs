//! The event log: one JSON object a line in `events/log`, numbered without
//! gaps by all processes together.
//!
//! A writer holds a lock for one short write. A line that a killed writer or a
//! power loss cut is removed by the next writer and not seen by readers. When
//! the log is long it becomes `events/log.1`, and the `log.1` before it goes;
//! a reader that was slower than that is told so by the numbers. Readers wait
//! with inotify(7).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{At, Error, Result};
use crate::lock::{self, Wait};

/// Size in bytes at which the log is turned.
const ROTATE: u64 = 8 << 20;

/// Longest line in bytes; attributes beyond it are left out.
const MAX_LINE: usize = 64 << 10;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: one more than that of the event before it. 0 before it is
    /// written.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When, in nanoseconds since 1970. 0 before it is written.
    pub time: i64,
    /// What kind of thing it happened to: `container`, `image`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened: `start`, `pull`.
    pub action: String,
    /// The thing's id or name.
    pub id: String,
    /// Whose thing it is, an [`crate::Owner`] as text; empty for nobody's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event that is not written yet.
    #[must_use]
    pub fn new(kind: &str, action: &str, id: &str) -> Event {
        Event {
            sequence: 0,
            time: 0,
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            owner: String::new(),
            attributes: BTreeMap::new(),
        }
    }

    /// Sets the owner.
    #[must_use]
    pub fn owned_by(mut self, owner: crate::Owner) -> Event {
        self.owner = owner.to_string();
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Event {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }
}

/// Parses one line of the log; `None` for anything else.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line)
        .ok()
        .filter(|event: &Event| event.sequence > 0)
}

/// The event log in a directory.
#[derive(Debug, Clone)]
pub struct Events {
    dir: PathBuf,
    rotate: u64,
}

impl Events {
    pub(crate) fn new(dir: PathBuf) -> Events {
        Events {
            dir,
            rotate: ROTATE,
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn older(&self) -> PathBuf {
        self.dir.join("log.1")
    }

    /// Writes an event down and gives its number.
    ///
    /// Errors: I/O errors.
    pub fn append(&self, event: &Event) -> Result<u64> {
        let (lock, path) = (self.dir.join("lock"), self.log());
        let _lock = lock::file(&lock, Wait::Forever).at("lock", &lock)?;
        let mut file = open(&path, true).at("open", &path)?;
        let mut size = trim(&file).at("repair", &path)?;
        let mut last = last(&file, size).at("read", &path)?;
        if last == 0
            && let Ok(older) = open(&self.older(), false)
        {
            let size = older.metadata().map_or(0, |meta| meta.len());
            last = self::last(&older, size).at("read", &self.older())?;
        }
        if size >= self.rotate {
            std::fs::rename(&path, self.older()).at("rename", &path)?;
            file = open(&path, true).at("open", &path)?;
            size = 0;
        }
        let mut event = Event {
            sequence: last.saturating_add(1),
            time: clock::now(),
            ..event.clone()
        };
        let mut line = encode(&event)?;
        if line.len() > MAX_LINE {
            event.attributes.clear();
            event.id.truncate(floor(&event.id, 1024));
            line = encode(&event)?;
        }
        if let Err(e) = file.write_all(&line) {
            let _ = file.set_len(size);
            return Err(e).at("write", &path);
        }
        Ok(event.sequence)
    }

    /// The number of the newest event; 0 when there never was one.
    ///
    /// Errors: I/O errors.
    pub fn newest(&self) -> Result<u64> {
        for path in [self.log(), self.older()] {
            let file = match open(&path, false) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e).at("open", &path),
            };
            let size = file.metadata().at("examine", &path)?.len();
            let sequence = last(&file, size).at("read", &path)?;
            if sequence > 0 {
                return Ok(sequence);
            }
        }
        Ok(0)
    }

    /// A reader of the events from number `from` on (0 and 1: from the oldest
    /// that is kept).
    ///
    /// Errors: those of inotify_init(2) and inotify_add_watch(2).
    pub fn reader(&self, from: u64) -> Result<Reader> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .at("watch", &self.dir)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVE
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&watch, &self.dir, flags).at("watch", &self.dir)?;
        Ok(Reader {
            events: self.clone(),
            watch,
            next: from.max(1),
            current: None,
        })
    }
}

/// Follows the log from one event on.
#[derive(Debug)]
pub struct Reader {
    events: Events,
    watch: rustix::fd::OwnedFd,
    /// Number of the next event to give.
    next: u64,
    current: Option<File>,
}

impl Reader {
    /// The events written since the last call, in order. If the first one's
    /// number is higher than expected, the ones between are gone.
    ///
    /// Errors: I/O errors.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        let mut found = Vec::new();
        let path = self.events.log();
        if self.current.is_none() {
            match open(&self.events.older(), false) {
                Ok(file) => {
                    self.current = Some(file);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).at("open", &self.events.older()),
            }
        }
        loop {
            // Opened before the current file is read: when this is another
            // file, the current one gets no more lines.
            let newest = match open(&path, false) {
                Ok(file) => Some(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e).at("open", &path),
            };
            if let Some(mut current) = self.current.take() {
                self.lines(&mut current, &mut found).at("read", &path)?;
                self.current = Some(current);
            }
            let Some(newest) = newest else {
                return Ok(found);
            };
            let same = match &self.current {
                Some(current) => same(current, &newest).at("examine", &path)?,
                None => false,
            };
            if same {
                return Ok(found);
            }
            self.current = Some(newest);
        }
    }

    /// Waits until something was written, at most `timeout` (`None`: for
    /// ever); `false` when nothing was.
    ///
    /// Call [`Reader::read`] once before the first wait.
    ///
    /// Errors: those of poll(2).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&self.watch, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).at("watch", &self.events.dir),
            }
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).at("watch", &self.events.dir),
            }
        }
    }

    /// A descriptor that is readable when something was written, for an event
    /// loop.
    #[must_use]
    pub fn watch(&self) -> rustix::fd::BorrowedFd<'_> {
        rustix::fd::AsFd::as_fd(&self.watch)
    }

    /// Reads whole lines. The position stays before a line without an end,
    /// for a writer may take it back.
    fn lines(&mut self, file: &mut File, found: &mut Vec<Event>) -> io::Result<()> {
        let mut buffer = vec![0u8; 64 << 10];
        let mut line = Vec::new();
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                let back = i64::try_from(line.len()).unwrap_or(0);
                file.seek(SeekFrom::Current(-back))?;
                return Ok(());
            }
            for part in buffer
                .get(..n)
                .unwrap_or_default()
                .split_inclusive(|b| *b == b'\n')
            {
                line.extend_from_slice(part);
                if part.last() != Some(&b'\n') {
                    continue;
                }
                if let Some(event) = parse(&line)
                    && event.sequence >= self.next
                {
                    self.next = event.sequence.saturating_add(1);
                    found.push(event);
                }
                line.clear();
            }
        }
    }
}

fn encode(event: &Event) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event).map_err(|e| Error::Io {
        doing: "encode",
        path: PathBuf::from("event"),
        source: e.into(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// The largest index at most `max` where `text` can be cut.
fn floor(text: &str, max: usize) -> usize {
    (0..=max.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
}

fn open(path: &Path, write: bool) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .append(write)
        .create(write)
        .mode(0o600)
        .open(path)
}

fn same(a: &File, b: &File) -> io::Result<bool> {
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok(a.ino() == b.ino() && a.dev() == b.dev())
}

/// Cuts off a line without an end; gives the size then.
fn trim(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let start = size.saturating_sub(MAX_LINE as u64 * 2);
    let tail = tail(file, start, size)?;
    if tail.is_empty() || tail.last() == Some(&b'\n') {
        return Ok(size);
    }
    let keep = tail.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let size = start.saturating_add(keep as u64);
    file.set_len(size)?;
    Ok(size)
}

/// The number of the last whole line among the last bytes of a log of `size`
/// bytes; 0 when there is none.
fn last(file: &File, size: u64) -> io::Result<u64> {
    let tail = tail(file, size.saturating_sub(MAX_LINE as u64 * 2), size)?;
    let lines = tail.split_inclusive(|b| *b == b'\n').rev();
    Ok(lines
        .filter(|line| line.last() == Some(&b'\n'))
        .find_map(parse)
        .map_or(0, |event| event.sequence))
}

fn tail(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let mut bytes = vec![0u8; length];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(rotate: u64) -> (tempfile::TempDir, Events) {
        let dir = tempfile::tempdir().unwrap();
        let events = Events {
            dir: dir.path().to_path_buf(),
            rotate,
        };
        (dir, events)
    }

    #[test]
    fn numbers_have_no_gaps_over_rotation_and_threads() {
        let (_dir, events) = log(4096);
        let mut reader = events.reader(0).unwrap();
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            events.append(&Event::new("image", "pull", "x")).unwrap();
                            std::thread::sleep(Duration::from_micros(200));
                        }
                    })
                })
                .collect();
            while writers.iter().any(|w| !w.is_finished()) {
                all.extend(reader.read().unwrap());
                reader.wait(Some(Duration::from_millis(20))).unwrap();
            }
        });
        all.extend(reader.read().unwrap());
        let numbers: Vec<u64> = all.iter().map(|e| e.sequence).collect();
        assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
        assert_eq!(events.newest().unwrap(), 400);
        assert!(events.older().exists(), "the log was turned");
    }

    #[test]
    fn a_cut_line_is_repaired_and_not_seen() {
        let (_dir, events) = log(ROTATE);
        events.append(&Event::new("a", "b", "c")).unwrap();
        let mut reader = events.reader(1).unwrap();
        let path = events.log();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(b"{\"seq\":2,\"ti").unwrap();
        assert_eq!(reader.read().unwrap().len(), 1);
        assert_eq!(
            events
                .append(&Event::new("d", "e", "f").with("k", "v"))
                .unwrap(),
            2
        );
        let next = reader.read().unwrap();
        assert_eq!(next.len(), 1, "{next:?}");
        assert_eq!(
            (next[0].id.as_str(), next[0].attributes["k"].as_str()),
            ("f", "v")
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_reader_starts_where_it_is_told_and_waits() {
        let (_dir, events) = log(ROTATE);
        for _ in 0..5 {
            events.append(&Event::new("a", "b", "c")).unwrap();
        }
        let mut reader = events.reader(4).unwrap();
        let numbers: Vec<u64> = reader.read().unwrap().iter().map(|e| e.sequence).collect();
        assert_eq!(numbers, [4, 5]);
        assert!(!reader.wait(Some(Duration::from_millis(10))).unwrap());
        let waiting = std::thread::spawn(move || {
            assert!(reader.wait(Some(Duration::from_secs(20))).unwrap());
            reader.read().unwrap()
        });
        std::thread::sleep(Duration::from_millis(30));
        events
            .append(&Event::new("a", "b", "c").owned_by(crate::Owner::Cri))
            .unwrap();
        let got = waiting.join().unwrap();
        assert_eq!((got[0].sequence, got[0].owner.as_str()), (6, "cri"));
    }

    #[test]
    fn an_enormous_event_loses_its_attributes_only() {
        let (_dir, events) = log(ROTATE);
        let event = Event::new("a", "b", &"é".repeat(40_000)).with("k", "v".repeat(80_000));
        events.append(&event).unwrap();
        let read = events.reader(1).unwrap().read().unwrap();
        assert!(read[0].attributes.is_empty() && read[0].id.starts_with('é'));
    }

    proptest! {
        #[test]
        fn any_bytes_in_the_log_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (_dir, events) = log(ROTATE);
            std::fs::write(events.log(), &bytes).unwrap();
            let _ = parse(&bytes);
            let mut reader = events.reader(0).unwrap();
            reader.read().unwrap();
            let sequence = events.append(&Event::new("a", "b", "c")).unwrap();
            prop_assert!(sequence > 0);
            prop_assert_eq!(reader.read().unwrap().last().map(|e| e.sequence), Some(sequence));
        }
    }
}
