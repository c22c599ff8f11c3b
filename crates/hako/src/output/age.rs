//! Moments and durations as docker words them.

use std::time::Duration;

use jiff::Timestamp;

/// How long ago `moment` (RFC 3339) was; the zero time and nonsense give `None`.
pub(crate) fn since(moment: &str, now: Timestamp) -> Option<Duration> {
    let then: Timestamp = moment.parse().ok()?;
    let seconds = now.as_second().checked_sub(then.as_second())?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `3 minutes`, `About an hour`: the words of docker's go-units.
pub(crate) fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `3 minutes ago`, or nothing for a moment that is none.
pub(crate) fn ago(moment: &str, now: Timestamp) -> String {
    since(moment, now)
        .map(|d| format!("{} ago", words(d)))
        .unwrap_or_default()
}

/// `2026-01-02 03:04:05 +0000 UTC`, as Go prints times.
pub(crate) fn at(moment: &str) -> String {
    match moment.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => moment.to_owned(),
    }
}

/// A moment that a user gave to `--since` or `--until`: RFC 3339 (also without
/// a zone: UTC), a date, seconds since 1970, or a duration back from now
/// (`90s`, `1h30m`, `2d`). Nine digits after the point, so that texts compare.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<String, String> {
    let wrong = || format!("{text:?} is no time: say 2026-01-02T03:04:05Z, 1767323045 or 10m");
    let time = if let Ok(time) = text.parse::<Timestamp>() {
        time
    } else if let Some(span) = duration(text) {
        now.checked_sub(span).map_err(|_| wrong())?
    } else if let Some((seconds, fraction)) = unix(text) {
        Timestamp::new(seconds, fraction).map_err(|_| wrong())?
    } else {
        let time: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
        jiff::tz::TimeZone::UTC
            .to_timestamp(time)
            .map_err(|_| wrong())?
    };
    Ok(format!("{time:.9}"))
}

/// Seconds and nanoseconds since 1970.
fn unix(text: &str) -> Option<(i64, i32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((
        seconds.parse().ok()?,
        format!("{fraction:0<9}").parse().ok()?,
    ))
}

/// `1h30m`, `90s`, `1.5h`, `2d`: numbers with units (Go's, and days).
fn duration(text: &str) -> Option<jiff::SignedDuration> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    let sane = !text.is_empty() && total.is_finite() && total < 1e12;
    sane.then(|| jiff::SignedDuration::from_millis((total * 1000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), text, "{seconds}");
        }
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(ago("2026-01-02T03:01:05.5Z", now), "3 minutes ago");
        assert_eq!(ago("2030-01-01T00:00:00Z", now), "Less than a second ago");
        assert_eq!(ago("", now), "");
    }

    #[test]
    fn moments() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (text, want) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"),
            (
                "2026-01-02T05:04:05.5+02:00",
                "2026-01-02T03:04:05.500000000Z",
            ),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000000000Z"),
            ("2026-01-02", "2026-01-02T00:00:00.000000000Z"),
            ("10m", "2026-01-02T02:54:05.000000000Z"),
            ("1h4m", "2026-01-02T02:00:05.000000000Z"),
            ("1.5s", "2026-01-02T03:04:03.500000000Z"),
            ("1767323045", "2026-01-02T03:04:05.000000000Z"),
            ("1767323045.25", "2026-01-02T03:04:05.250000000Z"),
            ("0", "1970-01-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(moment(text, now).as_deref(), Ok(want), "{text}");
        }
        for bad in ["", "x", "10x", "1..2h", "99999999999999999999", "-5m", "m"] {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }
}
