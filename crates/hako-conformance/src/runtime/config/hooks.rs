//! "POSIX-platform Hooks": the fields of each kind of hook, where it is
//! executed, and what it is told. When each kind is called is runtime.md's.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::invalid;
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::{self, Answer, Step};
use crate::runtime::Bench;
use crate::runtime::seen::Seen;
use crate::runtime::trial::{self, PROBE, Trial};

const SECTION: &str = "config.md#posix-platform-hooks";

/// The checks of one kind: `$runtime` when it is executed in the runtime's
/// namespaces, and the statuses that its state may have.
macro_rules! kind {
    ($checks:ident, $name:literal, $kind:literal, $section:literal, $space:ident, $statuses:expr) => {
        const $checks: &[Check] = &[
            Check::must(
                concat!("hook.", $name, ".path"),
                concat!("config.md#", $section),
                match Space::$space.path() {
                    true => concat!(
                        "The path of a ",
                        $kind,
                        " hook is one of the runtime's namespaces."
                    ),
                    false => concat!("The path of a ", $kind, " hook is one of the container."),
                },
                |bench| path(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".path-relative"),
                SECTION,
                concat!(
                    "A ",
                    $kind,
                    " hook whose path is not absolute is an error, and is not executed."
                ),
                |bench| relative(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".args"),
                SECTION,
                concat!(
                    "A ",
                    $kind,
                    " hook gets its args as they are written, with args[0] in the first place."
                ),
                |bench| args(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".env"),
                SECTION,
                concat!(
                    "A ",
                    $kind,
                    " hook's environment is its env, as it is written."
                ),
                |bench| env(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".timeout"),
                SECTION,
                concat!("A ", $kind, " hook is aborted after its timeout."),
                |bench| timeout(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".order"),
                SECTION,
                concat!("The ", $kind, " hooks are called in the listed order."),
                |bench| order(bench, $kind),
            ),
            Check::must(
                concat!("hook.", $name, ".state"),
                SECTION,
                concat!(
                    "A ",
                    $kind,
                    " hook gets the container's state as standard input."
                ),
                |bench| state(bench, $kind, $statuses),
            ),
            Check::must(
                concat!("hook.", $name, ".namespace"),
                concat!("config.md#", $section),
                match Space::$space.inside() {
                    true => concat!(
                        "A ",
                        $kind,
                        " hook is executed in the container's namespaces."
                    ),
                    false => concat!(
                        "A ",
                        $kind,
                        " hook is executed in the runtime's namespaces."
                    ),
                },
                |bench| namespace(bench, $kind, Space::$space),
            ),
        ];
    };
}

/// Where a hook is found and executed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Space {
    /// Both in the runtime's namespaces.
    Runtime,
    /// Found there, executed in the container's.
    Both,
    /// Both in the container's.
    Container,
}

impl Space {
    const fn path(self) -> bool {
        !matches!(self, Space::Container)
    }

    const fn inside(self) -> bool {
        !matches!(self, Space::Runtime)
    }
}

kind!(
    PRESTART,
    "prestart",
    "prestart",
    "prestart",
    Runtime,
    &["creating", "created"]
);
kind!(
    CREATE_RUNTIME,
    "create-runtime",
    "createRuntime",
    "createruntime-hooks",
    Runtime,
    &["creating", "created"]
);
kind!(
    CREATE_CONTAINER,
    "create-container",
    "createContainer",
    "createcontainer-hooks",
    Both,
    &["creating", "created"]
);
kind!(
    START_CONTAINER,
    "start-container",
    "startContainer",
    "startcontainer-hooks",
    Container,
    &["created", "running"]
);
kind!(
    POSTSTART,
    "poststart",
    "poststart",
    "poststart",
    Runtime,
    &["running"]
);
kind!(
    POSTSTOP,
    "poststop",
    "poststop",
    "poststop",
    Runtime,
    &["stopped"]
);

