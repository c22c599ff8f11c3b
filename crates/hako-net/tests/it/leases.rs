//! Attaching and detaching: many at once, and what stays behind.

use crate::machine::{Machine, state};
use hako_net::{Definition, Error, Networks, Options};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

/// What the child of the next test is told: the directory.
const CHILD: &str = "HAKO_NET_TEST_CHILD";

#[test]
fn eight_processes_at_once() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let directory = _dir.path().join("networks");
    let exe = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| {
            host.command(exe.to_str().unwrap())
                .args([
                    "--exact",
                    "leases::child_of_eight",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(CHILD, &directory)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut addresses = BTreeSet::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("address "))
        {
            assert!(addresses.insert(line.to_owned()), "{line} was given twice");
        }
    }
    assert_eq!(addresses.len(), 8 * 4);
    // Each child freed its own.
    assert_eq!(networks.leased("net").unwrap(), []);
    let bridges = host.sh("ip -o link show type bridge");
    assert_eq!(bridges.lines().count(), 1, "{bridges}");
    let rules = host.sh("nft list table inet hako0");
    assert_eq!(rules.matches("masquerade").count(), 1, "{rules}");
}

#[test]
fn killed_at_any_point() {
    let host = Machine::new();
    let (dir, networks) = state();
    let exe = std::env::current_exe().unwrap();
    for round in 0..24u64 {
        let mut child = host
            .command(exe.to_str().unwrap())
            .args(["--exact", "leases::child_of_eight", "--test-threads=1"])
            .env(CHILD, dir.path().join("networks"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(2_500 + round * 900));
        child.kill().unwrap();
        child.wait().unwrap();

        let ready = host.ensure(&networks);
        assert_eq!(ready.network.bridge, "hako0");
        host.run(|| networks.reconcile("net", |_| false)).unwrap();
        assert_eq!(networks.leased("net").unwrap(), []);
        let container = Machine::container();
        let got = host.attach(&networks, &ready, &container, "c");
        container.connect(got.gateway, host.listen()).unwrap();
        networks.release("net", "c").unwrap();
        // Every other time from nothing.
        if round % 2 == 0 {
            host.run(|| networks.teardown("net")).unwrap();
        }
    }
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !host.sh("ip -o link").contains("veth")
    });
    assert!(gone, "{}", host.sh("ip -o link"));
}

#[test]
fn a_network_in_use_is_not_pruned() {
    let host = Machine::new();
    let (_dir, networks) = state();
    assert!(!host.run(|| networks.teardown_unused("net")).unwrap());
    let over = std::sync::atomic::AtomicBool::new(false);
    let pruned = std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut pruned = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                pruned += u32::from(host.run(|| networks.teardown_unused("net")).unwrap());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            pruned
        });
        for n in 0..60 {
            let container = Machine::container();
            let id = format!("c{n}");
            let attach = || {
                let network = networks.ensure(&Definition::new("net"))?.network;
                let options = Options::default();
                networks.attach(container.fd().as_fd(), &network, &id, &options)
            };
            loop {
                match host.run(attach) {
                    // Pruned before its lease was made.
                    Err(Error::UnknownNetwork(_)) => {}
                    other => break drop(other.unwrap()),
                }
            }
            let leases = networks.leased("net").unwrap();
            assert!(leases.iter().any(|lease| lease.container == id), "{n}");
            host.sh("ip link show hako0");
            networks.release("net", &id).unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        pruner.join().unwrap()
    });
    assert!(pruned > 5, "{pruned}");
}

/// The process that the tests above start; alone it does nothing.
#[test]
fn child_of_eight() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let networks = Networks::open(Path::new(&directory)).unwrap();
    let ready = networks.ensure(&Definition::new("net")).unwrap();
    let containers: Vec<_> = (0..4)
        .map(|n| {
            let id = format!("{}-{n}", std::process::id());
            let container = Machine::container();
            let got = networks
                .attach(
                    container.fd().as_fd(),
                    &ready.network,
                    &id,
                    &Options::default(),
                )
                .unwrap();
            println!("\naddress {}", got.address);
            (id, container)
        })
        .collect();
    for (id, _container) in containers {
        networks.release("net", &id).unwrap();
    }
}

