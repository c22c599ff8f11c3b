//! User-mode networking with pasta(1): the network of a container whose user may
//! make no interfaces on the host.
//!
//! pasta makes an interface in the container's namespace with the host's
//! addresses and routes, and carries out in plain sockets what is sent there.
//! It runs until it is stopped or, when the namespace's path is deleted, until
//! it sees that.
//!
//! The namespace is named by a path that pasta can open with no rights over any
//! process: a bind mount ([`netns::pin`](crate::netns::pin)). `/proc/PID/ns/net`
//! will not do: pasta gives up `CAP_SYS_PTRACE` before it opens the path.

use crate::error::{Error, Result};
use crate::lease::file;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a container sends its name lookups: pasta passes them on to the host's
/// first name server, also to one on the host's loopback. podman's choice too.
pub const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What pasta is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program; `pasta` is looked up in `PATH`.
    pub program: PathBuf,
    /// The container's network namespace, bound to a file.
    pub netns: PathBuf,
    /// The interface's name in the container.
    pub interface: String,
    /// Where pasta writes its process id; [`stop`] needs it.
    pub pid_file: PathBuf,
}

/// The command line, without the program. No port is forwarded either way,
/// neither to the container nor to the host's loopback (`-T`, `-U`), and the
/// gateway's address is not the host (`--no-map-gw`): a container has no way to
/// what listens on the host's loopback.
pub fn arguments(options: &Options) -> Vec<OsString> {
    let dns = DNS.to_string();
    let mut arguments: Vec<OsString> = ["--config-net", "--quiet", "--no-map-gw"]
        .into_iter()
        .chain(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .chain(["--dns-forward", &dns, "--ns-ifname", &options.interface])
        .map(OsString::from)
        .collect();
    for (flag, path) in [("--pid", &options.pid_file), ("--netns", &options.netns)] {
        arguments.push(flag.into());
        arguments.push(path.into());
    }
    arguments
}

/// Finds pasta, and whether it can do anything here: it makes its interface by
/// /dev/net/tun, which some machines keep to root.
///
/// # Errors
///
/// [`Error::PastaMissing`] and [`Error::PastaTun`], both with what to do.
pub fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|dir| dir.join("pasta"))
        .find(|candidate| candidate.is_file())
        .ok_or(Error::PastaMissing)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // Without a name given to it an open tun device is nothing.
    rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(Error::PastaTun)?;
    Ok(program)
}

/// As [`find`], for a container that asks for no network in particular: pasta
/// copies the addresses of the interface that the default route leaves by, and
/// some releases give up without one.
///
/// # Errors
///
/// Those of [`find`], and [`Error::PastaNoRoute`].
pub fn find_useful() -> Result<PathBuf> {
    let program = find()?;
    let read = |name| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    match has_default_route(&read("route"), &read("ipv6_route")) {
        true => Ok(program),
        false => Err(Error::PastaNoRoute),
    }
}

/// Whether the texts of `/proc/net/route` (proc(5)) and `ipv6_route` have a
/// route of no prefix by a usable interface. The kernel's own "unreachable" of
/// version 6 leaves by the loopback.
fn has_default_route(v4: &str, v6: &str) -> bool {
    let usable = |name: Option<&&str>| name.is_some_and(|name| *name != "lo");
    v4.lines().any(|line| {
        let f: Vec<&str> = line.split_ascii_whitespace().collect();
        f.get(1) == Some(&"00000000") && f.get(7) == Some(&"00000000") && usable(f.first())
    }) || v6.lines().any(|line| {
        let f: Vec<&str> = line.split_ascii_whitespace().collect();
        f.get(1) == Some(&"00") && usable(f.get(9))
    })
}

/// Starts pasta in the background; when this returns, the container's network is
/// up.
///
/// # Errors
///
/// [`Error::PastaMissing`] when it is not installed, [`Error::PastaFailed`] with
/// its own words when it gives up.
pub fn start(options: &Options) -> Result<()> {
    crate::network::check_interface(&options.interface)?;
    let run = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::PastaMissing,
        _ => Error::PastaRun {
            path: options.program.clone(),
            source,
        },
    };
    let mut child = Command::new(&options.program)
        .args(arguments(options))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run)?;
    // The one that stays behind in the background closes it.
    let mut bytes = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr
            .take(16 * 1024)
            .read_to_end(&mut bytes)
            .map_err(run)?;
    }
    let status = child.wait().map_err(run)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::PastaFailed {
        status,
        message: message(&String::from_utf8_lossy(&bytes)),
    })
}

