//! When and how soon a request is sent again.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// What an answer says about trying again.
pub(super) enum Asked {
    No,
    /// Yes, after this long if the server named a time.
    Yes(Option<Duration>),
}

pub(super) fn asked(status: StatusCode, headers: &HeaderMap) -> Asked {
    match status.as_u16() {
        408 | 429 | 500 | 502 | 503 | 504 => {
            let after = headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok());
            Asked::Yes(after.and_then(|value| parse_retry_after(value, now())))
        }
        _ => Asked::No,
    }
}

/// A growing pause with jitter: between half and all of `first * 2^(attempt-1)`,
/// never above ten seconds.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    let factor = 1u32 << attempt.saturating_sub(1).min(10);
    let full = first.saturating_mul(factor).min(Duration::from_secs(10));
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let half = full / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3). `now` is in
/// seconds since 1970. A date in the past is zero.
pub fn parse_retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()?;
    let wait = date.as_second().saturating_sub(now);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_forms() {
        assert_eq!(parse_retry_after("7", 0), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(
            parse_retry_after(date, 784_111_770),
            Some(Duration::from_secs(7))
        );
        assert_eq!(parse_retry_after(date, 784_111_999), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(parse_retry_after(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let first = Duration::from_millis(100);
        assert!(pause(first, 1) >= first / 2 && pause(first, 1) <= first);
        assert!(pause(first, 3) >= first * 2);
        assert!(pause(first, 1000) <= Duration::from_secs(10));
    }
}
