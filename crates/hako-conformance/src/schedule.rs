//! Trying many checks, several at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Check, Verdict};
use crate::runtime::Bench;

/// What is to be tried, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The checks, in the order in which they are told.
    pub checks: Vec<&'static Check>,
    /// The runtime.
    pub bench: &'a Bench,
    /// How many at a time; 0 is 1.
    pub jobs: usize,
}

/// What came of a check.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The check.
    pub check: &'static Check,
    /// What it says.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// Somebody who watches: called after each check with how many are done, how
/// many there are, and the last one.
pub type Progress<'a> = &'a (dyn Fn(usize, usize, &Tried) + Sync);

impl Plan<'_> {
    /// Tries all; the results are in the order of the checks.
    #[must_use]
    pub fn run(&self, progress: Progress<'_>) -> Vec<Tried> {
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Tried>>> =
            self.checks.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, self.checks.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(check) = self.checks.get(n) else {
                            return;
                        };
                        let tried = attempt(check, self.bench);
                        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                        progress(count, self.checks.len(), &tried);
                        if let Ok(mut place) = results[n].lock() {
                            *place = Some(tried);
                        }
                    }
                });
            }
        });
        let take = |it: Mutex<Option<Tried>>| it.into_inner().ok().flatten();
        results.into_iter().filter_map(take).collect()
    }
}

fn attempt(check: &'static Check, bench: &Bench) -> Tried {
    let start = Instant::now();
    let verdict = (check.run)(bench);
    Tried {
        check,
        verdict,
        time: start.elapsed(),
    }
}
