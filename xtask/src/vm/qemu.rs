//! The machine: qemu as an unprivileged process, with a disk, a console that
//! goes into a file and a port whose lines are the reports.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::vm::plan::{Event, PORT};

const QEMU: &str = "qemu-system-x86_64";
/// The size of the guest's disk, which is a sparse file.
const DISK: &str = "8G";

/// What the machine is made of.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Where the disk and the console's text go.
    pub(crate) dir: &'a Path,
    /// Megabytes.
    pub(crate) memory: u32,
    /// How the guest's first process is called with its arguments.
    pub(crate) init: &'a [&'a str],
}

/// A machine that runs.
pub(crate) struct Running {
    qemu: Child,
    lines: Receiver<std::io::Result<String>>,
    deadline: Instant,
    console: PathBuf,
}

/// Says what is missing before anything is built.
pub(crate) fn check() -> Result<()> {
    let version = Command::new(QEMU)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !version.is_ok_and(|status| status.success()) {
        bail!("{QEMU} is missing: run 'sudo apt-get install qemu-system-x86'");
    }
    Ok(())
}

impl Machine<'_> {
    /// Switches the machine on; `limit` is the most that it may take.
    pub(crate) fn start(&self, limit: Duration) -> Result<Running> {
        let disk = self.dir.join("disk");
        // The programs of sbin are not in everybody's path.
        run(Command::new("mke2fs")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&disk)
            .arg(DISK))?;
        let console = self.dir.join("console");
        let path = |path: &Path| path.display().to_string().replace(',', ",,");
        let (init, arguments) = self.init.split_first().context("no init")?;
        let append = format!(
            "console=ttyS0 loglevel=4 panic=-1 mitigations=off cgroup_no_v1=all rcupdate.rcu_expedited=1 rdinit={init} -- {}",
            arguments.join(" ")
        );
        let mut command = Command::new(QEMU);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            // A model whose timer runs always (ARAT): with Nehalem, which has none
            // such, the guest was seen to idle and never wake up.
            .args(["-display", "none", "-machine", "q35", "-cpu", "max"])
            .args(["-accel", "tcg,thread=multi", "-smp", "2"])
            .args(["-m", &self.memory.to_string()])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", &append])
            .args(["-serial", &format!("file:{}", path(&console))])
            .args([
                "-drive",
                &format!("file={},format=raw,if=virtio,cache=unsafe", path(&disk)),
            ])
            .args(["-device", "virtio-serial-pci"])
            .args(["-chardev", "file,id=report,path=/dev/stdout"])
            .args([
                "-device",
                &format!("virtserialport,chardev=report,name={PORT}"),
            ]);
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {QEMU}"))?;
        let stdout = qemu.stdout.take().context("qemu has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Running {
            qemu,
            lines,
            deadline: Instant::now() + limit,
            console,
        })
    }
}

impl Running {
    /// The next event, which must come within `silence`; none when the machine
    /// is off.
    pub(crate) fn next(&mut self, silence: Duration) -> Result<Option<Event>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left.min(silence)) {
            Ok(line) => {
                let line = line.context("read what the guest reports")?;
                let event = serde_json::from_str(line.trim_end())
                    .with_context(|| format!("the guest reports nonsense: {line}"))?;
                Ok(Some(event))
            }
            Err(RecvTimeoutError::Timeout) if silence < left => {
                bail!("the guest has said nothing for {} s", silence.as_secs())
            }
            Err(RecvTimeoutError::Timeout) => bail!("the time is over (--timeout gives more)"),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// The end of what the kernel has printed.
    pub(crate) fn console(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(60);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is off after a good run; these are then without effect.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
