//! Monitors that run containers: of a stand-in for a runtime, a shell script
//! whose container is a plain process, and of real ones. Needs root, runc,
//! crun and busybox-static. `HAKO_FAST_EXITS` is how many fast exits to try.
//!
//! Called with `--config`, this program is the monitor itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod adopt;
mod clients;
mod life;
mod real;
mod support;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|a| a == "--config") {
        return ExitCode::from(hako_monitor::main(args));
    }
    // What cargo-nextest asks of a test program.
    let has = |flag: &str| args.iter().any(|a| a == flag);
    if has("--list") {
        let all = [life::TESTS, clients::TESTS, adopt::TESTS, real::TESTS].concat();
        for (name, _) in all.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let exact = has("--exact");
    let filter = args
        .iter()
        .filter_map(|a| a.to_str())
        .find(|a| !a.starts_with('-'))
        .unwrap_or("");
    let tests: Vec<Test> = [life::TESTS, clients::TESTS, adopt::TESTS, real::TESTS]
        .concat()
        .into_iter()
        .filter(|(name, _)| {
            if exact {
                *name == filter
            } else {
                name.contains(filter)
            }
        })
        .collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ok = catch_unwind(test).is_ok();
                    println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
                    if !ok {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {} failed: {failed:?}",
        tests.len() - failed.len(),
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
