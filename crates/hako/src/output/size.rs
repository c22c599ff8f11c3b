//! Sizes as docker prints them.

/// `4.26MB`: three digits that count, powers of 1000 (go-units'
/// `HumanSizeWithPrecision(size, 3)`).
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!(
        "{}{}",
        significant(size),
        UNITS.get(unit).copied().unwrap_or("B")
    )
}

/// As `%.3g` for numbers below 1000 and above 1, and 0.
fn significant(number: f64) -> String {
    let decimals = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    if !text.contains('.') {
        // %g goes over to exponents where rounding gives a fourth digit.
        return if text.len() > 3 {
            "1e+03".to_owned()
        } else {
            text
        };
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `3.2 MB`, for people who watch.
pub(crate) fn loose(bytes: u64) -> String {
    let text = human(bytes);
    let digits = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_260_000, "4.26MB"),
            (77_940_000, "77.9MB"),
            (117_000_000, "117MB"),
            (1_150_000_000, "1.15GB"),
            (9_999, "10kB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(loose(3_200_000), "3.2 MB");
    }
}