/// What pasta says, in one line, without its complaints about a missing syslog.
fn message(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains("to syslog"))
        .collect();
    let mut text = lines.join("; ");
    if text.contains("tun") {
        text.push_str("; is /dev/net/tun there, and open to all?");
    }
    text
}

/// Stops the pasta that wrote `pid_file`, and removes the file. None running is
/// well. A process that has come to have its number is left alone: pasta has the
/// file's path among its arguments.
pub fn stop(pid_file: &Path) -> Result<()> {
    let text = match std::fs::read_to_string(pid_file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(file("read", pid_file, source));
        }
        Ok(text) => text,
    };
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    let pid = pid.and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill(pid, pid_file)?;
    }
    match std::fs::remove_file(pid_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(file("remove", pid_file, source))
        }
        _ => Ok(()),
    }
}

fn kill(pid: Pid, pid_file: &Path) -> Result<()> {
    let failed = |source| file("stop the pasta of", pid_file, source);
    // First the descriptor, then the look at the arguments: what is looked at is
    // what gets the signal.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        other => other.map_err(failed)?,
    };
    let arguments = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid()));
    let arguments = arguments.unwrap_or_default();
    let path = pid_file.as_os_str().as_bytes();
    if !arguments.split(|b| *b == 0).any(|word| word == path) {
        return Ok(());
    }
    // It has nothing to save, and its process namespace ends with it.
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(program: &str) -> Options {
        Options {
            program: program.into(),
            netns: "/run/netns".into(),
            interface: "eth0".into(),
            pid_file: "/run/pid".into(),
        }
    }

    #[test]
    fn a_default_route_is_one_that_leaves_the_machine() {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let lan = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let out = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let zero = "00000000000000000000000000000000";
        let rest = "ffffffff 00000001 00000000";
        let unreachable = format!("{zero} 00 {zero} 00 {zero} {rest} 00200200       lo\n");
        let out6 = format!("{zero} 00 {zero} 00 {zero} {rest} 00000003     eth0\n");
        assert!(has_default_route(&[head, lan, out].concat(), &unreachable));
        assert!(has_default_route(head, &out6));
        assert!(!has_default_route(&[head, lan].concat(), &unreachable));
        assert!(!has_default_route("", "junk\n"));
    }

    #[test]
    fn no_way_in_and_none_to_the_loopback() {
        let line: Vec<_> = arguments(&options("pasta"))
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        assert_eq!(
            line.join(" "),
            "--config-net --quiet --no-map-gw -t none -u none -T none -U none --dns-forward \
             169.254.1.1 --ns-ifname eth0 --pid /run/pid --netns /run/netns"
        );
    }

    #[test]
    fn what_cannot_start_says_why() {
        let missing = start(&options("/nonexistent/pasta")).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("install the package \"passt\"")
        );
        let denied = start(&options("/etc/passwd")).unwrap_err();
        assert_eq!(denied.to_string(), "cannot run /etc/passwd");
        let failed = start(&options("/bin/false")).unwrap_err();
        assert!(matches!(failed, Error::PastaFailed { .. }));
        assert_eq!(
            message("Failed to send 7 bytes to syslog\nCouldn't open network namespace x\n\n"),
            "Couldn't open network namespace x"
        );
        assert!(message("Failed to open tun socket in namespace").ends_with("open to all?"));
    }

    #[test]
    fn a_number_that_went_to_another_process_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(&path, format!("{}\n", other.id())).unwrap();
        stop(&path).unwrap();
        assert!(!path.exists());
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
        for text in ["", "nonsense", "-1", "0", "999999999"] {
            std::fs::write(&path, text).unwrap();
            stop(&path).unwrap();
            assert!(!path.exists());
        }
        stop(&path).unwrap();
    }
}
