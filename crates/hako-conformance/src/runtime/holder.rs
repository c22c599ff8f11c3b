//! A process that holds a surrounding for runtimes: namespaces and mounts.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::seen::Seen;
use super::trial::Trial;
use crate::check::{Stop, Verdict};
use crate::probe::{Answer, Step};

/// The probe outside of containers, with namespaces of its own. Dropping it
/// ends it.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    pub(crate) seen: Seen,
}

impl Holder {
    /// Does `steps`, all of which have to succeed, and waits.
    pub(crate) fn new(trial: &Trial<'_>, steps: &[Step]) -> Result<Holder, Stop> {
        let out = trial.beside("holder");
        let mut all = steps.to_vec();
        all.push(Step::Wait);
        let mut holder = Holder::spawn(trial, &all, &out)?;
        trial
            .until("the tester's process makes a surrounding", || {
                holder.seen = Seen::read(&out)?;
                let ended = holder.child.try_wait().is_ok_and(|status| status.is_some());
                Ok(ended || holder.seen.len() >= steps.len())
            })
            .and_then(|()| holder.sound(steps.len()))?;
        Ok(holder)
    }

    fn spawn(trial: &Trial<'_>, steps: &[Step], out: &PathBuf) -> Result<Holder, Stop> {
        let failed = Stop::broken("cannot execute the probe");
        let file = File::create(out).map_err(&failed)?;
        let mut command = Command::new(trial.bench.probe());
        command.arg(json!(steps).to_string()).current_dir("/");
        command.stdin(Stdio::null()).stdout(file);
        Ok(Holder {
            child: command.spawn().map_err(failed)?,
            seen: Seen::read(out)?,
        })
    }

    fn sound(&self, count: usize) -> Verdict {
        for n in 0..count {
            match self.seen.answer(n) {
                Ok(Answer::Value(_)) => {}
                Ok(Answer::Errno(errno)) => {
                    let why = super::seen::told(*errno);
                    return Err(Stop::Broken(format!("step {n} of a surrounding: {why}")));
                }
                Err(_) => return Err(Stop::Broken("the tester's process ended".into())),
            }
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of its namespace `name` (a file below `/proc/PID/ns`).
    pub(crate) fn ns(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
