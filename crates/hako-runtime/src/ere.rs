//! POSIX extended regular expressions (regex(7)), for `kill --regex` and
//! `delete --regex`: no crate for them fits a runtime's budget.
//!
//! A pattern becomes a program of few kinds of steps, and all its threads
//! advance over the text together (Thompson's construction), so that matching
//! takes time in proportion to pattern times text, whatever the pattern. There
//! are no back-references, whose time is not bounded. Texts are bytes.

use crate::error::{Error, Result};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Longest program; counted repetitions multiply.
const MAX_STEPS: usize = 20_000;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone)]
enum Step {
    /// One byte out of a set.
    Byte(Box<[bool; 256]>),
    /// Only at the start of the text.
    Start,
    /// Only at its end.
    End,
    /// On at the next step, and as many steps further.
    Fork(usize),
    /// On as many steps further, or back.
    Jump(isize),
    Found,
}

/// A pattern that was understood.
#[derive(Debug)]
pub struct Pattern(Vec<Step>);

impl Pattern {
    /// Reads `text`.
    ///
    /// Errors say what is wrong with it, or that it is larger than is allowed.
    pub fn parse(text: &str) -> Result<Self> {
        let parse = || {
            if text.len() > MAX_PATTERN {
                return Err("it is too long".to_owned());
            }
            let mut parser = Parser {
                rest: text.as_bytes(),
                depth: 0,
            };
            let mut steps = parser.alternatives()?;
            if !parser.rest.is_empty() {
                return Err("a \")\" without its \"(\"".to_owned());
            }
            steps.push(Step::Found);
            Ok(Pattern(steps))
        };
        parse().map_err(|e| Error::new(format!("regular expression {text:?}: {e}")))
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut now = Threads::new(self.0.len());
        for at in 0..=text.len() {
            // A match may begin at every place.
            if self.follow(0, at, text.len(), &mut now) {
                return true;
            }
            let Some(byte) = text.get(at) else { break };
            let mut next = Threads::new(self.0.len());
            for place in now.waiting {
                let takes = match self.0.get(place) {
                    Some(Step::Byte(set)) => set.get(usize::from(*byte)) == Some(&true),
                    _ => false,
                };
                if takes && self.follow(place + 1, at + 1, text.len(), &mut next) {
                    return true;
                }
            }
            now = next;
        }
        false
    }

    /// Adds what can be reached from `place` without taking a byte; true when
    /// that is the end.
    fn follow(&self, place: usize, at: usize, len: usize, threads: &mut Threads) -> bool {
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            match threads.seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match self.0.get(place) {
                Some(Step::Byte(_)) => threads.waiting.push(place),
                Some(Step::Start) if at == 0 => open.push(place + 1),
                Some(Step::End) if at == len => open.push(place + 1),
                Some(Step::Fork(far)) => open.extend([place + 1, place + far]),
                Some(Step::Jump(by)) => open.push(place.saturating_add_signed(*by)),
                Some(Step::Found) => return true,
                Some(Step::Start | Step::End) | None => {}
            }
        }
        false
    }
}

/// The places where threads wait for a byte, each once.
struct Threads {
    seen: Vec<bool>,
    waiting: Vec<usize>,
}

impl Threads {
    fn new(steps: usize) -> Self {
        Threads {
            seen: vec![false; steps],
            waiting: Vec::new(),
        }
    }
}

type Steps = std::result::Result<Vec<Step>, String>;

/// Appends `more` to `steps`.
fn append(steps: &mut Vec<Step>, more: &[Step]) -> std::result::Result<(), String> {
    if steps.len() + more.len() > MAX_STEPS {
        return Err("it stands for too much".to_owned());
    }
    steps.extend_from_slice(more);
    Ok(())
}

