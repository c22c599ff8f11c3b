//! The user's terminal: raw while a container's terminal is on it, and as it
//! was on every way out.

use std::os::fd::AsFd;

use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode; dropping it brings the old mode back.
pub(crate) struct Raw {
    saved: Termios,
    raw: Termios,
}

impl Raw {
    /// Sets the terminal on stdin raw; `None` when there is none.
    pub(crate) fn set() -> std::io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        let this = Raw { saved, raw };
        // A release build aborts on a panic, without running destructors.
        let saved = this.saved.clone();
        let old = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &saved);
            old(info);
        }));
        Ok(Some(this))
    }

    /// Sets it raw again, after the user's shell had stopped this program.
    pub(crate) fn again(&self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.raw);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.saved);
    }
}

/// Rows and columns of the user's terminal, on whichever stream it is.
pub(crate) fn size() -> Option<(u16, u16)> {
    let of = |fd: &dyn AsFd| {
        tcgetwinsize(fd)
            .ok()
            .filter(|s| s.ws_row > 0 && s.ws_col > 0)
    };
    let size = of(&stdin())
        .or_else(|| of(&stdout()))
        .or_else(|| of(&stderr()))?;
    Some((size.ws_row, size.ws_col))
}

/// Keys that leave a container running: `ctrl-p,ctrl-q`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys(Vec<u8>);

impl Default for Keys {
    fn default() -> Self {
        Keys(vec![0x10, 0x11])
    }
}

impl std::str::FromStr for Keys {
    type Err = String;

    /// Keys parted by commas: a character, or `ctrl-` and one of `a`–`z`, `@`,
    /// `[`, `\`, `]`, `^`, `_`. The empty text is no keys at all.
    fn from_str(text: &str) -> Result<Self, String> {
        let key = |word: &str| -> Option<u8> {
            let single = |word: &str| match word.as_bytes() {
                [byte] if byte.is_ascii() => Some(*byte),
                _ => None,
            };
            match word.strip_prefix("ctrl-") {
                None => single(word),
                Some(rest) => match single(rest)?.to_ascii_uppercase() {
                    byte @ b'@'..=b'_' => Some(byte - b'@'),
                    _ => None,
                },
            }
        };
        if text.is_empty() {
            return Ok(Keys(Vec::new()));
        }
        text.split(',')
            .map(|word| {
                key(word).ok_or_else(|| format!("{word:?} is no key: say a letter, or ctrl-LETTER"))
            })
            .collect::<Result<_, _>>()
            .map(Keys)
    }
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Keys,
    matched: usize,
}

impl Watch {
    /// A watch for `keys`.
    pub(crate) fn new(keys: Keys) -> Self {
        Watch { keys, matched: 0 }
    }

    /// What of `typed` goes to the container, and whether the keys were hit.
    /// A beginning of the keys waits for what comes next.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        if keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend(keys.iter().take(self.matched));
            self.matched = usize::from(keys.first() == Some(byte));
            if self.matched == 0 {
                out.push(*byte);
            } else if keys.len() == 1 {
                return (out, true);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!("ctrl-p,ctrl-q".parse::<Keys>().unwrap(), Keys::default());
        assert_eq!("a,ctrl-[".parse::<Keys>().unwrap(), Keys(vec![b'a', 27]));
        assert_eq!("ctrl-@".parse::<Keys>().unwrap(), Keys(vec![0]));
        assert_eq!("".parse::<Keys>().unwrap(), Keys(Vec::new()));
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "é"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_keys_are_found_across_reads_and_others_pass() {
        let mut watch = Watch::new(Keys::default());
        assert_eq!(watch.feed(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(watch.feed(b"\x10"), (Vec::new(), false));
        assert_eq!(watch.feed(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(watch.feed(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(watch.feed(b"\x11rest"), (Vec::new(), true));
        let mut none = Watch::new(Keys(Vec::new()));
        assert_eq!(none.feed(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        let mut one = Watch::new(Keys(vec![1]));
        assert_eq!(one.feed(b"a\x01b"), (b"a".to_vec(), true));
    }
}
