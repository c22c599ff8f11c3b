//! From the units of version 1, in which the runtime-spec is written, to those
//! of version 2. Pure functions; the formulas are the ones that the other
//! runtimes agreed on, so that one bundle gives one result everywhere.

use crate::error::{Error, Result};

/// `cpu.shares` (2 to 262144, default 1024) to `cpu.weight` (1 to 10000,
/// default 100): the quadratic curve in log scale through (2, 1), (1024, 100)
/// and (262144, 10000). 0 stays 0, for "not set".
#[must_use]
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // 10^0 to 10^4 by construction of the branch above.
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// `blkio.weight` (10 to 1000) to `io.weight` (1 to 10000), linearly.
/// 0 stays 0, for "not set".
#[must_use]
pub fn io_weight(weight: u16) -> u64 {
    if weight == 0 {
        return 0;
    }
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

/// The limit of memory and swap together (`memory.swap` of the spec) to that
/// of swap alone (`memory.swap.max`). `None`: leave it as it is; -1: no limit.
pub fn swap_max(memory_and_swap: i64, memory: i64) -> Result<Option<i64>> {
    match (memory_and_swap, memory) {
        // No limit on memory and nothing said about swap: none on swap either.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (both, _) if both < -1 => Err(Error::invalid("memory.swap", "must not be below -1")),
        // Unlimited memory: the value can only mean swap.
        (both, -1) => Ok(Some(both)),
        (_, 0) => Err(Error::invalid(
            "memory.swap",
            "needs memory.limit, from which cgroup v2 counts it separately",
        )),
        (both, memory) if memory < 0 || both < memory => Err(Error::invalid(
            "memory.swap",
            "is the limit of memory and swap together and must not be below memory.limit",
        )),
        (both, memory) => Ok(Some(both - memory)),
    }
}

/// A limit where -1 means none: `max` in version 2.
#[must_use]
pub fn or_max(limit: i64) -> String {
    if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_at_the_known_points() {
        for (shares, weight) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        for (blkio, io) in [(0, 0), (1, 1), (10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(blkio), io, "{blkio}");
        }
    }

    #[test]
    fn swap_is_what_memory_leaves() {
        assert_eq!(swap_max(0, 0).unwrap(), None);
        assert_eq!(swap_max(0, 100).unwrap(), None);
        assert_eq!(swap_max(0, -1).unwrap(), Some(-1));
        assert_eq!(swap_max(-1, 100).unwrap(), Some(-1));
        assert_eq!(swap_max(300, 100).unwrap(), Some(200));
        assert_eq!(swap_max(100, 100).unwrap(), Some(0));
        assert_eq!(swap_max(300, -1).unwrap(), Some(300));
        for (both, memory) in [(300, 0), (50, 100), (-2, 100), (50, -7)] {
            assert!(swap_max(both, memory).is_err(), "{both} {memory}");
        }
    }

    proptest! {
        #[test]
        fn weight_is_monotonic_and_in_range(a in 2u64..300_000, b in 2u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(cpu_weight(low) <= cpu_weight(high));
            prop_assert!((1..=10_000).contains(&cpu_weight(a)));
        }

        #[test]
        fn swap_never_overflows(a in any::<i64>(), b in any::<i64>()) {
            let _ = swap_max(a, b);
        }
    }
}
