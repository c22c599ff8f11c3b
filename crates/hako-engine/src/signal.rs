//! Signals by name or number, as users type them.

use crate::error::{Error, Result};

const NAMES: &[&str] = &[
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `RTMIN+3` (signal(7)).
///
/// Errors: [`Error::Invalid`].
pub fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::invalid("signal", text, "no such signal");
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64)
            .contains(&number)
            .then_some(number)
            .ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).map_err(|_| unknown());
    }
    let (base, offset): (i32, &str) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX"))
    {
        (Some(rest), _) => (34, rest),
        (_, Some(rest)) => (64, rest),
        _ => return Err(unknown()),
    };
    let offset: i32 = if offset.is_empty() {
        0
    } else {
        offset.parse().map_err(|_| unknown())?
    };
    base.checked_add(offset)
        .filter(|n| (34..=64).contains(n))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals() {
        for (text, n) in [
            ("TERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), n);
        }
        for bad in ["", "0", "65", "NOPE", "RTMIN+99", "RTMAX+2147483647"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
