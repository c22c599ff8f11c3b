//! Doing the steps, inside.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use hako_sys::limits::RESOURCES;
use rustix::io::Errno;
use rustix::process::getrlimit;
use serde_json::{Map, Value, json};

use super::{Answer, Step, kernel};

/// Files are told up to this many bytes.
const MOST: u64 = 1 << 20;

/// Where answers go, the signals that wait, and the pid of the state.
#[derive(Debug, Default)]
pub(super) struct Actor {
    out: Option<File>,
    pid: String,
    signals: Option<OwnedFd>,
}

type Done = Result<Value, Errno>;

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Actor {
    /// Writes an answer as one line, in one write.
    pub(super) fn tell(&mut self, answer: &Answer) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        match &mut self.out {
            Some(file) => file.write_all(&line),
            None => std::io::stdout().write_all(&line),
        }
    }

    pub(super) fn act(&mut self, step: &Step) -> Done {
        match step {
            Step::Args => Ok(lossy(std::env::args_os())),
            Step::Env => Ok(lossy(std::env::vars_os().map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            }))),
            Step::Cwd => io(std::env::current_dir()).map(|dir| json!(dir.to_string_lossy())),
            Step::Uname => {
                let name = rustix::system::uname();
                let domain = name.domainname().to_string_lossy();
                Ok(json!({
                    "nodename": name.nodename().to_string_lossy(),
                    "domainname": domain,
                    "machine": name.machine().to_string_lossy(),
                }))
            }
            Step::Read(path) => read(&self.named(path)),
            Step::Write(path, text) => {
                let file = OpenOptions::new().write(true).open(path);
                nothing(file.and_then(|mut file| file.write_all(text.as_bytes())))
            }
            Step::Append(path, text) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                nothing(file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes())))
            }
            Step::Create(path, text) => {
                let file = File::create_new(path);
                nothing(file.and_then(|mut file| file.write_all(text.as_bytes())))
            }
            Step::Stat(path) => stat(&self.named(path)),
            Step::Link(path) => {
                io(fs::read_link(self.named(path))).map(|to| json!(to.to_string_lossy()))
            }
            Step::List(path) => list(path),
            Step::Mkdir(path) => nothing(fs::create_dir(path)),
            Step::Open(path) => {
                let file = File::open(path);
                nothing(file.and_then(|mut file| file.read(&mut [0]).map(drop)))
            }
            Step::Access(path, how) => {
                let mut options = OpenOptions::new();
                options.read(how.contains('r')).write(how.contains('w'));
                nothing(options.open(path).map(drop))
            }
            Step::Mknod(path, kind, major, minor) => mknod(path, *kind, *major, *minor),
            Step::Clocks => Ok(clocks()),
            Step::Getppid(arguments) => {
                hako_sys::process::getppid(*arguments).map(|pid| json!(pid))
            }
            Step::Unshare(names) => kernel::unshare(names),
            Step::Join(path) => kernel::join(path),
            Step::MountNew(kind, target) => kernel::mount_new(kind, target),
            Step::Bind(source, target) => kernel::bind(source, target),
            Step::Propagation(path, kind) => kernel::propagation(path, kind),
            Step::Execute(args) => execute(args),
            Step::Exec(args) => {
                use std::os::unix::process::CommandExt as _;
                let (program, args) = args.split_first().ok_or(Errno::INVAL)?;
                Err(errno(
                    &std::process::Command::new(program).args(args).exec(),
                ))
            }
            Step::Fds => fds(),
            Step::Terminal => rustix::termios::tcgetwinsize(std::io::stdin())
                .map(|size| json!([size.ws_row, size.ws_col])),
            Step::Limits => Ok(limits()),
            Step::MountFlags(path) => {
                rustix::fs::statvfs(path.as_str()).map(|it| json!(it.f_flag.bits()))
            }
            Step::Scheduler => scheduler(),
            Step::IoPriority => {
                hako_sys::sched::io_priority().map(|(class, level)| json!([class, level]))
            }
            Step::State => {
                let text = stdin()?;
                let state: Value = serde_json::from_str(&text).unwrap_or_default();
                self.pid = state["pid"].to_string();
                Ok(json!(text))
            }
            Step::Stdin => stdin().map(Value::from),
            Step::Into(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                self.out = Some(io(file)?);
                Ok(Value::Null)
            }
            Step::Say(word) => Ok(json!(word)),
            Step::Sleep(time) => {
                std::thread::sleep(std::time::Duration::from_millis(*time));
                Ok(Value::Null)
            }
            Step::Block => self.block().map(|()| Value::Null),
            Step::Wait => self.wait(),
            Step::Exit(code) => Ok(json!(code)),
        }
    }

    /// A path with the state's pid in its place.
    fn named(&self, path: &str) -> String {
        path.replace("{pid}", &self.pid)
    }

    fn block(&mut self) -> Result<(), Errno> {
        if self.signals.is_none() {
            self.signals = Some(hako_sys::signal::block_all()?);
        }
        Ok(())
    }

    fn wait(&mut self) -> Done {
        self.block()?;
        let Some(signals) = &self.signals else {
            return Err(Errno::BADF);
        };
        loop {
            if let Some(received) = hako_sys::signal::read(signals.as_fd())? {
                return Ok(json!(received.signal));
            }
            let mut ready = [rustix::event::PollFd::new(
                signals,
                rustix::event::PollFlags::IN,
            )];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn io<T>(done: std::io::Result<T>) -> Result<T, Errno> {
    done.map_err(|error| errno(&error))
}

fn nothing(done: std::io::Result<()>) -> Done {
    io(done).map(|()| Value::Null)
}

fn lossy(words: impl Iterator<Item = std::ffi::OsString>) -> Value {
    words
        .map(|word| Value::from(word.to_string_lossy().into_owned()))
        .collect()
}

fn read(path: &str) -> Done {
    let mut bytes = Vec::new();
    io(File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)))?;
    Ok(json!(String::from_utf8_lossy(&bytes)))
}

