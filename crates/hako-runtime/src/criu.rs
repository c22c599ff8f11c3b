//! CRIU, the program that writes a container's processes into files and makes
//! them again (criu(8)): `criu swrk` serves one request over a socket, in the
//! form of its `rpc.proto`. The command line of criu would not do: terminals
//! and the moments of a restore are told over the socket alone.

pub mod wire;

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use hako_cgroup::Join;
use hako_sys::clone::{Forked, exit_now, fork};
use hako_sys::{exec, fds, signal};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use wire::{Message, Value};

use crate::container::launch::reap;
use crate::error::{Context, Error, Result};
use crate::sync::receive_fd;

/// What is asked for (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write the processes into files, and end them.
    Dump = 1,
    /// Make them again.
    Restore = 2,
    /// Write their memory alone, and let them run.
    PreDump = 4,
    /// Tell which features there are.
    Features = 9,
}

/// What not every kernel lets CRIU do (`criu_features`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Find the memory that was written since the last time.
    MemoryTracking = 1,
    /// Restore memory when it is needed.
    LazyPages = 2,
}

/// The answer to a notification (`criu_req_type`).
const NOTIFY: i64 = 6;
/// The longest message of CRIU's; runc takes as much.
const MAX: usize = 40 << 10;
/// What the child says in place of CRIU when it fails before.
const FAILED: u8 = b'E';

/// One request, but for its options.
#[derive(Debug)]
pub struct Call<'a> {
    /// The program, as [`find`] found it.
    pub program: &'a CString,
    /// What to do.
    pub kind: Kind,
    /// Descriptors that the options name by their numbers.
    pub passed: Vec<BorrowedFd<'a>>,
    /// The file into which CRIU writes what it does.
    pub log: PathBuf,
    /// The cgroups to be in.
    pub place: Option<&'a Join>,
}

/// A moment that CRIU tells of; it waits until it is answered.
#[derive(Debug)]
pub struct Notice {
    /// Its name, as scripts get it in `CRTOOLS_SCRIPT_ACTION`.
    pub name: String,
    /// The first process, where it is known, or 0.
    pub pid: i32,
    /// What came with it: a terminal.
    pub fd: Option<OwnedFd>,
}

/// Whether this CRIU has `feature` on this kernel.
pub fn has(program: &CString, feature: Feature) -> Result<bool> {
    let field = feature as u32;
    let question = Call {
        program,
        kind: Kind::Features,
        passed: Vec::new(),
        log: PathBuf::new(),
        place: None,
    };
    let options = Message::default().switch(field, true);
    let answer = question.start()?.ask(&options, |_| Ok(()))?;
    Ok(answer.features.contains(&field.into()))
}

/// CRIU, which waits to be asked. It is ended when it is dropped.
#[derive(Debug)]
pub struct Criu<'a> {
    call: &'a Call<'a>,
    /// Its process.
    pub pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// What it complains of before it opens its log.
    said: OwnedFd,
}

impl Drop for Criu<'_> {
    fn drop(&mut self) {
        let _ = signal::send(self.pidfd.as_fd(), 15);
        reap(&self.pidfd);
    }
}

impl Call<'_> {
    /// Starts CRIU.
    pub fn start(&self) -> Result<Criu<'_>> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(|| "make a socket pair")?;
        // A restored process has the caller's streams in the end, and CRIU has
        // them from the start.
        let (said, stderr) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let stderr = (self.kind != Kind::Restore).then_some(stderr);
        let join = self.place.and_then(Join::v2_dir);
        match fork(0, join).context(|| "make a process for criu")? {
            Forked::Child => {
                drop(socket);
                let error = become_criu(self, &theirs, stderr.as_ref());
                let text = [&[FAILED], error.to_string().as_bytes()].concat();
                let _ = rustix::io::write(&theirs, &text);
                exit_now(1)
            }
            Forked::Parent { pid, pidfd } => Ok(Criu {
                call: self,
                pid,
                pidfd,
                socket,
                said,
            }),
        }
    }
}

