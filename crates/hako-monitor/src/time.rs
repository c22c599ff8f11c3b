//! Wall-clock moments as RFC 3339 with nanoseconds in UTC, as container logs
//! and `exit.json` have them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(Duration);

impl Stamp {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }

    /// A moment given in seconds and nanoseconds since 1970.
    #[must_use]
    pub fn from_unix(seconds: u64, nanoseconds: u32) -> Self {
        Self(Duration::new(seconds, nanoseconds.min(999_999_999)))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = date(seconds / 86_400);
        let second = seconds % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
            self.0.subsec_nanos()
        )
    }
}

/// The Gregorian date of a day counted from 1970-01-01. The year is taken to
/// begin in March, so that the day that leap years add comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (951_868_799, 0, "2000-02-29T23:59:59.000000000Z"),
            (1_709_164_800, 5, "2024-02-29T00:00:00.000000005Z"),
            (1_735_689_599, 999_999_999, "2024-12-31T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Stamp::from_unix(seconds, nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn agrees_with_date() {
        let output = std::process::Command::new("date")
            .args(["-u", "+%s %Y-%m-%dT%H:%M:%S"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (seconds, date) = text.trim().split_once(' ').unwrap();
        let ours = Stamp::from_unix(seconds.parse().unwrap(), 0).to_string();
        assert_eq!(ours, format!("{date}.000000000Z"));
    }
}