struct Parser<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn took(&mut self, prefix: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `a|b|…`, up to a `)` or the end.
    fn alternatives(&mut self) -> Steps {
        let mut steps = self.sequence()?;
        while self.took(b"|") {
            let other = self.sequence()?;
            steps.insert(0, Step::Fork(steps.len() + 2));
            steps.push(Step::Jump(other.len() as isize + 1));
            append(&mut steps, &other)?;
        }
        Ok(steps)
    }

    fn sequence(&mut self) -> Steps {
        let mut steps = Vec::new();
        while !matches!(self.rest.first(), None | Some(b'|' | b')')) {
            let mut one = self.atom()?;
            while let Some((least, most)) = self.count()? {
                one = repeat(&one, least, most)?;
            }
            append(&mut steps, &one)?;
        }
        Ok(steps)
    }

    fn atom(&mut self) -> Steps {
        let mut set = Box::new([false; 256]);
        let mut add = |byte: u8| set[usize::from(byte)] = true;
        match self.take() {
            None => {}
            Some(b'(') => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err("its groups are nested too deep".to_owned());
                }
                let inner = self.alternatives()?;
                self.depth -= 1;
                return match self.took(b")") {
                    true => Ok(inner),
                    false => Err("a \"(\" without its \")\"".to_owned()),
                };
            }
            Some(b'^') => return Ok(vec![Step::Start]),
            Some(b'$') => return Ok(vec![Step::End]),
            Some(b'.') => (0..=255).for_each(add),
            Some(b'[') => return Ok(vec![Step::Byte(self.bracket()?)]),
            Some(b'*' | b'+' | b'?' | b'{') => {
                return Err("a repetition of nothing".to_owned());
            }
            Some(b'\\') => match self.take() {
                Some(byte) if byte.is_ascii_punctuation() => add(byte),
                Some(byte) => return Err(format!("\\{} is not known", byte.escape_ascii())),
                None => return Err("a backslash at its end".to_owned()),
            },
            Some(byte) => add(byte),
        }
        Ok(vec![Step::Byte(set)])
    }

    /// The repetition that comes next, if one does: at least and at most.
    fn count(&mut self) -> std::result::Result<Option<(usize, Option<usize>)>, String> {
        // RE_DUP_MAX is 255, which a byte holds.
        let wrong = || "a repetition is not {N}, {N,} or {N,M}, up to 255".to_owned();
        let simple = match self.rest.first() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => {
                let end = self.rest.iter().position(|b| *b == b'}');
                let inside = self.rest.get(1..end.ok_or_else(wrong)?);
                let inside = inside.and_then(|i| std::str::from_utf8(i).ok());
                let inside = inside.ok_or_else(wrong)?;
                self.rest = self.rest.get(inside.len() + 2..).unwrap_or_default();
                let number = |text: &str| match text.parse::<u8>() {
                    Ok(n) if !text.starts_with('+') => Ok(usize::from(n)),
                    _ => Err(wrong()),
                };
                let (least, most) = match inside.split_once(',') {
                    None => (number(inside)?, Some(number(inside)?)),
                    Some((least, "")) => (number(least)?, None),
                    Some((least, most)) => (number(least)?, Some(number(most)?)),
                };
                return match most {
                    Some(most) if most < least => Err(wrong()),
                    _ => Ok(Some((least, most))),
                };
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(simple))
    }

    /// What stands in brackets: bytes, ranges and classes, or all but these.
    fn bracket(&mut self) -> std::result::Result<Box<[bool; 256]>, String> {
        let open = || "a \"[\" without its \"]\"".to_owned();
        let mut set = Box::new([false; 256]);
        let negated = self.took(b"^");
        let mut first = true;
        loop {
            let byte = self.take().ok_or_else(open)?;
            match byte {
                b']' if !first => break,
                b'[' if self.took(b":") => {
                    let end = self.rest.windows(2).position(|w| w == b":]");
                    let name = self.rest.get(..end.ok_or_else(open)?).unwrap_or_default();
                    let is = class(name).ok_or("a class in brackets is not known")?;
                    (0..=255u8)
                        .filter(is)
                        .for_each(|b| set[usize::from(b)] = true);
                    self.rest = self.rest.get(name.len() + 2..).unwrap_or_default();
                }
                b'[' if matches!(self.rest.first(), Some(b'.' | b'=')) => {
                    return Err("collating elements are not supported".to_owned());
                }
                from => {
                    let is_range = matches!(self.rest, [b'-', next, ..] if *next != b']');
                    let to = match is_range.then(|| (self.take(), self.take())) {
                        Some((_, Some(b'['))) => return Err("a range to \"[\"".to_owned()),
                        Some((_, Some(to))) if to >= from => to,
                        Some(_) => return Err("a range that runs backwards".to_owned()),
                        None => from,
                    };
                    (from..=to).for_each(|b| set[usize::from(b)] = true);
                }
            }
            first = false;
        }
        if negated {
            set.iter_mut().for_each(|is| *is = !*is);
        }
        Ok(set)
    }
}

/// The bytes of `[:name:]`.
fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"digit" => u8::is_ascii_digit,
        b"lower" => u8::is_ascii_lowercase,
        b"upper" => u8::is_ascii_uppercase,
        b"punct" => u8::is_ascii_punctuation,
        b"xdigit" => u8::is_ascii_hexdigit,
        b"cntrl" => u8::is_ascii_control,
        b"graph" => u8::is_ascii_graphic,
        b"print" => |b| (b' '..=b'~').contains(b),
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"space" => |b| matches!(b, b' ' | b'\t'..=b'\r'),
        _ => return None,
    })
}

