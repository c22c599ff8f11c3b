//! Running other programs, with errors that say which one failed.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Cargo, as the one that runs this program, in the root of the tree.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(workspace::root());
    command
}

/// Prints a command line, runs it with our terminal and demands success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", show(command));
    let status = command
        .status()
        .with_context(|| format!("run {}", show(command)))?;
    if !status.success() {
        bail!("{}: {status}", show(command));
    }
    Ok(())
}

/// A command that runs while others do; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Beside {
    shown: String,
    child: Child,
}

impl Beside {
    /// Prints a command line and starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Beside> {
        let shown = show(command);
        eprintln!("+ {shown} &");
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("run {shown}"))?;
        Ok(Beside { shown, child })
    }

    /// Waits for its end and demands success.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let status = self
            .child
            .wait()
            .with_context(|| format!("wait for {}", self.shown))?;
        if !status.success() {
            bail!("{}: {status}", self.shown);
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command and returns what it printed; its errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("run {}", show(command)))?;
    if !output.status.success() {
        bail!("{}: {}", show(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {}", show(command)))
}

/// The command line as a shell would take it.
pub(crate) fn show(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program
        .rsplit_once("/bin/")
        .map_or(&*program, |(_, name)| match name {
            "cargo" => name,
            _ => &program,
        });
    let words = std::iter::once(program.to_owned()).chain(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.map(|word| quote(&word)).collect::<Vec<_>>().join(" ")
}

/// Quotes a word where a shell needs it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Splits a line into words as a shell does, with quotes and backslashes and
/// nothing else.
pub(crate) fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (Some(quote), _) if c == quote => quoted = None,
            (None, '\'' | '"') => {
                quoted = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => bail!("a backslash ends the line: {line}"),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quoted {
        bail!("a {quote} is not closed: {line}");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for words in [vec!["a", "b c", "", "it's", "\"q\" \\", "x=y"], vec![]] {
            let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
            assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
        assert_eq!(
            split(r#" sh  -c "a \"b\"" "#).unwrap(),
            ["sh", "-c", "a \"b\""]
        );
        assert!(split("'open").is_err());
        assert!(split("end\\").is_err());
    }

    #[test]
    fn what_runs_beside_is_waited_for_or_ended() {
        let start = std::time::Instant::now();
        let sleep = || Beside::start(Command::new("sleep").arg("60")).unwrap();
        drop(sleep());
        assert!(start.elapsed().as_secs() < 30);
        let mut command = Command::new("sh");
        let error = Beside::start(command.args(["-c", "exit 3"]))
            .and_then(|mut beside| beside.wait())
            .unwrap_err();
        assert_eq!(error.to_string(), "sh -c 'exit 3': exit status: 3");
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["test", "a b"]);
        assert_eq!(show(&command), "cargo test 'a b'");
    }
}
