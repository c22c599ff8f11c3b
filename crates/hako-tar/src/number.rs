//! The three ways in which tar writes numbers: octal, GNU's base-256, and
//! PAX's decimal.

use crate::Time;

/// A numeric header field: octal digits padded with spaces or NULs, or
/// base-256 if the first bit is set (GNU tar, "Extensions to the archive
/// format"). An empty field is 0.
pub(crate) fn field(bytes: &[u8]) -> Option<i128> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    }
}

/// Two's complement in all bits of the field but the first.
fn base256(bytes: &[u8]) -> Option<i128> {
    let (first, rest) = bytes.split_first()?;
    // The marker bit is dropped, the bit behind it is the sign.
    let mut value = i128::from(first & 0x7f);
    if first & 0x40 != 0 {
        value -= 0x80;
    }
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    Some(value)
}

fn octal(bytes: &[u8]) -> Option<i128> {
    let start = bytes
        .iter()
        .position(|b| *b != b' ' && *b != 0)
        .unwrap_or(bytes.len());
    let digits = bytes.get(start..)?;
    let end = digits
        .iter()
        .position(|b| *b == b' ' || *b == 0)
        .unwrap_or(digits.len());
    let (digits, tail) = digits.split_at_checked(end)?;
    if tail.iter().any(|b| *b != b' ' && *b != 0) {
        return None;
    }
    let mut value: i128 = 0;
    for byte in digits {
        if !(b'0'..=b'7').contains(byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i128::from(byte - b'0'))?;
    }
    Some(value)
}

/// An unsigned decimal number and nothing else.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    let mut value: u64 = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}

/// A PAX time: `[-]seconds[.fraction]`; digits behind the ninth are dropped.
pub(crate) fn time(bytes: &[u8]) -> Option<Time> {
    let (negative, rest) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, bytes),
    };
    let dot = rest.iter().position(|b| *b == b'.');
    let (whole, fraction) = match dot {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
        None => (rest, &b""[..]),
    };
    let secs = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos: u32 = 0;
    if fraction.iter().any(|b| !b.is_ascii_digit()) {
        return None;
    }
    for at in 0..9 {
        let digit = fraction.get(at).map_or(0, |b| b - b'0');
        nanos = nanos * 10 + u32::from(digit);
    }
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time {
            secs: -secs,
            nanos: 0,
        },
        (true, _) => Time {
            secs: (-secs).checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

/// The inverse of [`time`], in the shortest form.
pub(crate) fn format_time(time: Time) -> String {
    let nanos = time.nanos.min(999_999_999);
    if nanos == 0 {
        return time.secs.to_string();
    }
    let (sign, secs, nanos) = if time.secs < 0 {
        // secs < 0 rounds down: -1.5 s is { -2, 500_000_000 }.
        (
            "-",
            (i128::from(time.secs) + 1).unsigned_abs(),
            1_000_000_000 - nanos,
        )
    } else {
        ("", i128::from(time.secs).unsigned_abs(), nanos)
    };
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octal_fields_may_be_padded_on_both_sides() {
        assert_eq!(field(b"0000644\0"), Some(0o644));
        assert_eq!(field(b"   644 \0"), Some(0o644));
        assert_eq!(field(b"\0\0\0\0"), Some(0));
        assert_eq!(field(b"77777777"), Some(0o77_777_777));
        assert_eq!(field(b"0648\0\0\0\0"), None);
        assert_eq!(field(b"64 4\0\0\0\0"), None);
        assert_eq!(field(b"-1\0\0"), None);
    }

    #[test]
    fn base256_fields_are_signed() {
        assert_eq!(field(&[0x80, 0, 0, 0, 0, 0, 0, 5]), Some(5));
        assert_eq!(field(&[0xff; 12]), Some(-1));
        assert_eq!(field(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(
            field(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
            Some(0xffff_ffff)
        );
    }

    #[test]
    fn times_round_down() {
        assert_eq!(
            time(b"1.5"),
            Some(Time {
                secs: 1,
                nanos: 500_000_000
            })
        );
        assert_eq!(
            time(b"-1.5"),
            Some(Time {
                secs: -2,
                nanos: 500_000_000
            })
        );
        assert_eq!(
            time(b"-0.000000001"),
            Some(Time {
                secs: -1,
                nanos: 999_999_999
            })
        );
        assert_eq!(
            time(b"7.1234567899"),
            Some(Time {
                secs: 7,
                nanos: 123_456_789
            })
        );
        assert_eq!(time(b"7."), Some(Time { secs: 7, nanos: 0 }));
        for bad in [
            &b""[..],
            b"-",
            b".5",
            b"1e3",
            b"1.-5",
            b"+1",
            b"99999999999999999999",
        ] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_their_text(secs in any::<i64>(), nanos in 0u32..1_000_000_000) {
            // i64::MIN seconds has no positive counterpart to parse.
            prop_assume!(secs > i64::MIN + 1);
            let t = Time { secs, nanos };
            prop_assert_eq!(time(format_time(t).as_bytes()), Some(t));
        }

        #[test]
        fn fields_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..14)) {
            let _ = field(&bytes);
            let _ = decimal(&bytes);
            let _ = time(&bytes);
        }
    }
}