fn repeat(one: &[Step], least: usize, most: Option<usize>) -> Steps {
    let mut steps = Vec::new();
    for _ in 0..least {
        append(&mut steps, one)?;
    }
    // Each further one may be left out.
    for _ in least..most.unwrap_or(least) {
        steps.push(Step::Fork(one.len() + 1));
        append(&mut steps, one)?;
    }
    if most.is_none() {
        steps.push(Step::Fork(one.len() + 2));
        append(&mut steps, one)?;
        steps.push(Step::Jump(-(one.len() as isize) - 1));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_matches() {
        for (pattern, yes, no) in [
            ("", "a", ""),
            ("test-*", "x-test", "tes"),
            ("^web[0-9]+$", "web42", "web42x"),
            ("^(a|bc)*$", "abcbca", "abcb"),
            ("^a{2,3}$", "aaa", "aaaa"),
            ("^a{2,}b?$", "aaaaab", "ab"),
            ("^[^a-c]$", "d", "b"),
            ("^[]x]$", "]", "a"),
            ("^[a-]$", "-", "b"),
            ("^[[:alpha:]_]+$", "a_Z", "a1"),
            (r"^a\.b\+$", "a.b+", "axb+"),
            ("x|^$", "x", "y"),
            ("^(|a)b$", "b", "aab"),
            ("^(a*)*$", "aaaa", "b"),
        ] {
            let p = Pattern::parse(pattern).unwrap();
            assert!(p.is_match(yes), "{pattern} {yes}");
            assert!(no.is_empty() || !p.is_match(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_refused() {
        for pattern in [
            "(",
            ")",
            "a)",
            "[",
            "[a",
            "*",
            "a|*",
            "(+)",
            "a{",
            "a{1",
            "a{2,1}",
            "a{256}",
            "a{+1}",
            "\\",
            r"\1",
            r"\w",
            "[b-a]",
            "[[:nope:]]",
            "[[.a.]]",
            "[[:alpha:",
            "a{,}",
            "[a-[]",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        let deep = "(".repeat(100) + &")".repeat(100);
        for hostile in [deep, "a".repeat(5000), "((a{255}){255}){255}".to_owned()] {
            assert!(Pattern::parse(&hostile).is_err());
        }
    }

    #[test]
    fn hostile_patterns_take_their_time_but_not_more() {
        let text = "a".repeat(200) + "b";
        for pattern in ["^(a*)*$", "^(a|a)*$", "^(a?){200}a{200}$", "^((a+)+)+$"] {
            assert!(!Pattern::parse(pattern).unwrap().is_match(&text));
        }
    }

    /// What grep says of patterns made at random.
    #[test]
    fn as_grep() {
        let mut seed = 7u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % below
        };
        let parts = [
            "a",
            "b",
            "-",
            "1",
            ".",
            "^",
            "$",
            "|",
            "(a|b)",
            "(ab)",
            "[ab]",
            "[^a]",
            "[a-c1]",
            "[[:digit:]]",
            "(a",
            ")",
            r"\.",
        ];
        let counts = ["", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}"];
        let mut texts: Vec<String> = vec!["a".into(), "b-1".into(), "aab".into()];
        for _ in 0..60 {
            let letters = ["a", "b", "c", "-", "1", "."];
            texts.push((0..1 + random(6)).map(|_| letters[random(6)]).collect());
        }
        let input = texts.join("\n");
        let mut understood = 0;
        for _ in 0..200 {
            let pattern: String = (0..1 + random(4))
                .map(|_| format!("{}{}", parts[random(parts.len())], counts[random(9)]))
                .collect();
            // A repeated anchor, or one of an empty alternative, is undefined.
            let anchors = ["^*", "^+", "^?", "^{", "$*", "$+", "$?", "${"];
            if anchors.iter().any(|a| pattern.contains(a)) {
                continue;
            }
            let Ok(ours) = Pattern::parse(&pattern) else {
                continue;
            };
            understood += 1;
            let ours: Vec<&str> = texts
                .iter()
                .map(String::as_str)
                .filter(|t| ours.is_match(t))
                .collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &input).unwrap();
            let out = std::process::Command::new("grep")
                .env("LC_ALL", "C")
                .args(["-E", "-e", &pattern])
                .arg(file.path())
                .output()
                .unwrap();
            let theirs = String::from_utf8(out.stdout).unwrap();
            assert_eq!(ours, theirs.lines().collect::<Vec<_>>(), "{pattern}");
        }
        assert!(understood > 50, "{understood}");
    }
}
