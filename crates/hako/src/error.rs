//! The one error of the command line: what is printed, and the exit status.

use std::io::Write as _;
use std::process::ExitCode;

use hako_distribution::Kind as RegistryKind;

/// What kind of failure it is; decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// hako could not do its part: 125.
    Engine,
    /// The container's program cannot be executed: 126.
    CannotRun,
    /// The container's program is not there: 127.
    NotFound,
    /// Something was found that the user asked to be told of: 1.
    Findings,
    /// Nobody reads what is printed any more: as if by SIGPIPE, in silence.
    BrokenPipe,
    /// All is said already; this status.
    Said(u8),
}

impl Kind {
    /// The exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Kind::Engine => 125,
            Kind::CannotRun => 126,
            Kind::NotFound => 127,
            Kind::Findings => 1,
            Kind::BrokenPipe => 128 + 13,
            Kind::Said(status) => status,
        }
    }
}

/// A failure of a command.
#[derive(Debug)]
pub(crate) struct CliError {
    /// Decides the exit status.
    pub(crate) kind: Kind,
    /// What failed, with its causes.
    pub(crate) error: anyhow::Error,
    /// What the user could do, one sentence each.
    pub(crate) hints: Vec<String>,
}

/// The result of a command.
pub(crate) type Result<T = ExitCode> = std::result::Result<T, CliError>;

impl CliError {
    /// A failure that is said in one sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        CliError {
            kind: Kind::Engine,
            error: anyhow::Error::msg(text.into()),
            hints: Vec::new(),
        }
    }

    /// A failure whose words are printed already.
    pub(crate) fn said(status: u8) -> Self {
        CliError {
            kind: Kind::Said(status),
            ..CliError::new("")
        }
    }

    /// Puts what was being done before the error.
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.error = self.error.context(text.into());
        self
    }

    /// Adds what the user could do.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// The error with all its causes in one line.
    pub(crate) fn line(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for cause in self.error.chain() {
            let text = one_line(&cause.to_string());
            // Wrappers of foreign crates say what their source says, too.
            if !text.is_empty() && !parts.last().is_some_and(|last| last.contains(&text)) {
                parts.push(text);
            }
        }
        parts.join(": ")
    }

    /// Prints the error on stderr.
    pub(crate) fn print(&self) {
        if matches!(self.kind, Kind::BrokenPipe | Kind::Said(_)) {
            return;
        }
        let mut text = format!("hako: {}\n", self.line());
        for hint in &self.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // There is no other place to complain at.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Prints the error and gives its exit status; with `debug` also how the
    /// program names it.
    pub(crate) fn report(&self, debug: bool) -> ExitCode {
        self.print();
        if debug && !matches!(self.kind, Kind::BrokenPipe | Kind::Said(_)) {
            let text = format!("debug: {:?}\n", self.error);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(self.kind.status())
    }
}

/// Errors are one line, whatever a program or a registry has said.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let clean = |line: &str| -> String {
        line.chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    };
    lines.map(clean).collect::<Vec<_>>().join("; ")
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        let error = anyhow::Error::from(error);
        CliError {
            kind: kind_of(&error),
            hints: hints_of(&error),
            error,
        }
    }
}

fn kind_of(error: &anyhow::Error) -> Kind {
    if let Some(error) = error.downcast_ref::<hako_engine::Error>() {
        return match error.status() {
            126 => Kind::CannotRun,
            127 => Kind::NotFound,
            _ => Kind::Engine,
        };
    }
    Kind::Engine
}

fn hints_of(error: &anyhow::Error) -> Vec<String> {
    let hint = |text: &str| vec![text.to_owned()];
    for cause in error.chain() {
        if let Some(hako_engine::Error::NoContainer(_)) = cause.downcast_ref() {
            return hint("'hako ps --all' lists the containers");
        }
        if let Some(hako_store::Error::ImageUnknown(_)) = stored(cause) {
            return hint("'hako images' lists the images, 'hako pull' brings one");
        }
        if let Some(error) = distributed(cause) {
            return match error.kind() {
                RegistryKind::Unauthorized | RegistryKind::Denied => hint(
                    "credentials are read from auth.json and ~/.docker/config.json, or from --authfile FILE",
                ),
                RegistryKind::Tls => {
                    hint("for a registry of your own without good certificates: --tls-verify=false")
                }
                RegistryKind::RateLimited => {
                    hint("wait, or log in: registries let known users do more")
                }
                _ => Vec::new(),
            };
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::StorageFull
        {
            return hint("'hako system prune' frees what is not needed");
        }
    }
    Vec::new()
}

/// The store's error in a cause. A wrapper that says nothing of its own passes
/// its cause over, too, when asked for it.
fn stored<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a hako_store::Error> {
    use hako_engine::Error as Engine;
    use hako_transfer::Error as Transfer;
    match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(Engine::Store(error)), _) | (_, Some(Transfer::Store(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The registry client's error in a cause.
fn distributed<'a>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a hako_distribution::Error> {
    match cause.downcast_ref() {
        Some(hako_transfer::Error::Registry(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("cannot open /x\nat all")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn one_line_with_causes() {
        let error = CliError::from(Outer(std::io::Error::other("disk \u{1b}[31m on fire")));
        assert_eq!(
            error.line(),
            "cannot open /x; at all: disk \u{fffd}[31m on fire"
        );
        assert_eq!(error.kind.status(), 125);
    }

    #[test]
    fn statuses_and_hints_come_from_the_error() {
        let runtime = |status| hako_engine::Error::Runtime {
            runtime: "r".into(),
            message: "m".into(),
            status,
        };
        assert_eq!(CliError::from(runtime(127)).kind, Kind::NotFound);
        assert_eq!(CliError::from(runtime(126)).kind, Kind::CannotRun);
        assert_eq!(CliError::from(runtime(125)).kind, Kind::Engine);
        let unknown = hako_engine::Error::NoContainer("x".into());
        assert!(CliError::from(unknown).hints[0].contains("hako ps"));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(CliError::from(Outer(full)).hints[0].contains("prune"));
    }
}
