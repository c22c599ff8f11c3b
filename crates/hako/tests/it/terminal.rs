//! Containers with a terminal; script(1) plays the user's.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{World, finish, hako, patience};

/// A user's terminal of 33 rows and 77 columns with a shell command in it, in
/// which `hako` is this world's.
struct Terminal {
    child: Child,
    seen: String,
    news: std::sync::mpsc::Receiver<Vec<u8>>,
}

impl Terminal {
    fn run(world: &World, command: &str) -> Self {
        let (root, run) = (world.path("root"), world.path("run"));
        let line = format!(
            "stty rows 33 cols 77; hako() {{ {} --root {} --runroot {} \"$@\"; }}; {command}",
            hako().display(),
            root.display(),
            run.display()
        );
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let (tell, news) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                if tell.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            child,
            seen: String::new(),
            news,
        }
    }

    /// Waits until this text was shown after the last one that was waited for.
    fn expect(&mut self, text: &str) {
        let end = Instant::now() + patience(30);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} after {:?}", self.seen),
            }
        }
    }

    fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn end(mut self) -> i32 {
        let stdin = self.child.stdin.take();
        let status = finish(self.child).status;
        drop(stdin);
        status
    }
}

const RUN: &str = "hako run -it --network none";

#[test]
fn size_and_status() {
    let world = World::with_image();
    let mut terminal = Terminal::run(
        &world,
        &format!("{RUN} --rm bb sh -c 'stty size; test -t 0 && echo tty; exit 4'"),
    );
    terminal.expect("33 77");
    terminal.expect("tty");
    assert_eq!(terminal.end(), 4);
    world.assert_empty();
}

#[test]
fn the_size_follows() {
    let world = World::with_image();
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while true; do sleep 0.05; done";
    let command = format!(
        "(read go < {0}; stty rows 44 cols 55 < /dev/tty) & {RUN} --rm bb sh -c \"{script}\"",
        world.path("go").display()
    );
    crate::support::must("mkfifo", &[world.path("go").to_str().unwrap()]);
    let mut terminal = Terminal::run(&world, &command);
    terminal.expect("ready");
    std::fs::write(world.path("go"), "go\n").unwrap();
    terminal.expect("44 55");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn leave_and_come_back() {
    let world = World::with_image();
    let mut terminal = Terminal::run(
        &world,
        &format!(
            "{RUN} --name d bb sh; echo left $?; stty -a | grep -o '[-]*icanon'; hako attach d; echo ended $?; stty -a | grep -o '[-]*icanon'"
        ),
    );
    terminal.expect("# ");
    terminal.type_in("echo a''b\r");
    terminal.expect("ab");
    terminal.type_in("\x10\x11");
    terminal.expect("left 0");
    terminal.expect("\r\nicanon");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.ok(&["ps", "--format", "{{.Names}}"]), "d");
    terminal.type_in("exit 6\r");
    terminal.expect("ended 6");
    terminal.expect("\r\nicanon");
    terminal.end();
}

#[test]
fn keys_are_the_containers_signals() {
    let world = World::with_image();
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while true; do sleep 0.05; done";
    let mut terminal = Terminal::run(
        &world,
        &format!("{RUN} --rm bb sh -c \"{script}\"; echo status $?"),
    );
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.expect("interrupted");
    terminal.expect("status 3");
    terminal.end();
}

#[test]
fn a_terminal_is_restored_when_hako_is_told_to_end() {
    let world = World::with_image();
    let mut terminal = Terminal::run(
        &world,
        &format!("{RUN} --name t bb sh; echo status $?; stty -a | grep -o '[-]*icanon'"),
    );
    terminal.expect("# ");
    let root = world.path("root").display().to_string();
    let mine = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(&root)
            && line.contains("\0run\0")
            && !line.starts_with("script")
            && !line.starts_with("sh\0")
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pid = pids
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .find(mine)
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    terminal.expect("runs on");
    terminal.expect("status 143");
    terminal.expect("\r\nicanon");
    terminal.end();
    assert_eq!(world.ok(&["ps", "--format", "{{.Names}}"]), "t");
}

#[test]
fn exec_with_a_terminal() {
    let world = World::with_image();
    world.ok(&[
        "run",
        "-d",
        "--name",
        "e",
        "--network",
        "none",
        "bb",
        "sleep",
        "1000",
    ]);
    let mut terminal = Terminal::run(
        &world,
        "hako exec -it e sh; echo status $?; stty -a | grep -o '[-]*icanon'",
    );
    terminal.expect("# ");
    terminal.type_in("stty size; exit 5\r");
    terminal.expect("33 77");
    terminal.expect("status 5");
    terminal.expect("\r\nicanon");
    terminal.end();
}

#[test]
fn input_that_is_no_terminal() {
    let world = World::with_image();
    let result = world.input(
        &["run", "--rm", "-it", "--network", "none", "bb", "sh"],
        b"echo a''b; exit 2\n",
    );
    assert_eq!(result.status, 2, "{result:?}");
    assert!(
        result.out.contains("ab\r\n") && result.err.contains("no terminal"),
        "{result:?}"
    );
    // The end of the input is Ctrl-D.
    let result = world.input(
        &["run", "--rm", "-it", "--network", "none", "bb", "cat"],
        b"x\n",
    );
    assert_eq!(result.status, 0, "{result:?}");
    world.assert_empty();
}
