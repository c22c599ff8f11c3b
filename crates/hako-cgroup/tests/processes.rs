//! Processes in cgroups, on this machine's own hierarchies: with all of
//! them, with version 1 alone and with version 2 alone. Runs without threads, because it
//! forks. Needs root; works below cgroups of its own and ends its children.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::needless_pass_by_value)] // one signature for all tests

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hako_cgroup::{
    Cgroup, CgroupPath, Devices, Error, Host, Join, Membership, Mode, OomEvent, Options, Permission,
};
use hako_spec::runtime::Resources;
use hako_sys::clone::{Forked, exit_now, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use rustix::time::{ClockId, clock_gettime};

/// The machine as it is.
fn all() -> Host {
    Host::detect().unwrap()
}

/// The machine as if it had its version 2 mount only.
fn unified() -> Host {
    let mut host = all();
    host.v1.clear();
    assert_eq!(host.mode(), Some(Mode::V2), "needs a cgroup2 mount");
    host
}

/// The machine as if it had version 1 only.
fn legacy() -> Host {
    let mut host = all();
    host.v2 = None;
    assert_eq!(host.mode(), Some(Mode::V1), "needs version 1 mounts");
    host
}

struct Group {
    cgroup: Cgroup,
    path: CgroupPath,
    host: Host,
}

impl Group {
    fn new(host: Host, name: &str, json: &str, devices: Devices) -> Self {
        let name = format!("hako-test-{}-{name}", std::process::id());
        let path = CgroupPath::parse(&name).unwrap();
        let options = Options {
            devices,
            ..Options::default()
        };
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        let cgroup = Cgroup::create(&host, &path, &resources, &options).unwrap();
        Self { cgroup, path, host }
    }

    fn plain(host: Host, name: &str) -> Self {
        Self::new(host, name, "{}", Devices::Skip)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.kill(9);
        while rustix::process::wait(WaitOptions::NOHANG).is_ok_and(|found| found.is_some()) {}
        let _ = self.cgroup.delete();
    }
}

/// Forks into the cgroup as the runtime does; `work` gives the exit status.
fn spawn(join: &Join, work: impl FnOnce() -> i32) -> (Pid, OwnedFd) {
    match fork(0, join.v2_dir()).unwrap() {
        Forked::Child => {
            if join.enter_self().is_err() {
                exit_now(99);
            }
            exit_now(work());
        }
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    }
}

fn sleep_long() -> i32 {
    std::thread::sleep(Duration::from_secs(60));
    98
}

fn wait(pid: Pid) -> WaitStatus {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1
}

/// A time that is long enough, here or (`HAKO_TEST_PATIENCE`) where everything
/// takes so many times longer.
fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("HAKO_TEST_PATIENCE").map_or(1, |f| f.parse().unwrap());
    Duration::from_secs(seconds * factor)
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < patience(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn joins(host: Host) {
    let group = Group::plain(host, "join");
    let join = group.cgroup.join().unwrap();
    let (pid, _fd) = spawn(&join, sleep_long);
    let raw = pid.as_raw_nonzero().get();
    let pid_number = u32::try_from(raw).unwrap();
    eventually("the child is in every hierarchy", || {
        let there = Membership::of(Some(pid_number)).unwrap();
        let v1 = group.host.v1.iter().all(|h| {
            there
                .v1
                .iter()
                .any(|(c, path)| *c == h.controllers && path == group.path.as_str())
        });
        let v2 = group.host.v2.is_none() || there.v2.as_deref() == Some(group.path.as_str());
        v1 && v2
    });
    assert_eq!(group.cgroup.pids().unwrap(), [raw]);
    let of = Cgroup::of_process(&group.host, &Membership::of(Some(pid_number)).unwrap());
    assert_eq!(of.saved(), group.cgroup.saved());
    // The other way, by number: from the parent's cgroup.
    let (outsider, _fd) = match fork(0, None).unwrap() {
        Forked::Child => exit_now(sleep_long()),
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    group
        .cgroup
        .add(u32::try_from(outsider.as_raw_nonzero().get()).unwrap())
        .unwrap();
    assert_eq!(group.cgroup.pids().unwrap().len(), 2);
    group.cgroup.kill(9).unwrap();
    for pid in [pid, outsider] {
        assert_eq!(wait(pid).terminating_signal(), Some(9));
    }
    assert!(group.cgroup.wait_empty(patience(5)).unwrap());
}

/// A child that forks without end is caught whole, with a group of its own
/// below, also when frozen.
fn kills_all(host: Host) {
    let group = Group::plain(host, "kill");
    let path = CgroupPath::parse(&format!("{}/inner", group.path)).unwrap();
    if group.host.v1.is_empty() {
        // As the container itself would make it: without controllers, since a
        // group with processes of its own hands none down.
        let saved = Cgroup::at(&group.host, &path).saved();
        std::fs::create_dir(saved.v2.unwrap()).unwrap();
    } else {
        Cgroup::create(
            &group.host,
            &path,
            &Resources::default(),
            &Options {
                devices: Devices::Skip,
                ..Options::default()
            },
        )
        .unwrap();
    }
    let inner = CgroupPath::parse("inner").unwrap();
    let inner = Cgroup::at(&group.host, &group.path)
        .descend(None, Some(&inner))
        .unwrap();
    let (deep, _fd) = spawn(&inner.join().unwrap(), sleep_long);
    let join = group.cgroup.join().unwrap();
    // Some ten at a time, each of a short life: new ones all the time, but
    // never more, however slow the machine is.
    let (forking, _fd) = spawn(&join, || {
        loop {
            if let Ok(Forked::Child) = fork(0, None) {
                std::thread::sleep(Duration::from_millis(20));
                exit_now(0);
            }
            std::thread::sleep(Duration::from_millis(2));
            while rustix::process::wait(WaitOptions::NOHANG).is_ok_and(|f| f.is_some()) {}
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(group.cgroup.pids().unwrap().len() > 2);
    group.cgroup.freeze().unwrap();
    assert!(group.cgroup.is_frozen().unwrap());
    group.cgroup.kill(9).unwrap();
    assert!(!group.cgroup.is_frozen().unwrap() || group.host.v1.is_empty());
    for pid in [deep, forking] {
        assert_eq!(wait(pid).terminating_signal(), Some(9));
    }
    assert!(group.cgroup.wait_empty(patience(5)).unwrap());
    group.cgroup.delete().unwrap();
}

fn freezes(host: Host) {
    let group = Group::plain(host, "freeze");
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    let (pid, _fd) = spawn(&group.cgroup.join().unwrap(), || {
        loop {
            let _ = rustix::io::write(&write, b".");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let drain = || {
        let mut buffer = [0u8; 65536];
        rustix::io::read(&read, &mut buffer).unwrap_or(0)
    };
    eventually("the child writes", || drain() > 0);
    group.cgroup.freeze().unwrap();
    assert!(group.cgroup.is_frozen().unwrap());
    drain();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(drain(), 0, "a frozen process wrote");
    group.cgroup.thaw().unwrap();
    assert!(!group.cgroup.is_frozen().unwrap());
    eventually("the child goes on", || drain() > 0);
    // A signal other than KILL, and the state it found.
    group.cgroup.freeze().unwrap();
    group.cgroup.kill(15).unwrap();
    assert!(group.cgroup.is_frozen().unwrap());
    group.cgroup.thaw().unwrap();
    assert_eq!(wait(pid).terminating_signal(), Some(15));
}

fn limits_devices(host: Host) {
    let json = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
        {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
    let group = Group::new(host, "devices", json, Devices::Exact);
    let open = |group: &Group, path: &str, flags: OFlags| {
        let (pid, _fd) = spawn(&group.cgroup.join().unwrap(), || {
            match rustix::fs::open(path, flags, FileMode::empty()) {
                Ok(_) => 0,
                Err(e) => e.raw_os_error(),
            }
        });
        wait(pid).exit_status().unwrap()
    };
    let eperm = Errno::PERM.raw_os_error();
    assert_eq!(open(&group, "/dev/null", OFlags::RDWR), 0);
    assert_eq!(open(&group, "/dev/zero", OFlags::RDONLY), 0);
    assert_eq!(open(&group, "/dev/zero", OFlags::RDWR), eperm);
    assert_eq!(open(&group, "/dev/full", OFlags::RDONLY), eperm);
    // A second set of rules takes the place of the first.
    let options = Options {
        devices: Devices::Apply,
        ..Options::default()
    };
    Cgroup::create(&group.host, &group.path, &Resources::default(), &options).unwrap();
    assert_eq!(open(&group, "/dev/full", OFlags::RDONLY), 0);
}

fn reports_oom(host: Host) {
    let unified = host.unified_controllers().unwrap();
    if host.v1_with("memory").is_none() && !unified.iter().any(|c| c == "memory") {
        println!("  (the memory controller is not on this hierarchy)");
        return;
    }
    let json = r#"{"memory":{"limit":16777216,"swap":16777216}}"#;
    let group = Group::new(host, "oom", json, Devices::Skip);
    let mut oom = group.cgroup.watch_oom().unwrap();
    assert_eq!(oom.read(&group.cgroup).unwrap(), OomEvent::None);
    let (pid, _fd) = spawn(&group.cgroup.join().unwrap(), || {
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        loop {
            hoard.push(vec![1; 1 << 20]);
        }
    });
    let limit = Timespec::try_from(patience(10)).unwrap();
    let fd = oom.fd().try_clone_to_owned().unwrap();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "no notification");
    assert_eq!(wait(pid).terminating_signal(), Some(9));
    assert!(matches!(
        oom.read(&group.cgroup).unwrap(),
        OomEvent::Oom { .. }
    ));
    assert_eq!(group.cgroup.oom_kills().unwrap(), 1);
    group.cgroup.delete().unwrap();
    assert_eq!(oom.read(&group.cgroup).unwrap(), OomEvent::Gone);
}

fn counts(host: Host) {
    let group = Group::plain(host, "stats");
    let (pid, _fd) = spawn(&group.cgroup.join().unwrap(), || {
        // Of its own time, however little of it a busy machine gives.
        let used = || clock_gettime(ClockId::ProcessCPUTime);
        while (used().tv_sec, used().tv_nsec) < (0, 80_000_000) {}
        0
    });
    assert_eq!(wait(pid).exit_status(), Some(0));
    let stats = group.cgroup.stats().unwrap();
    assert!(
        (20_000_000..2_000_000_000).contains(&stats.cpu.total),
        "{:?}",
        stats.cpu
    );
}

/// As the user nobody: without limits there is simply no cgroup, with one the
/// error says which.
fn rootless(host: Host) {
    let path = CgroupPath::parse(&format!("hako-test-{}-rootless", std::process::id())).unwrap();
    let check = || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        let create = |json: &str, permission| {
            let options = Options {
                permission,
                devices: Devices::Apply,
            };
            let resources = Resources::from_slice(json.as_bytes()).unwrap();
            Cgroup::create(&host, &path, &resources, &options)
        };
        let e = create("{}", Permission::Require).unwrap_err();
        assert!(e.is_permission(), "{e}");
        let none = create("{}", Permission::Ignore).unwrap();
        assert!(none.is_none());
        none.join().unwrap().enter_self().unwrap();
        assert_eq!(none.pids().unwrap(), [] as [i32; 0]);
        none.kill(9).unwrap();
        none.delete().unwrap();
        let e = create(r#"{"memory":{"limit":1000}}"#, Permission::Ignore).unwrap_err();
        assert!(matches!(e, Error::Unavailable { .. }), "{e}");
    };
    match fork(0, None).unwrap() {
        Forked::Child => {
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err();
            exit_now(i32::from(failed));
        }
        Forked::Parent { pid, .. } => assert_eq!(wait(pid).exit_status(), Some(0)),
    }
}

/// Time from quiet for all hierarchies, as a figure to look at.
fn join_is_quick(host: Host) {
    let group = Group::plain(host, "quick");
    let mut times = Vec::new();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(150));
        let start = Instant::now();
        let join = group.cgroup.join().unwrap();
        let (pid, _fd) = spawn(&join, || 0);
        assert_eq!(wait(pid).exit_status(), Some(0));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("  median {:?} from quiet to exit", times[2]);
}

type Test = (&'static str, fn(Host));

const TESTS: [Test; 8] = [
    ("joins", joins),
    ("kills_all", kills_all),
    ("freezes", freezes),
    ("limits_devices", limits_devices),
    ("reports_oom", reports_oom),
    ("counts", counts),
    ("rootless", rootless),
    ("join_is_quick", join_is_quick),
];

fn main() {
    // What cargo-nextest asks of a test program.
    let has = |flag: &str| std::env::args().skip(1).any(|a| a == flag);
    let (list, exact) = (has("--list"), has("--exact"));
    if list && has("--ignored") {
        return;
    }
    let filter = std::env::args()
        .skip(1)
        .find(|a| !list && !a.starts_with('-'));
    let mut passed = 0;
    for (kind, host) in [
        ("all", all as fn() -> Host),
        ("legacy", legacy),
        ("unified", unified),
    ] {
        for (name, test) in TESTS {
            let name = format!("{kind}::{name}");
            let fits = |f: &String| {
                if exact {
                    name == *f
                } else {
                    name.contains(f.as_str())
                }
            };
            if !filter.as_ref().is_none_or(fits) {
                continue;
            }
            if list {
                println!("{name}: test");
                continue;
            }
            println!("test {name}");
            test(host());
            passed += 1;
        }
    }
    if !list {
        println!("test result: ok. {passed} passed; 0 failed");
    }
}
