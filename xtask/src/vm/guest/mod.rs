//! The guest's side: this program as the first process of the machine, and
//! then as the one that runs the tests.
//!
//! The two are apart so that a guest with another init can start the second.

mod boot;
mod run;
mod suite;

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::vm::plan::{Event, PORT};

/// The hidden command of this program that is the guest's side.
pub(crate) const VERB: &str = "vm-guest";
/// Its first argument: set the machine up, run the tests, switch it off.
pub(crate) const BOOT: &str = "boot";
/// Its first argument: run the tests.
pub(crate) const RUN: &str = "run";

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<ExitCode> {
    let role = parser.value()?;
    if role == BOOT && std::process::id() == 1 {
        boot::main();
    } else if role == RUN {
        run::main()?;
    } else {
        bail!("{VERB} is for the inside of the virtual machine");
    }
    Ok(ExitCode::SUCCESS)
}

/// The port through which the host hears of us.
struct Port(Mutex<File>);

impl Port {
    fn open() -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(name) = find_port() {
                let path = format!("/dev/{name}");
                let file = File::options().write(true).open(&path);
                return Ok(Port(Mutex::new(
                    file.with_context(|| format!("open {path}"))?,
                )));
            }
            if Instant::now() > end {
                bail!("the machine has no port {PORT}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn tell(&self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event).context("describe an event")?;
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(|e| e.into_inner());
        file.write_all(&line).context("report to the host")
    }
}

fn find_port() -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/virtio-ports").ok()?;
    entries.flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim() == PORT).then(|| entry.file_name().into_string().ok())?
    })
}