const MORE: &[Check] = &[
    Check::must(
        "hook.timeout-not-positive",
        SECTION,
        "A timeout that is not greater than 0 is an error.",
        |bench| {
            for timeout in [0, -1] {
                let hook = json!([{ "path": trial::text(&bench.probe()), "timeout": timeout }]);
                invalid(bench, |config| {
                    config["hooks"] = json!({ "createRuntime": hook });
                })?;
            }
            Ok(())
        },
    ),
    Check::must(
        "hook.path-missing",
        SECTION,
        "A hook without path is an error.",
        |bench| {
            let hook = json!([{ "args": [probe::NAME, "[]"] }]);
            invalid(bench, |config| {
                config["hooks"] = json!({ "createRuntime": hook });
            })
        },
    ),
    Check::must(
        "hook.prestart.environment",
        "config.md#prestart",
        "The prestart hooks are called when the container's namespaces and mounts are there, and its root is not yet changed.",
        |bench| environment(bench, "prestart"),
    ),
    Check::must(
        "hook.prestart.before-create-runtime",
        "config.md#prestart",
        "The prestart hooks are called before the createRuntime hooks, wherever they are listed.",
        |bench| follows(bench, "prestart", "createRuntime"),
    ),
    Check::must(
        "hook.create-runtime.environment",
        "config.md#createruntime-hooks",
        "The createRuntime hooks are called when the container's namespaces and mounts are there, and its root is not yet changed.",
        |bench| environment(bench, "createRuntime"),
    ),
    Check::must(
        "hook.create-container.after-create-runtime",
        "config.md#createcontainer-hooks",
        "The createContainer hooks are called after the createRuntime hooks, wherever they are listed.",
        |bench| follows(bench, "createRuntime", "createContainer"),
    ),
    Check::must(
        "hook.create-container.environment",
        "config.md#createcontainer-hooks",
        "The createContainer hooks see the container's mounts at the bundle, since the root is not yet changed.",
        container_environment,
    ),
];

pub(super) const CHECKS: &[Check] = &join();

const COUNT: usize = 6 * PRESTART.len() + MORE.len();

/// All in one list.
const fn join() -> [Check; COUNT] {
    let lists = [
        PRESTART,
        CREATE_RUNTIME,
        CREATE_CONTAINER,
        START_CONTAINER,
        POSTSTART,
        POSTSTOP,
        MORE,
    ];
    let mut all = [PRESTART[0]; COUNT];
    let (mut list, mut at, mut n) = (0, 0, 0);
    while n < COUNT {
        if at == lists[list].len() {
            list += 1;
            at = 0;
        }
        all[n] = lists[list][at];
        at += 1;
        n += 1;
    }
    all
}

/// The file that a hook of this kind reports to, as it names it and as it is
/// outside.
fn log(trial: &Trial<'_>, kind: &str) -> (String, PathBuf) {
    match kind {
        "startContainer" => ("/tmp/log".to_owned(), trial.rootfs().join("tmp/log")),
        _ => (trial::text(&trial.beside("log")), trial.beside("log")),
    }
}

fn lines(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs a container with a hook that does `steps`, after a change of the hook;
/// gives what the hook and the program have found.
fn told(
    bench: &Bench,
    kind: &str,
    steps: &[Step],
    program: &[Step],
    change: impl FnOnce(&mut Value),
) -> Result<(Seen, Seen), Stop> {
    // The program is there for as long as a hook may look at it; 'start' may
    // return before it is.
    let all = [program, &[Step::Say("runs".into()), Step::Wait]].concat();
    let trial = Trial::new(bench, &all)?;
    let (inside, outside) = log(&trial, kind);
    // Who leaves its input unread may surprise a runtime.
    let steps = [&[Step::Into(inside)], steps, &[Step::Stdin]].concat();
    let trial = trial
        .hook(kind, &steps)
        .edit(|config| change(&mut config["hooks"][kind][0]));
    trial.launch()?;
    let seen = trial.answers(program.len() + 1)?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.delete()?;
    let hook = Seen::read(&outside)?;
    if hook.len() == 0 {
        return fails(format!("the {kind} hook has reported nothing"));
    }
    trial.passed()?;
    Ok((hook, seen))
}

/// The probe is in one of the two places only.
fn path(bench: &Bench, kind: &str) -> Verdict {
    let (hook, _) = told(bench, kind, &[Step::Say("called".into())], &[], |_| ())?;
    demand(hook.text(1)? == "called", || hook.told())
}

/// The path would lead to the probe from wherever it could start.
fn relative(bench: &Bench, kind: &str) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let (inside, outside) = log(&trial, kind);
    for dir in [trial.bundle(), trial.beside("")] {
        fs::hard_link(bench.probe(), dir.join(probe::NAME))
            .map_err(Stop::broken("cannot make a link"))?;
    }
    let trial = trial
        .hook(kind, &[Step::Append(inside, "called".into()), Step::Stdin])
        .edit(|config| {
            config["hooks"][kind][0]["path"] = json!(PROBE.trim_start_matches('/'));
        });
    let created = trial.try_create()?;
    let mut last = created;
    if last.is_ok() {
        last = trial.call(&["start", &trial.id])?;
    }
    if last.is_ok() {
        trial.becomes("stopped")?;
        last = trial.call(&["delete", &trial.id])?;
    }
    trial.erred(&last)?;
    demand(!outside.exists(), || {
        "the hook has been executed".to_owned()
    })?;
    trial.passed()
}

