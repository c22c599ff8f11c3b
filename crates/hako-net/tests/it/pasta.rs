//! pasta as an unprivileged user runs it. Needs the packages `passt` and
//! `util-linux`.

use hako_net::{netns, pasta};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

/// What the child of the next test is told: where to listen.
const CHILD: &str = "HAKO_NET_TEST_PASTA";

/// Runs [`child_in_user_namespace`] as user 1000 in a user and mount namespace
/// of its own, on a machine of its own whose default route leads to "outside".
#[test]
fn an_unprivileged_container_reaches_the_world() {
    let (host, outside) = (
        crate::machine::Machine::new(),
        crate::machine::Machine::new(),
    );
    host.cable(&outside, "up0", "198.51.100.1/24", "198.51.100.2/24");
    host.sh("ip route add default via 198.51.100.2");
    let port = outside.listen();
    // A machine with udev has /dev/net/tun open to all; and user 1000 can run
    // nothing below root's home.
    let script = "mount -t tmpfs none /mnt && cp \"$0\" /mnt/it && chmod 755 /mnt /mnt/it && \
                  mknod /mnt/tun c 10 200 && chmod 666 /mnt/tun && mount --bind /mnt/tun /dev/net/tun && \
                  mkdir /mnt/state && chown 1000:1000 /mnt/state && \
                  exec setpriv --reuid 1000 --regid 1000 --clear-groups unshare -Urm \
                  /mnt/it --exact pasta::child_in_user_namespace --nocapture";
    let output = host
        .command("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, port.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("pasta carried it"), "{text}\n{errors}");
}

/// The process that the test above starts; alone it does nothing.
#[test]
fn child_in_user_namespace() {
    let Ok(port) = std::env::var(CHILD) else {
        return;
    };
    let state = Path::new("/mnt/state");
    let container = netns::create().unwrap();
    let options = pasta::Options {
        program: "pasta".into(),
        netns: state.join("netns"),
        interface: "eth0".into(),
        pid_file: state.join("pid"),
    };
    netns::pin(container.as_fd(), &options.netns).unwrap();
    assert!(netns::pin(container.as_fd(), &options.netns).is_err());
    pasta::start(&options).unwrap();
    let addresses = netns::addresses(container.as_fd()).unwrap();
    assert_eq!(addresses, [std::net::Ipv4Addr::new(198, 51, 100, 1)]);

    let to = std::net::SocketAddr::from(([198, 51, 100, 2], port.parse().unwrap()));
    let seen = netns::within(container.as_fd(), || {
        let wait = std::time::Duration::from_secs(5);
        let mut stream = std::net::TcpStream::connect_timeout(&to, wait).unwrap();
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut stream, &mut seen).unwrap();
        Ok(seen)
    })
    .unwrap();
    assert_eq!(seen, "198.51.100.1");

    let pid = std::fs::read_to_string(&options.pid_file).unwrap();
    pasta::stop(&options.pid_file).unwrap();
    pasta::stop(&options.pid_file).unwrap();
    // Nobody waits for it here, so it may stay a zombie; its memory is gone.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim()));
        line.is_ok_and(|line| line.is_empty()) || !Path::new("/proc").join(pid.trim()).exists()
    });
    assert!(gone);
    netns::unpin(&options.netns).unwrap();
    netns::unpin(&options.netns).unwrap();
    assert!(!options.netns.exists());
    println!("pasta carried it");
}

#[test]
fn pasta_is_installed() {
    let output = Command::new("pasta").arg("--version").output();
    assert!(output.is_ok(), "the tests need the package passt");
}
