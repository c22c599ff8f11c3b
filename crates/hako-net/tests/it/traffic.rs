//! Packets: who reaches whom, and as whom.

use crate::machine::{Machine, state};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[test]
fn containers_and_host_reach_each_other_at_once() {
    let host = Machine::new();
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let (one, two) = (Machine::container(), Machine::container());
    let a = host.attach(&networks, &ready, &one, "one");
    let at_host = host.listen();
    let at_one = one.listen();

    // Straight after attach: a port that does not forward yet would lose the
    // first packet, and its sender waits a second before the next.
    let b = host.attach(&networks, &ready, &two, "two");
    let start = Instant::now();
    let seen = two.connect(a.address, at_one).unwrap();
    let took = start.elapsed();
    assert_eq!(seen, b.address.to_string());
    assert!(took < Duration::from_millis(500), "{took:?}");

    let seen = one.connect(a.gateway, at_host).unwrap();
    assert_eq!(seen, a.address.to_string());
    let seen = host.connect(a.address, at_one).unwrap();
    assert_eq!(seen, a.gateway.to_string());
    let seen = one.connect(Ipv4Addr::LOCALHOST, at_one).unwrap();
    assert_eq!(seen, "127.0.0.1");
}

#[test]
fn the_first_packet_is_never_lost() {
    // Some twenty containers, the very first of a network among them: each one's
    // first act is a connection, in both directions.
    for _ in 0..4 {
        let host = Machine::new();
        let (_dir, networks) = state();
        let ready = host.ensure(&networks);
        let at_host = host.listen();
        for n in 0..6 {
            let container = Machine::container();
            let at_container = container.listen();
            let got = host.attach(&networks, &ready, &container, &n.to_string());
            let start = Instant::now();
            if n % 2 == 0 {
                container.connect(got.gateway, at_host).unwrap();
            } else {
                host.connect(got.address, at_container).unwrap();
            }
            let took = start.elapsed();
            assert!(took < Duration::from_millis(500), "{n}: {took:?}");
        }
    }
}

#[test]
fn outside_sees_the_host_and_reaches_no_container() {
    let (host, outside) = (Machine::new(), Machine::new());
    host.cable(&outside, "up0", "198.51.100.1/24", "198.51.100.2/24");
    host.sh("ip route add default via 198.51.100.2");
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    let container = Machine::container();
    let attachment = host.attach(&networks, &ready, &container, "c");

    let port = outside.listen();
    let seen = container.connect([198, 51, 100, 2].into(), port).unwrap();
    assert_eq!(seen, "198.51.100.1", "the source is translated");

    // The outside knows the way to the container's network and tries it.
    outside.sh(&format!(
        "ip route add {} via 198.51.100.1",
        ready.network.subnet
    ));
    let inside = container.listen();
    let refused = outside.connect(attachment.address, inside).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "{refused}");
    // Without the table it would get there; so it is the table that refuses.
    host.sh(&format!("nft delete table inet {}", ready.network.bridge));
    outside.connect(attachment.address, inside).unwrap();
    // The next ensure puts it back.
    host.ensure(&networks);
    assert!(outside.connect(attachment.address, inside).is_err());
    container.connect([198, 51, 100, 2].into(), port).unwrap();
}

#[test]
fn the_packet_size_is_that_of_the_default_route() {
    let (host, outside) = (Machine::new(), Machine::new());
    host.cable(&outside, "up0", "198.51.100.1/24", "198.51.100.2/24");
    host.sh("ip link set up0 mtu 1400 && ip route add default via 198.51.100.2");
    let (_dir, networks) = state();
    let ready = host.ensure(&networks);
    assert_eq!(ready.network.mtu, Some(1400));
    let container = Machine::container();
    let attachment = host.attach(&networks, &ready, &container, "c");
    for (machine, link) in [
        (&host, &ready.network.bridge),
        (&host, &attachment.host_interface),
        (&container, &attachment.interface),
    ] {
        let shown = machine.sh(&format!("ip link show {link}"));
        assert!(shown.contains("mtu 1400"), "{shown}");
    }
}
