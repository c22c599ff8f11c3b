//! How long a container waits for its network: medians of `ensure` (all there),
//! `attach`, `release` and `detach`, in a loop and after 300 ms of quiet. Works
//! in a network namespace of its own; needs root.
//!
//! `cargo run -p hako-net --example latency [ROUNDS]`

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use hako_net::{Definition, Networks, Options, netns};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Names and times of the steps, in the order in which they were first seen.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<Duration>)>);

impl Times {
    fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(took),
            None => self.0.push((name, vec![took])),
        }
        result
    }
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(50, |n| n.parse().unwrap());
    let dir = std::env::temp_dir().join(format!("hako-net-latency-{}", std::process::id()));
    let host = netns::create().unwrap();
    let networks = Networks::open(&dir).unwrap();
    for (name, quiet) in [
        ("loop", Duration::ZERO),
        ("after 300 ms of quiet", Duration::from_millis(300)),
    ] {
        let mut times = Times::default();
        for round in 0..rounds {
            let container = netns::create().unwrap();
            std::thread::sleep(quiet);
            netns::within(host.as_fd(), || {
                let wanted = Definition::new("bench");
                if round == 0 {
                    times.measure("ensure, first", || networks.ensure(&wanted))?;
                    std::thread::sleep(quiet);
                }
                let ready = times.measure("ensure", || networks.ensure(&wanted))?;
                let options = Options::default();
                times.measure("attach", || {
                    networks.attach(container.as_fd(), &ready.network, "c", &options)
                })?;
                std::thread::sleep(quiet);
                if round % 2 == 0 {
                    times.measure("release", || networks.release("bench", "c"))?;
                } else {
                    times.measure("detach", || networks.detach("bench", "c"))?;
                }
                Ok(())
            })
            .unwrap();
        }
        println!("{name}, {rounds} rounds, µs:");
        for (name, mut of) in times.0 {
            of.sort();
            let at = |part: usize| of[(of.len() - 1) * part / 100].as_micros();
            println!(
                "  {name:14} median {:6}  least {:6}  90th {:6}",
                at(50),
                at(0),
                at(90)
            );
        }
    }
    netns::within(host.as_fd(), || networks.teardown("bench")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