impl Criu<'_> {
    /// Has it do the call with the `criu_opts` `options`; the value is its last
    /// answer. `notice` is told what it tells meanwhile.
    pub fn ask(
        self,
        options: &Message,
        mut notice: impl FnMut(Notice) -> Result<()>,
    ) -> Result<Answer> {
        let call = self.call;
        let field = if call.kind == Kind::Features { 5 } else { 2 };
        let request = Message::default()
            .number(1, call.kind as i64)
            .within(field, options);
        let answered =
            send(&self.socket, &request).and_then(|()| serve(call, &self.socket, &mut notice));
        // Nothing more is asked, so it ends; what it says of a failure is
        // complete then.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if answered.is_err() {
            let _ = signal::send(self.pidfd.as_fd(), 15);
        }
        reap(&self.pidfd);
        answered.map_err(|e| match reasons(&call.log, &self.said) {
            why if why.is_empty() && !call.log.exists() => e,
            why if why.is_empty() => Error::new(format!("{e} (see {})", call.log.display())),
            why if call.log.exists() => {
                Error::new(format!("{e}: {why} (see {})", call.log.display()))
            }
            why => Error::new(format!("{e}: {why}")),
        })
    }
}

fn send(socket: &OwnedFd, message: &Message) -> Result<()> {
    match rustix::io::write(socket, message.as_bytes()) {
        // It has ended already: what it left to hear tells why.
        Ok(_) | Err(Errno::PIPE) => Ok(()),
        Err(e) => Err(Error::from(e).within("ask criu")),
    }
}

/// Listens until the request is answered.
fn serve(
    call: &Call<'_>,
    socket: &OwnedFd,
    notice: &mut impl FnMut(Notice) -> Result<()>,
) -> Result<Answer> {
    loop {
        let mut buffer = vec![0; MAX];
        let (len, fd) = receive_fd(socket, &mut buffer).context(|| "hear from criu")?;
        let bytes = buffer.get(..len).unwrap_or_default();
        let answer = match bytes.split_first() {
            None => return Err(Error::new("criu has ended without an answer")),
            Some((&FAILED, text)) => {
                return Err(Error::new(String::from_utf8_lossy(text)));
            }
            Some(_) => Answer::read(bytes).ok_or_else(|| Error::new("criu sent nonsense"))?,
        };
        if !answer.success {
            let what = match call.kind {
                Kind::Restore => "restore",
                Kind::Dump | Kind::PreDump => "checkpoint",
                Kind::Features => "tell its features",
            };
            return Err(Error::new(match answer.errno {
                0 => format!("criu could not {what}"),
                errno => {
                    let errno = Error::from(Errno::from_raw_os_error(errno));
                    format!("criu could not {what}: {errno}")
                }
            }));
        }
        if answer.kind != NOTIFY {
            return Ok(answer);
        }
        notice(Notice {
            name: answer.name,
            pid: answer.pid,
            fd,
        })?;
        send(
            socket,
            &Message::default().number(1, NOTIFY).switch(3, true),
        )?;
    }
}

