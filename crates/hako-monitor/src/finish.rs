//! From the end of the container's first process to the end of the monitor:
//! its last output, `exit.json`, the journal, the event command, the clients.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::monitor::{Monitor, Phase};
use crate::oom;
use crate::protocol::Frame;
use crate::record::{Ended, Exit, write_json};
use crate::spawn;

/// How long processes that outlive the first one may go on writing. In a pid
/// namespace there are none.
const GRACE: Duration = Duration::from_millis(250);
/// How much they may write in that time, in bytes.
const MAX_LAST: usize = 4 << 20;
/// How long a client without back-pressure has for its last frames.
const PARTING: Duration = Duration::from_secs(10);

impl Monitor {
    /// Goes on in the container's life as far as possible now.
    pub(crate) fn advance(&mut self) {
        self.ask_after();
        loop {
            match self.phase {
                // A fast container ends before `start` has: first things first.
                Phase::Created { start: None } | Phase::Running if self.end.is_some() => {
                    self.phase = Phase::Draining {
                        since: Instant::now(),
                        read: 0,
                    };
                }
                Phase::Draining { since, read } => {
                    let mut more = 0;
                    for index in (0..self.streams.outputs.len()).rev() {
                        more += self.read_output(index, true);
                    }
                    let over = self.streams.outputs.is_empty()
                        || (more == 0 && since.elapsed() >= GRACE)
                        || read + more >= MAX_LAST;
                    if !over {
                        self.phase = Phase::Draining {
                            since,
                            read: read + more,
                        };
                        return;
                    }
                    self.conclude();
                }
                Phase::Hook(None) => {
                    self.tell();
                    self.phase = Phase::Parting {
                        since: Instant::now(),
                    };
                }
                Phase::Parting { since } => {
                    let late = since.elapsed() >= PARTING;
                    for conn in &mut self.conns {
                        conn.flush();
                        if late && !conn.attach.is_some_and(|a| a.back_pressure) {
                            conn.dead = true;
                        }
                    }
                    self.conns.retain(|c| !c.dead);
                    if !self.conns.is_empty() {
                        return;
                    }
                    self.listener.remove(&self.run_dir);
                    self.phase = Phase::Over;
                }
                _ => return,
            }
        }
    }

    /// When [`Monitor::advance`] has something to do without any event.
    pub(crate) fn phase_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining { since, .. } => Some(since + GRACE),
            Phase::Parting { since } => {
                let patient = |c: &crate::conn::Conn| c.attach.is_some_and(|a| a.back_pressure);
                (!self.conns.iter().all(patient)).then(|| since + PARTING)
            }
            _ => None,
        }
    }

    /// Everything is read: writes down what became of the container and
    /// executes the event command.
    fn conclude(&mut self) {
        self.logger.flush();
        self.streams = crate::streams::Streams::default();
        let Some(end) = self.end.clone() else {
            return;
        };
        let exit = Exit {
            version: 1,
            id: self.config.id.clone(),
            code: end.ended.map(Ended::code),
            signal: match end.ended {
                Some(Ended::Signal(signal)) => Some(signal),
                _ => None,
            },
            oom_killed: self.oom.as_ref().is_some_and(oom::Watch::killed),
            started_at: self.started_at.clone(),
            finished_at: end.time,
            known: end.known,
        };
        self.oom = None;
        if let Err(e) = write_json(&self.dir, "exit.json", &exit) {
            crate::entry::complain(&self.dir, &e.line());
        }
        let fields = serde_json::to_value(&exit).unwrap_or_default();
        self.note("exited", &[("exit", fields)]);
        self.exit = Some(exit);
        // From here on a successor may begin, which the event command may want.
        self.lock = None;
        self.phase = Phase::Hook(self.execute_event());
    }

    fn execute_event(&mut self) -> Option<rustix::process::Pid> {
        if self.config.on_event.is_empty() {
            return None;
        }
        let mut argv: Vec<OsString> = self.config.on_event.iter().map(OsString::from).collect();
        argv.push("exit".into());
        argv.push(self.config.id.clone().into());
        let spawned = spawn::null().and_then(|null| {
            let streams = spawn::Streams {
                stdin: null.as_fd(),
                stdout: null.as_fd(),
                stderr: null.as_fd(),
            };
            spawn::spawn(&argv, &streams)
        });
        match spawned {
            Ok(pid) => Some(pid),
            Err(e) => {
                self.note("event-command-failed", &[("message", e.line().into())]);
                crate::entry::complain(&self.dir, &e.line());
                None
            }
        }
    }

    /// Tells every client that has attached how it ended, and parts from all.
    fn tell(&mut self) {
        for conn in &mut self.conns {
            if let (Some(exit), Some(_)) = (&self.exit, conn.attach) {
                conn.send(&Frame::Exit(exit.clone()));
            }
            conn.closing = true;
            conn.flush();
        }
    }
}
