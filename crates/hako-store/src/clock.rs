//! Wall-clock times, which are for display and for ages in days.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; 0 when the clock stands before that.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .unwrap_or(0)
}