/// What of a `criu_resp` matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    kind: i64,
    success: bool,
    /// The restored process, or 0.
    pub pid: i32,
    name: String,
    errno: i32,
    /// The features that there are.
    features: Vec<u64>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut answer = Answer::default();
        for (field, value) in wire::read(bytes)? {
            match (field, value) {
                (1, Value::Number(kind)) => answer.kind = kind,
                (2, Value::Number(success)) => answer.success = success != 0,
                (7, Value::Number(errno)) => answer.errno = i32::try_from(errno).ok()?.abs(),
                (4, Value::Bytes(inner)) => {
                    if let Some((1, Value::Number(pid))) = wire::read(inner)?.first() {
                        answer.pid = i32::try_from(*pid).ok()?;
                    }
                }
                (8, Value::Bytes(inner)) => {
                    let on = wire::read(inner)?.into_iter();
                    let on = on.filter(|(_, value)| *value == Value::Number(1));
                    answer.features = on.map(|(field, _)| field).collect();
                }
                (5, Value::Bytes(inner)) => {
                    for (field, value) in wire::read(inner)? {
                        match (field, value) {
                            (1, Value::Bytes(name)) => {
                                answer.name = String::from_utf8_lossy(name).into_owned();
                            }
                            (2, Value::Number(pid)) => answer.pid = i32::try_from(pid).ok()?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(answer)
    }
}

/// The program: `named` by `--criu`, or as the caller's PATH finds it.
pub fn find(named: Option<&Path>) -> Result<CString> {
    let runs = |file: &PathBuf| rustix::fs::access(file, Access::EXEC_OK).is_ok();
    let found = match named {
        Some(file) => Some(file.to_owned()).filter(runs),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|dir| dir.join("criu"))
                .find(runs)
        }
    };
    let file = found.ok_or_else(|| match named {
        Some(file) => Error::new(format!("--criu {}: no such program", file.display())),
        None => {
            Error::new("criu is not installed: install the package \"criu\", or name it by --criu")
        }
    })?;
    CString::new(file.into_os_string().into_vec())
        .map_err(|_| Error::new("the path of criu holds a NUL byte"))
}

/// Returns only failures.
fn become_criu(call: &Call<'_>, socket: &OwnedFd, stderr: Option<&OwnedFd>) -> Error {
    let ready = || -> Result<()> {
        if let Some(place) = call.place {
            place
                .enter_self()
                .map_err(|refused| Error::from(place.describe(refused)))?;
        }
        if let Some(stderr) = stderr {
            rustix::stdio::dup2_stderr(stderr)?;
        }
        fds::cloexec_from(3)?;
        for fd in call.passed.iter().chain([&socket.as_fd()]) {
            fds::keep_on_exec(*fd)?;
        }
        Ok(signal::reset()?)
    };
    let argv = [
        "criu".to_owned(),
        "swrk".to_owned(),
        socket.as_raw_fd().to_string(),
    ];
    let argv: Vec<CString> = argv.into_iter().flat_map(CString::new).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    match ready() {
        Ok(()) => Error::from(exec::path(call.program, &argv, &env)).within("execute criu"),
        Err(e) => e,
    }
}

/// What went wrong, in CRIU's own words: the first errors of its log, or what it
/// said before there was one.
fn reasons(log: &Path, said: &OwnedFd) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let most = 16 << 20;
    let read = std::fs::File::open(log).and_then(|f| f.take(most).read_to_end(&mut text));
    if read.is_err() {
        let mut buffer = [0; 4096];
        let len = rustix::io::read(said, &mut buffer).unwrap_or(0);
        text.extend_from_slice(buffer.get(..len).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&text);
    // "(00.123456) Error (criu/file.c:12): what": the time is of no interest.
    let errors = text
        .lines()
        .filter_map(|line| line.find("Error").and_then(|at| line.get(at..)));
    let mut first: Vec<&str> = Vec::new();
    for error in errors.filter(|e| !e.is_empty()) {
        match first.len() {
            _ if first.contains(&error) => {}
            4 => {
                first.push("…");
                break;
            }
            _ => first.push(error),
        }
    }
    first.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let pid = Message::default().number(1, 42);
        let restored = Message::default()
            .number(1, 2)
            .switch(2, true)
            .within(4, &pid);
        let answer = Answer::read(restored.as_bytes()).unwrap();
        assert_eq!((answer.kind, answer.success, answer.pid), (2, true, 42));
        let notice = Message::default().text(1, "post-dump").number(2, 7);
        let notice = Message::default().number(1, NOTIFY).within(5, &notice);
        let answer = Answer::read(notice.as_bytes()).unwrap();
        assert_eq!((answer.name.as_str(), answer.pid), ("post-dump", 7));
        let failed = Message::default().number(1, 1).number(2, 0).number(7, -52);
        assert_eq!(Answer::read(failed.as_bytes()).unwrap().errno, 52);
        assert_eq!(Answer::read(&[0xff]), None);
        assert_eq!(Answer::read(b"\x22\x01\xff"), None);
    }

    #[test]
    fn reasons_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let (said, stderr) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let log = dir.path().join("dump.log");
        assert_eq!(reasons(&log, &said), "");
        rustix::io::write(&stderr, b"Warn x\nError (a.c:1): early\n").unwrap();
        assert_eq!(reasons(&log, &said), "Error (a.c:1): early");
        let text = "(00.1) fine\n(00.2) Error (b.c:2): one\n(00.3) pie: Error (c.c:3): two\n";
        std::fs::write(&log, text).unwrap();
        assert_eq!(
            reasons(&log, &said),
            "Error (b.c:2): one; Error (c.c:3): two"
        );
    }
}
