//! A network namespace that plays a machine, with tools to look into it.

use hako_net::{Attachment, Definition, Networks, Options, Ready, netns};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Output};
use std::time::Duration;

pub(crate) struct Machine(OwnedFd);

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self(netns::create().expect("the tests need root"));
        netns::loopback_up(machine.0.as_fd()).unwrap();
        machine
    }

    /// One whose loopback is off, as the runtime hands it over.
    pub(crate) fn container() -> Self {
        Self(netns::create().expect("the tests need root"))
    }

    /// Does something inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(self.0.as_fd(), || Ok(work())).unwrap()
    }

    /// A path of the namespace for other processes.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Runs a command line inside; gives what it prints.
    pub(crate) fn sh(&self, line: &str) -> String {
        let output = self.output(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn output(&self, line: &str) -> Output {
        let output = self.command("sh").args(["-c", line]).output();
        output.expect("the tests need nsenter (util-linux)")
    }

    pub(crate) fn ensure(&self, networks: &Networks) -> Ready {
        self.run(|| networks.ensure(&Definition::new("net")))
            .unwrap()
    }

    pub(crate) fn attach(
        &self,
        networks: &Networks,
        ready: &Ready,
        container: &Self,
        id: &str,
    ) -> Attachment {
        let options = Options::default();
        self.run(|| networks.attach(container.0.as_fd(), &ready.network, id, &options))
            .unwrap()
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Accepts one connection on a port of all addresses inside, tells the peer
    /// its address; gives where it listens.
    pub(crate) fn listen(&self) -> u16 {
        let listener = self.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        });
        port
    }

    /// Connects from inside; gives the address that the other side saw.
    pub(crate) fn connect(&self, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
        self.run(|| {
            let to = SocketAddr::from((address, port));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(800))?;
            let mut seen = String::new();
            stream.read_to_string(&mut seen)?;
            Ok(seen)
        })
    }

    /// A cable to another machine, with an address for each end.
    pub(crate) fn cable(&self, other: &Self, name: &str, here: &str, there: &str) {
        self.sh(&format!(
            "ip link add {name} type veth peer name {name} netns {}",
            other.path()
        ));
        self.sh(&format!(
            "ip addr add {here} dev {name} && ip link set {name} up"
        ));
        other.sh(&format!(
            "ip addr add {there} dev {name} && ip link set {name} up"
        ));
    }
}

/// A directory for networks and what opens it.
pub(crate) fn state() -> (tempfile::TempDir, Networks) {
    let dir = tempfile::tempdir().unwrap();
    let networks = Networks::open(&dir.path().join("networks")).unwrap();
    (dir, networks)
}
