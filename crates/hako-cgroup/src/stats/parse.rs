//! The formats of the statistics files. Pure; what makes no sense is passed
//! over, since a newer kernel may say more than this code knows.

use super::{BlkioEntry, Pressure, PressureTimes};

/// More cpus or nodes than any machine has.
const MAX_SET: usize = 65_536;

/// `key number` lines.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// A list such as `0-3,7` (cpuset(7), "List format").
#[must_use]
pub fn set(text: &str) -> Vec<u16> {
    let mut members = Vec::new();
    for part in text.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else {
            continue;
        };
        for member in from..=to {
            if members.len() >= MAX_SET {
                return members;
            }
            members.push(member);
        }
    }
    members
}

/// Version 1's tables: `8:0 Read 1282048`, `8:0 12`, and a `Total` line.
#[must_use]
pub fn blkio_table(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (major, minor) = fields.next()?.split_once(':')?;
            let (second, third) = (fields.next()?, fields.next());
            let (op, value) = match third {
                Some(value) => (second, value),
                None => ("", second),
            };
            Some(BlkioEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: op.to_owned(),
                value: value.parse().ok()?,
            })
        })
        .collect()
}

/// Version 2's `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`; the value
/// of each key by device.
pub fn io_stat(text: &str) -> impl Iterator<Item = (u64, u64, &str, u64)> {
    text.lines().flat_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next().and_then(|d| {
            let (major, minor) = d.split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        fields.filter_map(move |field| {
            let (major, minor): (u64, u64) = device?;
            let (key, value) = field.split_once('=')?;
            Some((major, minor, key, value.parse().ok()?))
        })
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full`.
#[must_use]
pub fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let times = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *times = PressureTimes::default();
        for (key, value) in fields.filter_map(|f| f.split_once('=')) {
            let share = || value.parse().ok().filter(|v: &f64| v.is_finite());
            match key {
                "avg10" => times.avg10 = share().unwrap_or_default(),
                "avg60" => times.avg60 = share().unwrap_or_default(),
                "avg300" => times.avg300 = share().unwrap_or_default(),
                "total" => times.total = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formats() {
        assert_eq!(
            pairs("a 1\nb\nc x\nd 2 \n").collect::<Vec<_>>(),
            [("a", 1), ("d", 2)]
        );
        assert_eq!(set("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(set("\n"), [] as [u16; 0]);
        assert_eq!(set("3-1,x,0-65535").len(), 65_536);
        let table = blkio_table("8:0 Read 5\n8:0 Total 5\n8:16 9\nTotal 14\njunk\n");
        assert_eq!(table.len(), 3);
        assert_eq!((table[0].op.as_str(), table[0].value), ("Read", 5));
        assert_eq!((table[2].minor, table[2].op.as_str()), (16, ""));
        let io: Vec<_> = io_stat("254:0 rbytes=1 wios=4 dbytes=x\n7:1\n").collect();
        assert_eq!(io, [(254, 0, "rbytes", 1), (254, 0, "wios", 4)]);
        let psi =
            pressure("some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.25 total=3\n");
        assert_eq!((psi.some.avg10, psi.some.total), (1.5, 77));
        assert_eq!((psi.full.avg10, psi.full.total), (0.25, 3));
    }

    proptest! {
        #[test]
        fn any_text(text in "[a-z0-9:,= .\n-]{0,200}") {
            let _ = (pairs(&text).count(), set(&text).len(), blkio_table(&text), pressure(&text));
            let _ = io_stat(&text).count();
        }
    }
}
