//! Making, repairing and removing networks.

use crate::machine::{Machine, state};
use hako_net::{Definition, Error, Networks, Notice};

#[test]
fn ensure_makes_what_is_missing_and_only_that() {
    let host = Machine::new();
    // A new namespace starts with the machine's own setting.
    host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    let (_dir, networks) = state();
    let first = host.ensure(&networks);
    assert_eq!(first.notices, [Notice::ForwardingEnabled]);
    assert_eq!(first.network.bridge, "hako0");
    assert_eq!(first.network.subnet.to_string(), "10.89.0.0/24");
    let bridge = host.sh("ip -d addr show hako0");
    assert!(bridge.contains("6a:6b:0a:59:00:01"), "{bridge}");
    assert!(
        bridge.contains("inet 10.89.0.1/24 brd 10.89.0.255"),
        "{bridge}"
    );
    let before = host.sh("ip link show hako0; nft -a list ruleset");
    let second = host.ensure(&networks);
    assert_eq!((&second.network, second.notices.len()), (&first.network, 0));
    assert_eq!(host.sh("ip link show hako0; nft -a list ruleset"), before);

    for damage in [
        "ip link delete hako0",
        "ip addr flush dev hako0",
        "ip link set hako0 down",
        "nft flush ruleset",
        "nft delete table inet hako0; nft add table inet hako0",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
    ] {
        host.sh(damage);
        let again = host.ensure(&networks);
        assert_eq!(again.network, first.network, "{damage}");
        let bridge = host.sh("ip addr show hako0");
        assert!(bridge.contains("inet 10.89.0.1/24"), "{damage}: {bridge}");
        assert!(bridge.contains(",UP"), "{damage}: {bridge}");
        assert!(
            host.sh("nft list table inet hako0").contains("masquerade"),
            "{damage}"
        );
        assert_eq!(
            host.sh("cat /proc/sys/net/ipv4/ip_forward"),
            "1\n",
            "{damage}"
        );
    }
}

#[test]
fn the_rules_are_those_of_the_documentation() {
    let host = Machine::new();
    let (_dir, networks) = state();
    host.ensure(&networks);
    let shown = host.sh("nft list table inet hako0");
    let lines: Vec<&str> = shown
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let documented = include_str!("../../src/firewall.rs");
    let documented: Vec<&str> = documented
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .skip_while(|line| !line.starts_with("```text"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect();
    assert_eq!(lines, documented);
}

#[test]
fn a_bridge_without_a_record_is_taken_up_by_its_owner_alone() {
    let host = Machine::new();
    let (dir, networks) = state();
    let first = host.ensure(&networks).network;
    std::fs::remove_dir_all(dir.path().join("networks/net")).unwrap();
    assert_eq!(host.ensure(&networks).network, first);

    let (_other_dir, others) = state();
    let other = host.ensure(&others).network;
    assert_eq!(other.bridge, "hako1");
    assert_eq!(other.subnet.to_string(), "10.89.1.0/24");
}

#[test]
fn directories_that_choose_at_once_choose_apart() {
    let host = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let chosen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let path = dir.path().join(n.to_string());
                let host = &host;
                scope.spawn(move || host.ensure(&Networks::open(&path).unwrap()).network)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (n, one) in chosen.iter().enumerate() {
        for other in chosen.iter().skip(n + 1) {
            assert_ne!(one.bridge, other.bridge);
            assert!(!one.subnet.overlaps(&other.subnet), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_firewall_that_drops_is_told() {
    let host = Machine::new();
    host.sh("nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'");
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let told = Notice::ForwardDropped {
        chain: "ip filter FORWARD".into(),
        bridge: "hako0".into(),
    };
    assert!(ready.notices.contains(&told), "{:?}", ready.notices);
    assert!(
        told.to_string()
            .contains("iptables -I DOCKER-USER -i hako0")
    );
    assert_eq!(host.run(|| networks.check("net")).unwrap(), [told]);
    host.sh("nft delete table ip filter");
    assert_eq!(host.run(|| networks.check("net")).unwrap(), []);
}

#[test]
fn what_is_in_the_way_is_an_error_and_stays() {
    let host = Machine::new();
    host.sh("ip link add taken type veth peer name other");
    let (_dir, networks) = state();
    let wanted = Definition {
        bridge: Some("taken".into()),
        ..Definition::new("net")
    };
    let error = host.run(|| networks.ensure(&wanted)).unwrap_err();
    assert!(matches!(error, Error::NotABridge(_)), "{error}");
    assert!(networks.list().unwrap().is_empty());
    host.sh("ip link show taken");
}

#[test]
fn teardown_leaves_nothing() {
    let host = Machine::new();
    let (dir, networks) = state();
    let links = host.sh("ip -o link | cut -d: -f2");
    let ready = host.ensure(&networks);
    let container = Machine::container();
    host.attach(&networks, &ready, &container, "c");
    host.run(|| networks.teardown("net")).unwrap();
    assert_eq!(host.sh("nft list ruleset"), "");
    assert_eq!(
        std::fs::read_dir(dir.path().join("networks"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(networks.list().unwrap(), []);
    // The container's pair stays with the container.
    container.sh("ip link delete eth0");
    assert_eq!(host.sh("ip -o link | cut -d: -f2"), links);
    host.run(|| networks.teardown("net")).unwrap();
}
