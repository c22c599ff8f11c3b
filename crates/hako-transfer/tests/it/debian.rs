//! Debian's docker-registry on a free port of loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; it is ended when the value is dropped.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// With its storage below `dir`; `users` is the text of an htpasswd file.
    pub(crate) fn start(dir: &Path, users: Option<&str>) -> Self {
        for attempt in 0..5 {
            if let Some(registry) = Self::try_start(dir, users, attempt) {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(dir: &Path, users: Option<&str>, attempt: u32) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let storage = dir.join("registry");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n",
            storage.display()
        );
        if let Some(users) = users {
            let file = dir.join("htpasswd");
            std::fs::write(&file, users).unwrap();
            config.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                file.display()
            ));
        }
        let path = dir.join(format!("registry-{attempt}.yml"));
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry is needed: {error}"));
        let mut registry = Self { child, host };
        let address = registry.host.parse().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            // Another process may have taken the port meanwhile.
            if registry.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}
