//! A container's directories, its monitor, and a stand-in for a runtime.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hako_monitor::protocol::{Attach, Frame, State, Status};
use hako_monitor::{
    CONFIG_VERSION, Client, Config, Driver, Error, Exit, Init, Known, Log, Ready, Runtime, Stdin,
    read_exit,
};

/// A runtime whose container is `sh BUNDLE/cmd`, which waits for `start`.
const SCRIPT: &str = r#"#!/bin/sh
log=
while [ $# -gt 0 ]; do
  case "$1" in
    --root) root=$2; shift 2 ;;
    --log) log=$2; shift 2 ;;
    --log-format) shift 2 ;;
    --bundle) bundle=$2; shift 2 ;;
    --pid-file) pidfile=$2; shift 2 ;;
    create|start) verb=$1; shift ;;
    *) id=$1; shift ;;
  esac
done
go=$root/$id.go
case $verb in
  create)
    if [ -e "$bundle/fail-log" ]; then
      echo '{"level":"info","msg":"not this"}' >> "$log"
      echo '{"level":"error","msg":"the log says no","time":"x"}' >> "$log"
      exit 3
    fi
    if [ -e "$bundle/fail-print" ]; then echo "printed no" >&2; exit 4; fi
    echo "$bundle" > "$root/$id.bundle"
    mkfifo "$go"
    echo "from create"
    exec 4<&0
    sh -c 'read x < "$1"; exec sh "$2"' sh "$go" "$bundle/cmd" <&4 4<&- &
    printf %s $! > "$pidfile"
    ;;
  start)
    bundle=$(cat "$root/$id.bundle")
    if [ -e "$bundle/fail-start" ]; then echo "start said no" >&2; exit 5; fi
    echo go > "$go"
    ;;
esac
"#;

pub(crate) struct Fixture {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) config: Config,
    /// The container's first process, to be ended with the fixture.
    pid: std::cell::Cell<Option<i32>>,
}

impl Fixture {
    /// A container that runs `cmd` in a shell.
    pub(crate) fn new(cmd: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().to_owned();
        let make = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (bundle, dir, run_dir, runtime_root) =
            (make("bundle"), make("dir"), make("run"), make("root"));
        std::fs::write(bundle.join("cmd"), cmd).unwrap();
        let config = Config {
            version: CONFIG_VERSION,
            id: "c1".to_owned(),
            runtime: Runtime {
                path: script(&root, "runtime", SCRIPT),
                args: Vec::new(),
                create_args: Vec::new(),
            },
            runtime_root,
            bundle,
            log: Log {
                driver: Driver::K8sFile,
                path: dir.join("log"),
                max_size: 0,
                max_files: 0,
            },
            dir,
            run_dir,
            terminal: false,
            stdin: Stdin::Closed,
            on_event: Vec::new(),
            cgroup: None,
            adopt: false,
            stop_signal: 15,
        };
        Self {
            temp,
            config,
            pid: std::cell::Cell::new(None),
        }
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = script(self.temp.path(), name, text);
        path.to_str().unwrap().to_owned()
    }

    /// Starts a monitor and gives what it says of itself, with a fourth
    /// descriptor left open that is none of its business.
    pub(crate) fn monitor(&self) -> Ready {
        let path = self.temp.path().join("config.json");
        std::fs::write(&path, serde_json::to_vec(&self.config).unwrap()).unwrap();
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#"exec "$0" --config "$1" --ready-fd 3 3>&1 1>/dev/null 9</etc/passwd"#,
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        // Ends only when the monitor has closed it.
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        let ready: Ready = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
        if let Ready::Created { pid } = ready {
            self.pid.set(Some(pid));
        }
        ready
    }

    pub(crate) fn create(&self) -> i32 {
        match self.monitor() {
            Ready::Created { pid } => pid,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.config.run_dir).unwrap()
    }

    pub(crate) fn attached(&self, stdin: bool) -> Client {
        let mut client = self.client();
        client
            .send(&Frame::Attach(Attach {
                stdin,
                stdout: true,
                stderr: true,
                back_pressure: true,
                ..Attach::default()
            }))
            .unwrap();
        client
    }

    /// Creates, attaches, starts, and gives all output and the exit.
    pub(crate) fn run(&self) -> (String, String, Exit) {
        self.create();
        let mut client = self.attached(false);
        client.send(&Frame::Start).unwrap();
        let mut answers = collect(&mut client);
        assert!(answers.started, "{answers:?}");
        (
            std::mem::take(&mut answers.stdout),
            answers.stderr,
            answers.exit.unwrap(),
        )
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        read_exit(&self.config.dir).unwrap()
    }