fn args(bench: &Bench, kind: &str) -> Verdict {
    let mut wanted = Value::Null;
    let (hook, _) = told(bench, kind, &[Step::Args], &[], |hook| {
        let list = hook["args"].as_array_mut();
        if let Some(args) = list {
            args[0] = json!(format!("another name/{}", probe::NAME));
            args.extend([json!(""), json!("two words"), json!("$HOME")]);
        }
        wanted = hook["args"].clone();
    })?;
    demand(*hook.value(1)? == wanted, || hook.told())
}

fn env(bench: &Bench, kind: &str) -> Verdict {
    let wanted = json!(["B=2", "EMPTY=", "A=b=c", "HOME=/h"]);
    let (hook, _) = told(bench, kind, &[Step::Env], &[], |hook| {
        hook["env"] = wanted.clone();
    })?;
    demand(*hook.value(1)? == wanted, || hook.told())
}

/// A hook that is aborted before its program has begun tells nothing; on a
/// slow machine a second can be too short for that.
fn timeout(bench: &Bench, kind: &str) -> Verdict {
    match aborted(bench, kind, 1, false)? {
        true => Ok(()),
        false => aborted(bench, kind, 8, true).map(drop),
    }
}

/// A hook with a timeout that takes longer; whether it has begun, which it has
/// to in the end if it `must`.
fn aborted(bench: &Bench, kind: &str, seconds: u64, must: bool) -> Result<bool, Stop> {
    let long = seconds * 1000 + 2500;
    let trial = Trial::new(bench, &[])?;
    let (inside, outside) = log(&trial, kind);
    let steps = [
        Step::Append(inside.clone(), "begins".into()),
        Step::Sleep(long),
        Step::Append(inside, "ends".into()),
    ];
    let trial = trial
        .hook(kind, &steps)
        .edit(|config| config["hooks"][kind][0]["timeout"] = json!(seconds));
    let begin = Instant::now();
    // The operation may well be an error.
    if trial.try_create()?.is_ok() {
        trial.call(&["start", &trial.id])?;
        if kind == "poststop" {
            trial.becomes("stopped")?;
            trial.delete()?;
        }
    }
    if !must && !outside.exists() {
        trial.passed()?;
        return Ok(false);
    }
    trial.until("the hook is called", || Ok(outside.exists()))?;
    // The hook was called later than this began.
    let rest = Duration::from_millis(long + 500).saturating_sub(begin.elapsed());
    std::thread::sleep(rest);
    let log = lines(&outside);
    demand(log == ["begins"], || {
        format!("the hook has gone on: {}", log.join(", "))
    })?;
    trial.passed()?;
    Ok(true)
}

fn order(bench: &Bench, kind: &str) -> Verdict {
    let mut trial = Trial::new(bench, &[])?;
    let (inside, outside) = log(&trial, kind);
    let all = ["first", "second", "third", "fourth"];
    for (n, word) in all.iter().enumerate() {
        // Those that come earlier take longer.
        let wait = Step::Sleep(80 - 20 * n as u64);
        let call = Step::Append(inside.clone(), (*word).into());
        trial = trial.hook(kind, &[wait, call, Step::Stdin]);
    }
    trial.live()?;
    let log = lines(&outside);
    demand(log == all, || format!("the order was {}", log.join(", ")))?;
    trial.passed()
}

