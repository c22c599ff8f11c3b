//! Reading a container's log, in the forms that the monitor writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::record::{Container, Phase};

/// Which output a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written, RFC 3339.
    pub time: String,
    /// Where.
    pub stream: Stream,
    /// The bytes, with the newline when the line was whole.
    pub text: Vec<u8>,
}

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// The last so many lines only.
    pub tail: Option<usize>,
    /// Lines from this moment on, RFC 3339 in UTC.
    pub since: Option<String>,
    /// Lines before this moment.
    pub until: Option<String>,
}

/// Longest line of a log file.
const MAX_LINE: u64 = 1 << 20;

/// Parses a line `TIME STREAM P|F TEXT` (CRI), or a JSON line (Docker).
pub(crate) fn parse(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.first() == Some(&b'{') {
        let value: serde_json::Value = serde_json::from_slice(line).ok()?;
        let get = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        return Some(Line {
            time: get("time")?.to_owned(),
            stream: stream(get("stream")?.as_bytes())?,
            text: get("log")?.as_bytes().to_vec(),
        });
    }
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let stream = stream(parts.next()?)?;
    let whole = parts.next()?.first() == Some(&b'F');
    let mut text = parts.next().unwrap_or_default().to_vec();
    if whole {
        text.push(b'\n');
    }
    Some(Line { time, stream, text })
}

fn stream(name: &[u8]) -> Option<Stream> {
    match name {
        b"stdout" => Some(Stream::Stdout),
        b"stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

impl Engine {
    /// Gives every wanted line of the log to `each`, which stops it by `false`.
    ///
    /// Errors: [`Error::Unsupported`] for a container without a log, and I/O
    /// errors.
    pub fn logs(
        &self,
        container: &Container,
        options: &LogOptions,
        mut each: impl FnMut(&Line) -> Result<bool>,
    ) -> Result<()> {
        if container.record.options.log_driver.as_deref() == Some("none") {
            return Err(Error::Unsupported(format!(
                "container {} keeps no log (--log-driver none)",
                container.short_id()
            )));
        }
        let path = self.dir(container.id()).join("log");
        let wanted = |line: &Line| {
            options
                .since
                .as_ref()
                .is_none_or(|since| line.time >= *since)
                && options
                    .until
                    .as_ref()
                    .is_none_or(|until| line.time < *until)
        };
        let mut last: VecDeque<Line> = VecDeque::new();
        let mut go_on = true;
        let mut keep = |line: Line, each: &mut dyn FnMut(&Line) -> Result<bool>| -> Result<bool> {
            match options.tail {
                None => each(&line),
                Some(count) => {
                    last.push_back(line);
                    if last.len() > count {
                        last.pop_front();
                    }
                    Ok(true)
                }
            }
        };
        for older in rotated(&path) {
            let mut file = Reader::open(&older)?;
            while let (true, Some(line)) = (go_on, file.next()?) {
                go_on = !wanted(&line) || keep(line, &mut each)?;
            }
        }
        let mut file = match path.exists() {
            true => Some(Reader::open(&path)?),
            false => None,
        };
        if let Some(file) = &mut file {
            while let (true, Some(line)) = (go_on, file.next()?) {
                go_on = !wanted(&line) || keep(line, &mut each)?;
            }
        }
        for line in last {
            go_on = go_on && each(&line)?;
        }
        if !options.follow || !go_on {
            return Ok(());
        }
        self.follow(container, &path, file, |line| {
            if wanted(line) { each(line) } else { Ok(true) }
        })
    }

    fn follow(
        &self,
        container: &Container,
        path: &Path,
        mut file: Option<Reader>,
        mut each: impl FnMut(&Line) -> Result<bool>,
    ) -> Result<()> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .doing("watch the log")?;
        let dir = path.parent().unwrap_or(path);
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&watch, dir, events).at("watch", dir)?;
        loop {
            // Whether it ran is asked before the last look, not after.
            let now = match self.reload(container.id()).and_then(|c| self.refresh(c)) {
                Ok(now) => Some(now.state.phase),
                Err(Error::NoContainer(_)) => None,
                Err(e) => return Err(e),
            };
            if file.is_none() && path.exists() {
                file = Some(Reader::open(path)?);
            }
            if let Some(reader) = &mut file {
                loop {
                    while let Some(line) = reader.next()? {
                        if !each(&line)? {
                            return Ok(());
                        }
                    }
                    if !reader.replaced(path)? {
                        break;
                    }
                    *reader = Reader::open(path)?;
                }
            }
            if !matches!(now, Some(Phase::Running | Phase::Starting | Phase::Created)) {
                return Ok(());
            }
            let limit = Timespec {
                tv_sec: 0,
                tv_nsec: 500_000_000,
            };
            let mut fds = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).doing("wait for the log"),
            }
            let mut drop_events = [0u8; 4096];
            while rustix::io::read(&watch, &mut drop_events).is_ok_and(|n| n > 0) {}
        }
    }
}

/// `log.2`, `log.1`: older files, the oldest first.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..100).map(name).take_while(|p| p.exists()).collect();
    files.reverse();
    files
}

struct Reader {
    file: BufReader<File>,
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        Ok(Reader {
            file: BufReader::new(file),
            partial: Vec::new(),
        })
    }

    /// The next whole line that makes sense; others are passed over.
    fn next(&mut self) -> Result<Option<Line>> {
        loop {
            let room = MAX_LINE.saturating_sub(self.partial.len() as u64).max(1);
            let mut limited = std::io::Read::take(&mut self.file, room);
            let n = limited
                .read_until(b'\n', &mut self.partial)
                .doing("read the log")?;
            let whole = self.partial.last() == Some(&b'\n');
            if !whole && n > 0 && (self.partial.len() as u64) < MAX_LINE {
                continue;
            }
            if !whole && (self.partial.len() as u64) < MAX_LINE {
                return Ok(None);
            }
            let line = parse(&self.partial);
            self.partial.clear();
            if line.is_some() {
                return Ok(line);
            }
        }
    }

    /// Whether the log was begun anew: another file has the name, or this one
    /// was emptied.
    fn replaced(&mut self, path: &Path) -> Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(there) = std::fs::metadata(path) else {
            return Ok(false);
        };
        let here = self.file.get_ref().metadata().at("look at", path)?;
        if there.ino() != here.ino() {
            return Ok(true);
        }
        let at = self.file.get_mut().stream_position().at("look at", path)?;
        Ok(at > here.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let cri = parse(b"2026-01-02T03:04:05.6Z stderr F hello  there\n").unwrap();
        assert_eq!(
            (cri.stream, cri.text.as_slice()),
            (Stream::Stderr, &b"hello  there\n"[..])
        );
        let part = parse(b"2026-01-02T03:04:05.6Z stdout P no end").unwrap();
        assert_eq!(part.text, b"no end");
        let json =
            parse(br#"{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}"#).unwrap();
        assert_eq!(
            (json.stream, json.text.as_slice()),
            (Stream::Stdout, &b"x\n"[..])
        );
        for bad in [
            &b""[..],
            b"x",
            b"t stdnone F x",
            b"{}",
            b"{\"log\":1}",
            b"\xff \xff F x",
        ] {
            assert!(parse(bad).is_none());
        }
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(
            &path,
            "junk\n1Z stdout F a\n2Z stdout F b\n3Z stdout F half",
        )
        .unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().text, b"a\n");
        assert_eq!(reader.next().unwrap().unwrap().text, b"b\n");
        assert_eq!(reader.next().unwrap(), None);
    }
}
