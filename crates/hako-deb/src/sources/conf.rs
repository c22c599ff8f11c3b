//! The little of apt.conf(5) that changes whether a release is accepted.
//!
//! Only simple forms are read: `A::B "value";` and nested `A { B "value"; };`.
//! `#include`, `#clear` and lists are passed over; apt itself is not run.

use super::{boolean, parts};
use crate::error::{Result, io};
use std::path::Path;

/// What apt's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `Acquire::Check-Valid-Until`: whether an expired release is refused.
    pub check_valid_until: bool,
    /// `Acquire::Check-Date`: whether this machine's clock is good enough
    /// to refuse what is not valid yet.
    pub check_date: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            check_valid_until: true,
            check_date: true,
        }
    }
}

impl Settings {
    /// Reads `apt.conf.d` and then `apt.conf` of a directory like
    /// `/etc/apt`, as apt does.
    ///
    /// # Errors
    /// A file cannot be read. What cannot be understood is passed over.
    pub fn read(directory: &Path) -> Result<Self> {
        let d = directory.join("apt.conf.d");
        let mut files = parts(&d, &["", "conf"])?;
        let main = directory.join("apt.conf");
        if main.is_file() {
            files.push(main);
        }
        let mut settings = Self::default();
        for file in files {
            let bytes = std::fs::read(&file).map_err(io(&file, "read"))?;
            settings.apply(&String::from_utf8_lossy(&bytes));
        }
        Ok(settings)
    }

    /// Takes over what a file says.
    pub fn apply(&mut self, text: &str) {
        for (name, value) in parse(text) {
            let target = match name.to_ascii_lowercase().as_str() {
                "acquire::check-valid-until" => &mut self.check_valid_until,
                "acquire::check-date" => &mut self.check_date,
                _ => continue,
            };
            if let Some(value) = boolean(&value) {
                *target = value;
            }
        }
    }
}

/// The names (scopes joined by `::`) and values of a configuration file, in
/// their order.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default()),
            Token::Close => {
                words.clear();
                scopes.pop();
            }
            Token::End => {
                let mut taken = words.drain(..);
                if let (Some(name), Some(value)) = (taken.next(), taken.next()) {
                    let full: Vec<&str> = scopes
                        .iter()
                        .map(String::as_str)
                        .chain(std::iter::once(name.as_str()))
                        .filter(|part| !part.is_empty())
                        .collect();
                    found.push((full.join("::"), value));
                }
            }
        }
    }
    found
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    let mut word = String::new();
    let mut line_start = true;
    while let Some(c) = chars.next() {
        let starts_line = std::mem::replace(&mut line_start, c == '\n');
        let special = matches!(c, '{' | '}' | ';' | '"') || c.is_whitespace();
        let comment =
            c == '#' || (c == '/' && matches!(chars.peek(), Some('/' | '*')) && word.is_empty());
        if (special || comment) && !word.is_empty() {
            out.push(Token::Word(std::mem::take(&mut word)));
        }
        match c {
            '{' => out.push(Token::Open),
            '}' => out.push(Token::Close),
            ';' => out.push(Token::End),
            '"' => out.push(Token::Word(
                chars.by_ref().take_while(|c| *c != '"').collect(),
            )),
            _ if comment && c == '/' && chars.peek() == Some(&'*') => {
                let mut last = ' ';
                chars.next();
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            _ if comment => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        line_start = true;
                        break;
                    }
                }
            }
            c if c.is_whitespace() => line_start |= starts_line,
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        out.push(Token::Word(word));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_flat_and_nested() {
        let mut settings = Settings::default();
        settings.apply(
            "// x\n/* Acquire::Check-Date \"no\"; */\nAcquire::Check-Valid-Until \"false\";\n",
        );
        assert_eq!(
            (settings.check_valid_until, settings.check_date),
            (false, true)
        );
        settings.apply("Acquire { Check-Valid-Until \"true\"; check-date no; Languages { \"none\"; }; };\n# end");
        assert_eq!(
            (settings.check_valid_until, settings.check_date),
            (true, false)
        );
        settings.apply("APT { NeverAutoRemove { \"^postgresql.*-15\"; }; };\nDPkg::Post-Invoke { \"rm; }\"; };\nAcquire::Check-Date \"1\";");
        assert!(settings.check_date);
    }

    #[test]
    fn agrees_with_this_machines_apt() {
        let ours = Settings::read(Path::new("/etc/apt")).unwrap();
        let dump = std::process::Command::new("apt-config")
            .arg("dump")
            .output()
            .expect("apt-config runs");
        let mut theirs = Settings::default();
        theirs.apply(&String::from_utf8(dump.stdout).unwrap());
        assert_eq!(ours, theirs);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(Acquire|::|\\{|\\}|;|\"|//|/\\*|\\*/|#|\n|[a-z ]|\\PC){0,40}") {
            let _ = parse(&text);
        }
    }
}