#[test]
fn what_was_attached_is_freed() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let [one, two, three] = [0; 3].map(|_| Machine::container());
    let a = host.attach(&networks, &ready, &one, "one");
    let b = host.attach(&networks, &ready, &two, "two");
    let c = host.attach(&networks, &ready, &three, "three");
    let there = |name: &str| {
        host.output(&format!("ip link show {name}"))
            .status
            .success()
    };

    assert_eq!(networks.release("net", "one").unwrap().len(), 1);
    assert!(there(&a.host_interface), "release leaves it to the kernel");
    assert_eq!(networks.release("net", "one").unwrap(), []);

    host.run(|| networks.detach("net", "two")).unwrap();
    assert!(!there(&b.host_interface));
    host.run(|| networks.detach("net", "two")).unwrap();
    host.run(|| networks.detach("unknown", "two")).unwrap();

    let kept = host
        .run(|| networks.reconcile("net", |id| id == "three"))
        .unwrap();
    assert_eq!(kept, []);
    let freed = host.run(|| networks.reconcile("net", |_| false)).unwrap();
    assert_eq!(freed.len(), 1);
    assert_eq!(freed[0].address, c.address);
    assert!(!there(&c.host_interface));
    assert_eq!(networks.leased("net").unwrap(), []);
}

#[test]
fn interfaces_die_with_the_container() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let container = Machine::container();
    let got = host.attach(&networks, &ready, &container, "c");
    drop(container);
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let shown = host.output(&format!("ip link show {}", got.host_interface));
        !shown.status.success()
    });
    assert!(gone);
    host.run(|| networks.detach("net", "c")).unwrap();
    assert_eq!(networks.leased("net").unwrap(), []);
}

#[test]
fn an_attach_that_fails_leaves_nothing() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let container = Machine::container();
    host.attach(&networks, &ready, &container, "c");
    let links = host.sh("ip -o link");
    let attach = |options: &Options| {
        host.run(|| networks.attach(container.fd().as_fd(), &ready.network, "d", options))
    };
    // The container has an eth0.
    let error = attach(&Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the interfaces of a container"
    );
    for interface in ["", "a/b", "name-of-16-bytes"] {
        let options = Options {
            interface: interface.into(),
            ..Options::default()
        };
        assert!(matches!(attach(&options), Err(Error::InvalidInterface(_))));
    }
    assert_eq!(networks.leased("net").unwrap().len(), 1);
    assert_eq!(host.sh("ip -o link"), links);

    // A second interface by another name is well.
    let options = Options {
        interface: "eth1".into(),
        address: Some(Ipv4Addr::new(10, 89, 0, 77)),
        mac: Some("02:00:00:00:00:77".parse().unwrap()),
    };
    let got = attach(&options).unwrap();
    let shown = container.sh("ip addr show eth1");
    assert!(shown.contains("10.89.0.77/24 brd 10.89.0.255"), "{shown}");
    assert!(shown.contains("02:00:00:00:00:77"), "{shown}");
    assert_eq!(
        (got.address, got.prefix),
        (Ipv4Addr::new(10, 89, 0, 77), 24)
    );

    // A descriptor that is no network namespace.
    let wrong = std::fs::File::open("/proc/self/ns/uts").unwrap();
    let options = Options::default();
    let error = host.run(|| networks.attach(wrong.as_fd(), &ready.network, "e", &options));
    assert!(matches!(error, Err(Error::Namespace(_))));
    // A bridge that went away.
    host.sh("ip link delete hako0");
    let third = Machine::container();
    let error = host.run(|| networks.attach(third.fd().as_fd(), &ready.network, "e", &options));
    assert!(matches!(error, Err(Error::NoBridge { .. })));
    assert_eq!(networks.leased("net").unwrap().len(), 2);
}

#[test]
fn a_full_network_says_so() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let wanted = Definition {
        subnet: Some("10.77.0.0/30".parse().unwrap()),
        ..Definition::new("net")
    };
    let ready = host.run(|| networks.ensure(&wanted)).unwrap();
    let container = Machine::container();
    host.attach(&networks, &ready, &container, "c");
    let other = Machine::container();
    let options = Options::default();
    let error = host
        .run(|| networks.attach(other.fd().as_fd(), &ready.network, "d", &options))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "network net has no free address left in 10.77.0.0/30"
    );
    networks.release("net", "c").unwrap();
    let again = host.attach(&networks, &ready, &other, "d");
    assert_eq!(again.address, Ipv4Addr::new(10, 77, 0, 2));
}
