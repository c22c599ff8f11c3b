//! "Process": its terminal, which the runtime hands over through the socket of
//! `--console-socket`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::support::runs;
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::seen::Seen;
use crate::runtime::trial::{self, Trial};

const SECTION: &str = "config.md#process";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "process.terminal",
        SECTION,
        "With terminal the program's standard streams are one terminal.",
        terminal,
    ),
    Check::must(
        "process.terminal-false",
        SECTION,
        "Without terminal, or with it false, the program's standard input is no terminal.",
        |bench| {
            plain(bench, |_| ())?;
            plain(bench, |process| process["terminal"] = json!(false))
        },
    ),
    Check::must(
        "process.console-size",
        SECTION,
        "The terminal has the size that consoleSize tells.",
        |bench| {
            let seen = attached(bench, &[Step::Terminal], |process| {
                process["consoleSize"] = json!({ "height": 31, "width": 123 });
            })?;
            demand(*seen.value(1)? == json!([31, 123]), || seen.told())
        },
    ),
    Check::must(
        "process.console-size-ignored",
        SECTION,
        "Without terminal consoleSize is ignored.",
        |bench| {
            for terminal in [Value::Null, json!(false)] {
                plain(bench, |process| {
                    process["consoleSize"] = json!({ "height": 31, "width": 123 });
                    if !terminal.is_null() {
                        process["terminal"] = terminal;
                    }
                })?;
            }
            Ok(())
        },
    ),
];

fn terminal(bench: &Bench) -> Verdict {
    let seen = attached(bench, &[Step::Terminal, Step::Fds], |_| ())?;
    seen.value(1)?;
    let fds = seen.value(2)?;
    let what = |n: usize| fds[n][1].as_str().unwrap_or_default();
    let one = what(0).starts_with("/dev/") && what(0) == what(1) && what(0) == what(2);
    demand(one, || format!("the streams are {fds}"))
}

fn plain(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let seen = runs(bench, &[Step::Terminal], |config| {
        change(&mut config["process"]);
    })?;
    let no = Answer::Errno(rustix::io::Errno::NOTTY.raw_os_error());
    demand(*seen.answer(0)? == no, || seen.told())
}

/// Runs a container with a terminal; the first answer is that of going to the
/// file in which the others are.
fn attached(bench: &Bench, steps: &[Step], change: impl FnOnce(&mut Value)) -> Result<Seen, Stop> {
    let all = [&[Step::Into("/tmp/answers".into())], steps].concat();
    let trial = Trial::new(bench, &all)?.edit(|config| {
        config["process"]["terminal"] = json!(true);
        change(&mut config["process"]);
    });
    let socket = trial.beside("console");
    let listener = UnixListener::bind(&socket)
        .map_err(Stop::broken(format!("cannot bind {}", socket.display())))?;
    trial.write()?;
    let (bundle, socket) = (trial::text(&trial.bundle()), trial::text(&socket));
    let args = [
        "create",
        "--bundle",
        &bundle,
        "--console-socket",
        &socket,
        &trial.id,
    ];
    trial::well(&trial.call(&args)?)?;
    let master = received(&listener)?;
    trial.start()?;
    trial.becomes("stopped")?;
    drop(master);
    let seen = Seen::read(&trial.rootfs().join("tmp/answers"))?;
    trial.passed()?;
    Ok(seen)
}

/// The descriptor that has been sent.
fn received(listener: &UnixListener) -> Result<OwnedFd, Stop> {
    let nothing = || Stop::Fails("no terminal was sent to the console socket".to_owned());
    let broken = Stop::broken::<std::io::Error>("cannot listen for the terminal");
    listener.set_nonblocking(true).map_err(broken)?;
    let (stream, _) = listener.accept().map_err(|_| nothing())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut text)],
        &mut ancillary,
        flags,
    )
    .map_err(|_| nothing())?;
    let sent = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match sent {
        Some(fd) => Ok(fd),
        None => fails("the console socket was sent no descriptor"),
    }
}
