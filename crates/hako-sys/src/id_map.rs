//! The text of `/proc/PID/uid_map` and `gid_map` (user_namespaces(7)): lines of
//! the first id inside, the first id outside, and how many there are.

/// The ranges, one a line; what is none is passed over.
fn ranges(text: &str) -> impl Iterator<Item = (u32, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some((next()?, next()?, next()?))
    })
}

/// What the id `inside` is outside; `None` when it is not mapped.
#[must_use]
pub fn outside(text: &str, inside: u32) -> Option<u32> {
    ranges(text).find_map(|(first, host, length)| {
        let offset = inside
            .checked_sub(first)
            .filter(|offset| *offset < length)?;
        host.checked_add(offset)
    })
}

/// Whether the id `inside` has a counterpart outside.
#[must_use]
pub fn is_mapped(text: &str, inside: u32) -> bool {
    outside(text, inside).is_some()
}

/// How many ids are mapped.
#[must_use]
pub fn count(text: &str) -> u64 {
    ranges(text).map(|(_, _, length)| u64::from(length)).sum()
}

/// Whether it is that of the machine's own user namespace: every id is itself.
#[must_use]
pub fn is_initial(text: &str) -> bool {
    ranges(text).eq([(0, 0, u32::MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let initial = "         0          0 4294967295\n";
        assert!(is_initial(initial));
        assert_eq!(
            (outside(initial, 1000), count(initial)),
            (Some(1000), u32::MAX.into())
        );
        let map = "0 1000 1\n1 100000 65536\n";
        let ids = [0, 1, 65_536, 65_537, u32::MAX].map(|id| outside(map, id));
        assert_eq!(ids, [Some(1000), Some(100_000), Some(165_535), None, None]);
        assert_eq!((count(map), is_initial(map)), (65_537, false));
        for junk in ["", "junk\n", "0 0\n", "0 -1 5\n"] {
            assert_eq!(
                (outside(junk, 0), count(junk), is_initial(junk)),
                (None, 0, false)
            );
        }
    }
}
