//! The time of day as RFC 3339 writes it, without a library: a runtime needs
//! one format in one zone.

use rustix::time::{ClockId, clock_gettime};

/// Now, in UTC, with nanoseconds: `2026-01-02T03:04:05.000000006Z`.
pub fn now() -> String {
    let t = clock_gettime(ClockId::Realtime);
    format(t.tv_sec, t.tv_nsec as u32)
}

fn format(seconds: i64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, so that leap days end a year (Gregorian calendar,
    // eras of 400 years).
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (d, m) = (
        of_year - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let y = year + era * 400 + i64::from(m <= 2);
    let (h, min, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn known_moments() {
        assert_eq!(format(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format(951_782_400, 7), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(format(1_798_761_599, 0), "2026-12-31T23:59:59.000000000Z");
        assert_eq!(format(-1, 0), "1969-12-31T23:59:59.000000000Z");
    }
}
