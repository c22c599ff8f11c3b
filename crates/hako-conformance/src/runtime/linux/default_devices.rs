//! "Default Devices".

use serde_json::json;

use super::namespaces::new_user;
use crate::check::{Check, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::receiver::Receiver;
use crate::runtime::trial::{Trial, well};

const SECTION: &str = "config-linux.md#default-devices";

macro_rules! devices {
    ($($name:literal $major:literal $minor:literal)*) => {
        const ALL: &[(&str, u32, u32)] = &[$(($name, $major, $minor)),*];

        pub(super) const CHECKS: &[Check] = &[
            $(Check::must(
                concat!("default-devices.", $name),
                SECTION,
                concat!("Every container has /dev/", $name, "."),
                |bench| device(bench, concat!("/dev/", $name), $major, $minor),
            ),)*
            Check::must(
                "default-devices.ptmx",
                SECTION,
                "/dev/ptmx is a link to the container's /dev/pts/ptmx, or the same file.",
                ptmx,
            ),
            Check::must(
                "default-devices.console",
                SECTION,
                "With a terminal, it is bind-mounted at /dev/console.",
                console,
            ),
            Check::must(
                "default-devices.usable",
                SECTION,
                "The default devices can be used whatever linux.devices lists.",
                usable,
            ),
            Check::must(
                "default-devices.without-mount",
                SECTION,
                "The default devices are there also when nothing is mounted at /dev.",
                |bench| everywhere(bench, |config| {
                    if let Some(mounts) = config["mounts"].as_array_mut() {
                        mounts.retain(|mount| {
                            !mount["destination"].as_str().is_some_and(|at| at.starts_with("/dev"))
                        });
                    }
                }),
            ),
            Check::must(
                "default-devices.user-namespace",
                SECTION,
                "The default devices are there in a container with a user namespace, too.",
                |bench| everywhere(bench, new_user),
            ),
        ];
    };
}

devices! {
    "null" 1 3
    "zero" 1 5
    "full" 1 7
    "random" 1 8
    "urandom" 1 9
    "tty" 5 0
}

fn device(bench: &Bench, path: &str, major: u32, minor: u32) -> Verdict {
    let trial = Trial::new(bench, &[Step::Stat(path.into())])?;
    let seen = trial.live()?;
    let found = seen.value(0)?;
    let right = found["kind"] == "c" && found["major"] == major && found["minor"] == minor;
    demand(right, || format!("{path} is {found}"))?;
    trial.passed()
}

fn everywhere(bench: &Bench, change: impl FnOnce(&mut serde_json::Value)) -> Verdict {
    let stat = |(name, _, _): &(&str, u32, u32)| Step::Stat(format!("/dev/{name}"));
    let steps: Vec<Step> = ALL.iter().map(stat).collect();
    let trial = Trial::new(bench, &steps)?.edit(change);
    let seen = trial.live()?;
    for (n, (name, major, minor)) in ALL.iter().enumerate() {
        let found = seen.value(n)?;
        let right = found["kind"] == "c" && found["major"] == *major && found["minor"] == *minor;
        demand(right, || format!("/dev/{name} is {found}"))?;
    }
    trial.passed()
}

fn usable(bench: &Bench) -> Verdict {
    let steps = [
        Step::Write("/dev/null".into(), "nothing".into()),
        Step::Open("/dev/zero".into()),
        Step::Write("/dev/full".into(), "too much".into()),
        Step::Open("/dev/random".into()),
        Step::Open("/dev/urandom".into()),
    ];
    let trial = Trial::new(bench, &steps)?.edit(|config| {
        config["linux"]["devices"] =
            json!([{ "type": "c", "path": "/dev/hako", "major": 1, "minor": 5 }]);
    });
    let seen = trial.live()?;
    for n in [0, 1, 3, 4] {
        seen.value(n)?;
    }
    let no_space = rustix::io::Errno::NOSPC.raw_os_error();
    let full = seen.answer(2)?;
    let right = *full == crate::probe::Answer::Errno(no_space);
    demand(right, || format!("writing to /dev/full: {full:?}"))?;
    trial.passed()
}

fn ptmx(bench: &Bench) -> Verdict {
    let path = |path: &str| path.to_owned();
    let steps = [
        Step::Stat(path("/dev/ptmx")),
        Step::Link(path("/dev/ptmx")),
        Step::Stat(path("/dev/pts/ptmx")),
        Step::Access(path("/dev/ptmx"), path("rw")),
    ];
    let trial = Trial::new(bench, &steps)?;
    let seen = trial.live()?;
    let (found, wanted) = (seen.value(0)?, seen.value(2)?);
    if found["kind"] == "l" {
        let to = seen.text(1)?;
        demand(["pts/ptmx", "/dev/pts/ptmx"].contains(&to), || {
            format!("/dev/ptmx points to {to}")
        })?;
    } else {
        let same = found["dev"] == wanted["dev"] && found["ino"] == wanted["ino"];
        demand(same, || format!("/dev/ptmx is {found}"))?;
    }
    seen.value(3)?;
    trial.passed()
}

/// The master end comes over a socket, as runc defined it; the program's words
/// go there, too, and so into a file here.
fn console(bench: &Bench) -> Verdict {
    let steps = [
        Step::Into("/tmp/answers".into()),
        Step::Read("/proc/self/mountinfo".into()),
        Step::Stat("/dev/console".into()),
    ];
    let trial = Trial::new(bench, &steps)?.edit(|config| {
        config["process"]["terminal"] = json!(true);
    });
    let socket = Receiver::new(&trial)?;
    trial.write()?;
    let bundle = trial.bundle().to_string_lossy().into_owned();
    let path = socket.path.to_string_lossy().into_owned();
    let args = [
        "create",
        "--console-socket",
        &path,
        "--bundle",
        &bundle,
        &trial.id,
    ];
    well(&trial.call(&args)?)?;
    let message = socket.first(&trial)?;
    let Some(_master) = message.and_then(|mut message| message.fds.pop()) else {
        return fails("no terminal came over the console socket");
    };
    trial.start()?;
    trial.becomes("stopped")?;
    let seen = crate::runtime::seen::Seen::read(&trial.rootfs().join("tmp/answers"))?;
    // The step that turned the answers to the file has told that there.
    let mounts = seen.text(1)?.to_owned();
    let mount = Mounted::find(&mounts, "/dev/console");
    demand(mount.as_ref().is_some_and(|it| it.kind == "devpts"), || {
        format!("at /dev/console is {mount:?}")
    })?;
    let found = seen.value(2)?;
    demand(found["kind"] == "c" && found["major"] == 136, || {
        format!("/dev/console is {found}")
    })?;
    trial.passed()
}