fn state(bench: &Bench, kind: &str, statuses: &[&str]) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("runs".into()), Step::Wait])?;
    let (inside, outside) = log(&trial, kind);
    let trial = trial
        .hook(kind, &[Step::Into(inside), Step::Stdin])
        .edit(|config| config["annotations"] = json!({ "org.example.key": "value" }));
    trial.create()?;
    let pid = trial.pid()?;
    trial.start()?;
    trial.answers(1)?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.delete()?;
    let seen = Seen::read(&outside)?;
    let text = seen.text(1)?;
    let Ok(state) = serde_json::from_str::<Value>(text) else {
        return fails(format!("standard input is no JSON: {text}"));
    };
    let wanted = [
        ("id", json!(trial.id)),
        ("bundle", json!(trial.bundle().to_string_lossy())),
        ("annotations", json!({ "org.example.key": "value" })),
    ];
    for (name, value) in wanted {
        demand(state[name] == value, || {
            format!("{name} of the state is {}, not {value}", state[name])
        })?;
    }
    demand(state["ociVersion"].is_string(), || state.to_string())?;
    let status = state["status"].as_str().unwrap_or_default();
    demand(statuses.contains(&status), || {
        format!("the status is '{status}'")
    })?;
    // It has to be there from 'created' on; within the container it may be the
    // number that the process has there.
    let good = match (kind, status) {
        ("poststop", _) => true,
        ("createContainer", "creating") => true,
        ("createContainer" | "startContainer", _) => {
            state["pid"].as_i64().is_some_and(|pid| pid > 0)
        }
        (_, "creating") => state["pid"].is_null() || state["pid"] == pid,
        _ => state["pid"] == pid,
    };
    demand(good, || format!("the pid is {}, not {pid}", state["pid"]))?;
    trial.passed()
}

fn namespace(bench: &Bench, kind: &str, space: Space) -> Verdict {
    let kinds = ["mnt", "net", "uts", "ipc", "pid"];
    let steps = kinds.map(|it| Step::Link(format!("/proc/self/ns/{it}")));
    let (hook, program) = told(bench, kind, &steps, &steps, |_| ())?;
    for (n, name) in kinds.iter().enumerate() {
        let path = format!("/proc/self/ns/{name}");
        let outside = fs::read_link(&path).map_err(Stop::broken(format!("cannot read {path}")))?;
        let outside = outside.to_string_lossy().into_owned();
        let inside = program.text(n)?;
        let wanted = if space.inside() { inside } else { &outside };
        demand(hook.text(n + 1)? == wanted && inside != outside, || {
            let found = hook.text(n + 1).unwrap_or_default();
            format!("the hook has {found}, the program {inside}, the runtime {outside}")
        })?;
    }
    Ok(())
}

/// Looks from the runtime's namespaces at the container's process.
fn environment(bench: &Bench, kind: &str) -> Verdict {
    let steps = [
        Step::State,
        Step::Link("/proc/{pid}/ns/mnt".into()),
        Step::Link("/proc/{pid}/ns/net".into()),
        Step::Stat("/proc/{pid}/root/.".into()),
        Step::Stat("/".into()),
        Step::Read("/proc/{pid}/mountinfo".into()),
    ];
    let inside = ["mnt", "net"].map(|it| Step::Link(format!("/proc/self/ns/{it}")));
    let (hook, program) = told(bench, kind, &steps, &inside, |_| ())?;
    for n in 0..2 {
        demand(hook.text(n + 2)? == program.text(n)?, || {
            format!("{} before, {} later", hook.told(), program.told())
        })?;
    }
    let place = |n: usize| {
        hook.value(n)
            .map(|it| (it["dev"].clone(), it["ino"].clone()))
    };
    demand(place(4)? == place(5)?, || {
        "the container's process has another root already".to_owned()
    })?;
    let mounts = hook.text(6)?;
    let there = |name: &str| {
        let mut places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        places.any(|it| it.ends_with(&format!("/bundle/rootfs{name}")))
    };
    for name in ["/proc", "/dev", "/dev/shm", "/sys"] {
        demand(there(name), || format!("{name} is not mounted"))?;
    }
    Ok(())
}

/// Calls the second kind after the first, although it is listed before.
fn follows(bench: &Bench, first: &str, second: &str) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let (inside, outside) = log(&trial, first);
    let trial = trial
        .hook(
            second,
            &[Step::Append(inside.clone(), second.into()), Step::Stdin],
        )
        .hook(
            first,
            &[
                Step::Sleep(50),
                Step::Append(inside, first.into()),
                Step::Stdin,
            ],
        );
    trial.live()?;
    let log = lines(&outside);
    demand(log == [first, second], || {
        format!("the order was {}", log.join(", "))
    })?;
    trial.passed()
}

fn container_environment(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let (inside, outside) = log(&trial, "createContainer");
    let root = trial::text(&trial.rootfs());
    let steps = [
        Step::Into(inside),
        Step::Read(format!("{root}/proc/1/comm")),
        Step::List(format!("{root}/dev/pts")),
        Step::Stat(trial::text(&bench.probe())),
        Step::Stdin,
    ];
    let trial = trial.hook("createContainer", &steps);
    trial.live()?;
    let seen = Seen::read(&outside)?;
    for n in 1..4 {
        demand(matches!(seen.answer(n)?, Answer::Value(_)), || seen.told())?;
    }
    trial.passed()
}
