//! The cleartext signature framework (RFC 9580, section 7), read strictly:
//! one message, nothing before it and nothing behind it.

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The signed text: dash escapes undone, white space at the ends of
    /// lines removed, lines parted by `\n`, no line break at the end. This
    /// is what the signature is over (with `\r\n` between the lines), and
    /// the only text that may be used.
    pub text: String,
    /// The armoured signatures.
    pub signature: String,
}

/// Why a text is no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Invalid {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// Takes a message apart.
///
/// # Errors
/// Anything that is not exactly one message: text around it, headers other
/// than `Hash`, an unescaped dash at the start of a line, control
/// characters (a bare carriage return would be a line break to some).
pub fn parse(input: &str) -> Result<Message, Invalid> {
    let mut lines = input
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .enumerate()
        .map(|(i, line)| (i + 1, line));
    let fail = |line, reason| Err(Invalid { line, reason });
    let ends = |reason| Invalid {
        line: input.split('\n').count(),
        reason,
    };
    match lines.next() {
        Some((_, BEGIN)) => {}
        _ => return fail(1, "not a message that is signed in clear text"),
    }
    loop {
        let (number, line) = lines
            .next()
            .ok_or_else(|| ends("the message ends in its headers"))?;
        if line.is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return fail(number, "a header other than Hash");
        }
    }
    let mut text = String::with_capacity(input.len());
    let mut first = true;
    loop {
        let (number, line) = lines.next().ok_or_else(|| ends("there is no signature"))?;
        if line == BEGIN_SIGNATURE {
            break;
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return fail(number, "a dash that is not escaped"),
            None => line,
        };
        if line.bytes().any(|c| c.is_ascii_control() && c != b'\t') {
            return fail(number, "a control character");
        }
        if !std::mem::take(&mut first) {
            text.push('\n');
        }
        text.push_str(line.trim_end_matches([' ', '\t']));
    }
    let mut signature = format!("{BEGIN_SIGNATURE}\n");
    loop {
        let (number, line) = lines
            .next()
            .ok_or_else(|| ends("the signature has no end"))?;
        if line == END_SIGNATURE {
            break;
        }
        if line.starts_with('-') {
            return fail(number, "a dash inside the signature");
        }
        signature.push_str(line);
        signature.push('\n');
    }
    signature.push_str(END_SIGNATURE);
    signature.push('\n');
    if let Some((number, _)) = lines.find(|(_, line)| !line.trim().is_empty()) {
        return fail(number, "something behind the signature");
    }
    Ok(Message { text, signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: X  \n- - dash\n\n b\t\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n=BBBB\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn takes_a_message_apart() {
        let message = parse(GOOD).unwrap();
        assert_eq!(message.text, "Origin: X\n- dash\n\n b");
        assert!(message.signature.contains("\nAAAA\n=BBBB\n-----END"));
        let crlf = GOOD.replace('\n', "\r\n");
        assert_eq!(parse(&crlf).unwrap(), message);
    }

    #[test]
    fn nothing_around_and_nothing_odd_inside() {
        for (text, reason) in [
            (format!("Evil: 1\n{GOOD}"), "not a message"),
            (format!("\n{GOOD}"), "not a message"),
            (format!("{GOOD}Evil: 1\n"), "behind"),
            (format!("{GOOD}{GOOD}"), "behind"),
            (GOOD.replace("Hash: SHA256", "Evil: 1"), "header"),
            (
                GOOD.replace("Hash: SHA256", "Hash: SHA256\nNotDashEscaped: yes"),
                "header",
            ),
            (
                GOOD.replace("- - dash", "-----BEGIN PGP SIGNED MESSAGE-----"),
                "not escaped",
            ),
            (GOOD.replace("- - dash", "-x"), "not escaped"),
            (GOOD.replace("- - dash", "a\rEvil: 1"), "control"),
            (GOOD.replace("- - dash", "a\0"), "control"),
            (GOOD.replace("-----END PGP SIGNATURE-----", ""), "no end"),
            (
                GOOD.replace("-----BEGIN PGP SIGNATURE-----", ""),
                "not escaped",
            ),
            (
                GOOD.replace("AAAA", "-----BEGIN PGP SIGNATURE-----"),
                "dash inside",
            ),
            (
                "-----BEGIN PGP SIGNED MESSAGE-----\n".to_owned(),
                "no signature",
            ),
            (String::new(), "not a message"),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.reason.contains(reason), "{error} for {text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(parts in proptest::collection::vec(prop_oneof![
            Just(BEGIN.to_owned()), Just(BEGIN_SIGNATURE.to_owned()), Just(END_SIGNATURE.to_owned()),
            Just("Hash: SHA256".to_owned()), Just("\n".to_owned()), Just("\r".to_owned()), "\\PC{0,5}"], 0..12)) {
            let text = parts.concat();
            if let Ok(message) = parse(&text) {
                prop_assert!(!message.text.contains('\r'));
            }
        }
    }
}
