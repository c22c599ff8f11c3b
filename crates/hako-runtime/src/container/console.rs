//! The container's terminal: a pseudo-terminal of the container's own devpts,
//! whose other end goes to the caller through `--console-socket`
//! (config.md, "terminal"; runc's terminals.md).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hako_spec::runtime::Process;
use rustix::fs::{FileType, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::error::{Context, Error, Result};
use crate::rootfs::inroot::{Root, stat};
use crate::rootfs::mount::{attach, clone_fd};
use crate::sync::send_fd;

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Connects to the socket at `path`; names longer than an address holds are
/// reached through their directory.
pub fn connect_to(path: &Path, kind: SocketType) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let dir;
    let address = if path.as_os_str().len() < 108 {
        SocketAddrUnix::new(path)?
    } else {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = rustix::fs::open(parent, flags, Mode::empty())?;
        let name = path.file_name().unwrap_or_default();
        use std::os::fd::AsRawFd as _;
        let mut short = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        short.extend_from_slice(name.as_bytes());
        SocketAddrUnix::new(short)?
    };
    connect(&socket, &address)?;
    Ok(socket)
}

/// Who gets the caller's end of a terminal.
#[derive(Debug)]
pub struct Recipient {
    socket: OwnedFd,
    /// This program, which copies what comes out to its own standard output.
    ourselves: bool,
}

impl Recipient {
    /// The listener at `path` (`--console-socket`), or else `ours`, the end of
    /// a pair whose other end this program holds.
    pub fn of(path: Option<&Path>, ours: Option<OwnedFd>) -> Result<Option<Self>> {
        if let Some(path) = path {
            let socket =
                connect_patiently(path).context(|| format!("console socket {}", path.display()))?;
            return Ok(Some(Recipient {
                socket,
                ourselves: false,
            }));
        }
        Ok(ours.map(|socket| Recipient {
            socket,
            ourselves: true,
        }))
    }
}

/// As [`connect_to`], for a listener whose caller has started it and this program
/// side by side: it may not have got that far.
fn connect_patiently(path: &Path) -> Result<OwnedFd> {
    let asked = Instant::now();
    loop {
        match connect_to(path, SocketType::STREAM) {
            Err(_) if asked.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 50),
            other => return other,
        }
    }
}

/// How long a listener may take to appear.
const PATIENCE: Duration = Duration::from_millis(100);

impl AsFd for Recipient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The two ends of a terminal.
#[derive(Debug)]
pub struct Console {
    /// For the caller.
    pub master: OwnedFd,
    /// For the container.
    pub slave: OwnedFd,
}

impl Console {
    /// Opens the terminal of `process` in the devpts that is mounted at
    /// `/dev/pts` of `root`.
    pub fn open(root: &Root, process: &Process, recipient: &Recipient) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = root
            .open("/dev/pts/ptmx", flags, Mode::empty())
            .context(|| "open /dev/pts/ptmx")?;
        // What the image or a running container has there instead is nobody's
        // terminal (CVE-2025-52565).
        let is_devpts = rustix::fs::fstatfs(&master)?.f_type as u64 == DEVPTS_SUPER_MAGIC;
        if !is_devpts || rustix::fs::fstat(&master)?.st_rdev != makedev(5, 2) {
            return Err(Error::new(
                "/dev/pts/ptmx is not the multiplexer of a devpts",
            ));
        }
        unlockpt(&master).context(|| "unlock the terminal")?;
        let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, open).context(|| "open the terminal")?;
        if recipient.ourselves {
            leave_line_feeds(slave.as_fd());
        }
        if let Some(size) = &process.console_size {
            let size = Winsize {
                ws_row: u16::try_from(size.height).unwrap_or(u16::MAX),
                ws_col: u16::try_from(size.width).unwrap_or(u16::MAX),
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&slave, size).context(|| "set the terminal's size")?;
        }
        rustix::fs::fchown(&slave, Some(Uid::from_raw(process.user.uid)), None)
            .context(|| "own the terminal")?;
        Ok(Console { master, slave })
    }

    /// Makes the terminal the container's `/dev/console`.
    pub fn bind(&self, root: &Root) -> Result<()> {
        let dev = root.make_dir("/dev")?;
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(
            &dev,
            "console",
            flags | OFlags::EXCL,
            Mode::from_raw_mode(0o666),
        ) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::from(e).within("make /dev/console")),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&dev, "console", flags, Mode::empty())?;
        if FileType::from_raw_mode(stat(target.as_fd())?.st_mode).is_symlink() {
            return Err(Error::new("/dev/console is a symbolic link"));
        }
        let tree = clone_fd(self.slave.as_fd(), false).context(|| "clone the terminal")?;
        attach(&tree, target.as_fd()).context(|| "mount /dev/console")
    }

    /// Sends the caller's end.
    pub fn send(&self, recipient: &Recipient) -> Result<()> {
        let socket = recipient.as_fd();
        send_fd(socket, self.master.as_fd(), b"/dev/ptmx").context(|| "send the terminal")
    }

    /// Makes the terminal this session's, and standard input and output.
    pub fn take(self) -> Result<()> {
        rustix::process::ioctl_tiocsctty(&self.slave).context(|| "take the terminal")?;
        rustix::stdio::dup2_stdin(&self.slave)?;
        rustix::stdio::dup2_stdout(&self.slave)?;
        rustix::stdio::dup2_stderr(&self.slave)?;
        Ok(())
    }
}

/// Makes `terminal` leave line feeds alone, as runc does: what comes out of it
/// may go into a file or a pipe.
pub fn leave_line_feeds(terminal: BorrowedFd<'_>) {
    if let Ok(mut modes) = tcgetattr(terminal) {
        modes.output_modes.remove(OutputModes::ONLCR);
        let _ = tcsetattr(terminal, OptionalActions::Now, &modes);
    }
}
