//! Times in the three forms that occur here: seconds since 1970, the form
//! of Release files (RFC 5322 with a zone of zero), and RFC 3339.

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = year.div_euclid(400);
    let in_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month, day)
}

/// Reads `Sat, 11 Jul 2026 10:16:37 UTC`. The zone must be UTC, GMT, Z or
/// +0000, as apt demands.
pub(crate) fn parse(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let rest = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = rest.split_ascii_whitespace();
    let number = |word: &str, most: i64| -> Option<i64> {
        let fits = !word.is_empty() && word.len() <= 4 && word.bytes().all(|c| c.is_ascii_digit());
        let n = fits.then(|| word.parse::<i64>().ok()).flatten()?;
        (n <= most).then_some(n)
    };
    let day = number(words.next()?, 31).filter(|d| *d > 0)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name))? as i64 + 1;
    let year = number(words.next()?, 9999).filter(|y| *y >= 1970)?;
    let mut clock = words.next()?.split(':');
    let (hour, minute, second) = (
        number(clock.next()?, 23)?,
        number(clock.next()?, 59)?,
        number(clock.next()?, 60)?,
    );
    let zone = matches!(words.next()?, "UTC" | "GMT" | "Z" | "+0000" | "-0000");
    if !zone || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    u64::try_from(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// Writes `2026-07-11T10:16:37Z` (RFC 3339). Times beyond the year 9999 are
/// written as its end.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .min(253_402_300_799);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        assert_eq!(parse("Sat, 11 Jul 2026 10:16:37 UTC"), Some(1_783_764_997));
        assert_eq!(rfc3339(1_783_764_997), "2026-07-11T10:16:37Z");
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 +0000"), Some(0));
        assert_eq!(parse("29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        for bad in [
            "",
            "Sat, 11 Jul 2026",
            "11 Jul 2026 10:16:37 +0200",
            "11 Foo 2026 1:1:1 UTC",
            "32 Jul 2026 1:1:1 UTC",
            "1 Jul 2026 24:1:1 UTC",
            "1 Jul 2026 1:1:1 UTC x",
            "1 Jul 1969 1:1:1 UTC",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn both_ways(seconds in 0u64..253_402_300_799) {
            let (year, month, day) = civil((seconds / 86_400) as i64);
            prop_assert_eq!(days(year, month, day), (seconds / 86_400) as i64);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }

        #[test]
        fn never_panics(text in "([A-Za-z0-9:,+ ]|\\PC){0,40}") {
            let _ = parse(&text);
        }
    }
}