    pub(crate) fn wait_exit(&self) -> Exit {
        eventually("exit.json", || self.exit().is_some());
        self.exit().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.config.log.path).unwrap()
    }

    pub(crate) fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.config.dir.join("journal")).unwrap();
        text.lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .map(|v| v["event"].as_str().unwrap().to_owned())
            .collect()
    }

    /// No monitor, and no socket that stands for one.
    pub(crate) fn wait_over(&self) {
        eventually("the monitor's end", || {
            matches!(
                Client::connect(&self.config.run_dir),
                Err(Error::Path { .. })
            ) && !self.config.run_dir.join("monitor.sock").exists()
        });
    }
}

impl Drop for Fixture {
    /// A container of the stand-in is a process of the machine: it ends with
    /// the test, by its monitor or, without one, by its number.
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.config.run_dir) {
            let _ = client.request(&Frame::Signal(9), |f| {
                matches!(f, Frame::Done).then_some(())
            });
            return;
        }
        let init = std::fs::read(self.config.run_dir.join("init.json"));
        let init = init
            .ok()
            .and_then(|t| serde_json::from_slice::<Init>(&t).ok());
        let Some((pid, init)) = self.pid.get().zip(init) else {
            return;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let start = stat
            .rsplit(')')
            .next()
            .and_then(|s| s.split_whitespace().nth(19));
        if start == Some(init.start_time.to_string().as_str()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

fn script(dir: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) started: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Option<Exit>,
    pub(crate) errors: Vec<String>,
}

/// Everything until the monitor closes the connection.
pub(crate) fn collect(client: &mut Client) -> Answers {
    let mut answers = Answers::default();
    while let Some(frame) = client.receive().unwrap() {
        match frame {
            Frame::Started => answers.started = true,
            Frame::Stdout(b) => answers.stdout.push_str(&String::from_utf8_lossy(&b)),
            Frame::Stderr(b) => answers.stderr.push_str(&String::from_utf8_lossy(&b)),
            Frame::Exit(exit) => answers.exit = Some(exit),
            Frame::Error(e) => answers.errors.push(e.message),
            other => panic!("{other:?}"),
        }
    }
    answers
}

/// Asserts how a container ended that was not the monitor's child: as a shell
/// shows it where the kernel keeps that with the pidfd, or the process was seen
/// before it was reaped; else that nothing is guessed.
#[track_caller]
pub(crate) fn ended_elsewhere(exit: &Exit, code: i32) {
    let told = match exit.known {
        Known::Pidfd | Known::Proc => Some(code),
        Known::Unknown if !kernel_keeps_statuses() => None,
        other => panic!("{other:?}: {exit:?}"),
    };
    assert_eq!(exit.code, told, "{exit:?}");
}

/// Linux 6.15 has them behind PIDFD_GET_INFO.
fn kernel_keeps_statuses() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse::<u32>().unwrap();
    (next(), next()) >= (6, 15)
}

/// Reads until stdout has come to hold `text`.
pub(crate) fn read_until(client: &mut Client, text: &str) -> String {
    let mut output = String::new();
    while !output.contains(text) {
        match client.receive().unwrap() {
            Some(Frame::Stdout(b)) => output.push_str(&String::from_utf8_lossy(&b)),
            Some(Frame::Started | Frame::Stderr(_)) => {}
            other => panic!("{other:?} after {output:?}"),
        }
    }
    output
}

pub(crate) fn status(client: &mut Client) -> Status {
    client
        .request(&Frame::StatusRequest, |frame| match frame {
            Frame::Status(status) => Some(status),
            _ => None,
        })
        .unwrap()
}

pub(crate) fn start(client: &mut Client) {
    client
        .request(&Frame::Start, |frame| {
            matches!(frame, Frame::Started).then_some(())
        })
        .unwrap();
    assert_ne!(status(client).state, State::Created);
}

/// A time that is long enough, here or (`HAKO_TEST_PATIENCE`) where everything
/// takes so many times longer.
pub(crate) fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("HAKO_TEST_PATIENCE").map_or(1, |f| f.parse().unwrap());
    Duration::from_secs(seconds * factor)
}

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < patience(20), "no {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn kill(pid: u32, signal: i32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}
