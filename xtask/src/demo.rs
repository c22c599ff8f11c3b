//! `cargo xtask demo`: from a clean clone to a first container.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lexopt::prelude::*;

use crate::command::{quote, run, show};
use crate::privilege::{self, Rootless};
use crate::{binaries, workspace};

const HELP: &str = "\
Build the release binaries and run a first container from Debian packages:
no registry, no daemon, no configuration, only this machine's apt sources.

Usage: cargo xtask demo [--try]

Options:
  --try   run the commands that the demo prints at its end, too
";

/// What a newcomer would do next: what for, and the arguments. They work in
/// this order.
const NEXT: [(&str, &[&str]); 3] = [
    (
        "a shell in a container, gone when you leave it",
        &["run", "--rm", "-i", "-t", "deb:bash,coreutils", "bash"],
    ),
    (
        "a container in the background",
        &[
            "run",
            "-d",
            "--replace",
            "--name",
            "clock",
            "deb:busybox",
            "sh",
            "-c",
            "while date; do sleep 1; done",
        ],
    ),
    (
        "its output; 'rm -f clock' in place of 'logs clock' ends it",
        &["logs", "clock"],
    ),
];

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<ExitCode> {
    let mut try_all = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("try") => try_all = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !privilege::is_root() {
        match privilege::rootless() {
            Rootless::Ready => {}
            Rootless::SingleUid(sentence) => eprintln!("note: {sentence}"),
            Rootless::Impossible(sentence) => anyhow::bail!("{sentence}"),
        }
    }
    let target = workspace::target_dir();
    let hako = binaries::release()?.place(&target.join("hako/bin"))?;
    let root = target.join("demo");
    let first = ["run", "--rm", "deb:busybox", "echo", "hello from hako"];
    run(&mut command(&hako, &root, &first))?;

    println!("\nThat was a container. What to try next:\n");
    for (purpose, args) in NEXT {
        println!("  # {purpose}\n  {}\n", show(&command(&hako, &root, args)));
    }
    println!(
        "'cargo xtask install' puts hako into the PATH; --root and --runroot are then not needed."
    );
    if try_all {
        for (_, args) in NEXT {
            try_out(&command(&hako, &root, args))?;
        }
        run(&mut command(&hako, &root, &["rm", "-f", "clock"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// hako on a state of the demo's own.
fn command(hako: &Path, root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(hako);
    command
        .arg("--root")
        .arg(root.join("root"))
        .arg("--runroot")
        .arg(root.join("run"))
        .args(args);
    command
}

/// Runs a printed line through a shell, as if it were pasted; where there is
/// no terminal, script(1) gives it one.
fn try_out(command: &Command) -> Result<()> {
    let line = show(command);
    let mut shell = if std::io::stdin().is_terminal() {
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]);
        shell
    } else {
        let mut script = Command::new("sh");
        script.args([
            "-c",
            &format!("echo exit | script -qec {} /dev/null", quote(&line)),
        ]);
        script
    };
    run(&mut shell).context("a command that the demo prints")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_lines_are_what_is_run() {
        for (_, args) in NEXT {
            let command = command(Path::new("/a b/hako"), Path::new("/t/demo"), args);
            let words = crate::command::split(&show(&command)).unwrap();
            assert_eq!(words[0], "/a b/hako");
            assert_eq!(
                words[1..5],
                ["--root", "/t/demo/root", "--runroot", "/t/demo/run"]
            );
            assert_eq!(words[5..], *args);
        }
    }
}