fn stat(path: &str) -> Done {
    let meta = io(fs::symlink_metadata(path))?;
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_dir() => "d",
        () if kind.is_symlink() => "l",
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () if kind.is_fifo() => "p",
        () if kind.is_socket() => "s",
        () => "-",
    };
    Ok(json!({
        "kind": kind,
        "mode": meta.mode() & 0o7777,
        "uid": meta.uid(),
        "gid": meta.gid(),
        "major": rustix::fs::major(meta.rdev()),
        "minor": rustix::fs::minor(meta.rdev()),
        "size": meta.size(),
        "ino": meta.ino(),
        "dev": meta.dev(),
    }))
}

fn mknod(path: &str, kind: char, major: u32, minor: u32) -> Done {
    let kind = match kind {
        'b' => rustix::fs::FileType::BlockDevice,
        _ => rustix::fs::FileType::CharacterDevice,
    };
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).map(|()| Value::Null)
}

fn clocks() -> Value {
    let now = |clock| {
        let time = rustix::time::clock_gettime(clock);
        json!(time.tv_sec * 1_000_000_000 + time.tv_nsec)
    };
    json!({
        "monotonic": now(rustix::time::ClockId::Monotonic),
        "boottime": now(rustix::time::ClockId::Boottime),
    })
}

fn list(path: &str) -> Done {
    let mut names = Vec::new();
    for entry in io(fs::read_dir(path))? {
        names.push(io(entry)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(json!(names))
}

fn execute(args: &[String]) -> Done {
    let (program, args) = args.split_first().ok_or(Errno::INVAL)?;
    let mut command = std::process::Command::new(program);
    let status = io(command
        .args(args)
        .stdout(std::process::Stdio::null())
        .status())?;
    Ok(json!(status.code()))
}

fn fds() -> Done {
    let mut found = Vec::new();
    for entry in io(fs::read_dir("/proc/self/fd"))? {
        let name = io(entry)?.file_name();
        let number = std::str::from_utf8(name.as_bytes())
            .ok()
            .and_then(|name| name.parse::<u32>().ok());
        if let Some(number) = number
            && let Ok(what) = fs::read_link(format!("/proc/self/fd/{number}"))
        {
            found.push((number, what.to_string_lossy().into_owned()));
        }
    }
    // The descriptor of the directory itself.
    let own = format!("/proc/{}/fd", std::process::id());
    found.retain(|(_, what)| *what != own);
    found.sort();
    Ok(json!(found))
}

fn stdin() -> Result<String, Errno> {
    let mut text = String::new();
    io(std::io::stdin().take(MOST).read_to_string(&mut text))?;
    Ok(text)
}

fn scheduler() -> Done {
    let it = hako_sys::sched::attributes()?;
    Ok(json!({
        "policy": it.policy,
        "flags": it.flags,
        "nice": it.nice,
        "priority": it.priority,
        "runtime": it.runtime,
        "deadline": it.deadline,
        "period": it.period,
    }))
}

/// getrlimit(2) of all limits, as [`Step::Limits`] answers.
pub(crate) fn limits() -> Value {
    let mut all = Map::new();
    for (name, resource) in RESOURCES {
        let limit = getrlimit(*resource);
        all.insert((*name).to_owned(), json!([limit.current, limit.maximum]));
    }
    all.into()
}
