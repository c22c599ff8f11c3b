//! System call names and numbers.
//!
//! The text beside this file is the kernel's `syscall.tbl` files put side by
//! side. It is parsed while compiling, so that the program carries one string
//! of names and one array of numbers (13 KB for all architectures) and needs
//! neither relocations nor a hash map at run time.

use std::cmp::Ordering;

use crate::abi::Abi;

const TEXT: &[u8] = include_bytes!("syscalls.txt");
const COLUMNS: usize = 7;
const ABSENT: u16 = u16::MAX;
/// Numbers from here on stand for ARM's private calls (0xf0000 and up), which
/// do not fit in sixteen bits.
const PRIVATE: u16 = 0xf000;

const SIZES: (usize, usize) = sizes();
const COUNT: usize = SIZES.0;
const NAME_BYTES: usize = SIZES.1;

static TABLE: Table = parse();

struct Table {
    names: [u8; NAME_BYTES],
    /// Where each name begins in `names`; the last entry is the end.
    starts: [u16; COUNT + 1],
    numbers: [[u16; COLUMNS]; COUNT],
}

/// A line of the table: one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(u16);

/// Finds a name; `None` is a name that no architecture of the table knows.
///
/// Profiles list names in order, mostly: the name is first looked for right
/// behind the one found before.
pub(crate) fn find_after(before: Option<Row>, name: &str) -> Option<Row> {
    let name = name.as_bytes();
    let (mut low, mut high) = (0_usize, COUNT);
    let hint = before.map_or(0, |row| usize::from(row.0) + 1);
    for row in hint..(hint + 3).min(COUNT) {
        match name_at(row).cmp(name) {
            Ordering::Less => low = row + 1,
            Ordering::Greater => {
                high = row;
                break;
            }
            Ordering::Equal => return u16::try_from(row).ok().map(Row),
        }
    }
    while low < high {
        let middle = low.midpoint(high);
        match name_at(middle).cmp(name) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return u16::try_from(middle).ok().map(Row),
        }
    }
    None
}

fn name_at(row: usize) -> &'static [u8] {
    let from = TABLE.starts.get(row).copied().unwrap_or(0);
    let to = TABLE.starts.get(row + 1).copied().unwrap_or(from);
    TABLE
        .names
        .get(usize::from(from)..usize::from(to))
        .unwrap_or_default()
}

impl Row {
    /// The number that a call has on an architecture; x32 numbers carry the
    /// x32 bit.
    pub(crate) fn number(self, abi: Abi) -> Option<u32> {
        let raw = *TABLE.numbers.get(usize::from(self.0))?.get(column(abi))?;
        match (abi, raw) {
            (_, ABSENT) => None,
            (Abi::X32, _) => Some(u32::from(raw) | crate::abi::X32_BIT),
            (Abi::Arm, PRIVATE..) => Some(0xf0000 | u32::from(raw & 0x0fff)),
            _ => Some(u32::from(raw)),
        }
    }
}

const fn column(abi: Abi) -> usize {
    match abi {
        Abi::X86_64 => 0,
        Abi::X32 => 1,
        Abi::X86 => 2,
        Abi::Aarch64 => 3,
        Abi::Arm => 4,
        Abi::Riscv64 => 5,
        Abi::Loongarch64 => 6,
    }
}

/// Finds a name while compiling; an unknown name does not compile.
#[allow(clippy::panic)]
pub(crate) const fn row(name: &str) -> Row {
    let wanted = name.as_bytes();
    let mut at = 0;
    while at < COUNT {
        let from = TABLE_AT_COMPILE_TIME.starts[at] as usize;
        let length = TABLE_AT_COMPILE_TIME.starts[at + 1] as usize - from;
        let mut same = 0;
        while same < length
            && same < wanted.len()
            && TABLE_AT_COMPILE_TIME.names[from + same] == wanted[same]
        {
            same += 1;
        }
        if same == length && same == wanted.len() {
            return Row(at as u16);
        }
        at += 1;
    }
    panic!("no such system call")
}

const TABLE_AT_COMPILE_TIME: Table = parse();

const fn sizes() -> (usize, usize) {
    let (mut lines, mut bytes, mut at) = (0, 0, 0);
    while at < TEXT.len() {
        if TEXT[at] == b'#' {
            at = line_end(at) + 1;
            continue;
        }
        while TEXT[at] != b' ' {
            bytes += 1;
            at += 1;
        }
        lines += 1;
        at = line_end(at) + 1;
    }
    (lines, bytes)
}

const fn line_end(mut at: usize) -> usize {
    while TEXT[at] != b'\n' {
        at += 1;
    }
    at
}

/// Everything here runs in the compiler: a malformed table does not compile.
#[allow(clippy::panic)]
const fn parse() -> Table {
    let mut table = Table {
        names: [0; NAME_BYTES],
        starts: [0; COUNT + 1],
        numbers: [[ABSENT; COLUMNS]; COUNT],
    };
    let (mut row, mut written, mut at) = (0, 0, 0);
    while at < TEXT.len() {
        if TEXT[at] == b'#' {
            at = line_end(at) + 1;
            continue;
        }
        table.starts[row] = written as u16;
        while TEXT[at] != b' ' {
            table.names[written] = TEXT[at];
            written += 1;
            at += 1;
        }
        let mut column = 0;
        while TEXT[at] != b'\n' {
            at += 1;
            let mut number: u32 = 0;
            if TEXT[at] == b'-' {
                number = ABSENT as u32;
                at += 1;
            } else {
                while TEXT[at].is_ascii_digit() {
                    number = number * 10 + (TEXT[at] - b'0') as u32;
                    at += 1;
                }
                if number >= 0xf0000 {
                    number = PRIVATE as u32 | (number & 0x0fff);
                } else if number >= PRIVATE as u32 {
                    panic!("a number is too large for the table");
                }
            }
            table.numbers[row][column] = number as u16;
            column += 1;
        }
        if column != COLUMNS {
            panic!("a line has too few columns");
        }
        row += 1;
        at += 1;
    }
    table.starts[row] = written as u16;
    table
}

#[cfg(test)]
pub(crate) fn find(name: &str) -> Option<Row> {
    find_after(None, name)
}

#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, Row)> {
    (0..COUNT).map(|row| (std::str::from_utf8(name_at(row)).unwrap(), Row(row as u16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        let names: Vec<&str> = all().map(|(name, _)| name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        for (name, row) in all() {
            for before in [0, 1, row.0.saturating_sub(2), row.0, COUNT as u16 - 1] {
                assert_eq!(find_after(Some(Row(before)), name), Some(row));
            }
            assert_eq!(find(name), Some(row));
        }
        assert!(names.len() > 500);
    }

    #[test]
    fn strangers_are_not_found() {
        for name in ["", "aaa", "zzz", "open_", "ope", "OPEN", "read\0"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn known_numbers() {
        let number = |name, abi| find(name).unwrap().number(abi);
        assert_eq!(number("read", Abi::X86_64), Some(0));
        assert_eq!(number("read", Abi::X86), Some(3));
        assert_eq!(number("readv", Abi::X32), Some(0x4000_0000 + 515));
        assert_eq!(number("openat", Abi::Aarch64), Some(56));
        assert_eq!(number("open", Abi::Aarch64), None);
        assert_eq!(number("set_tls", Abi::Arm), Some(0xf0005));
        assert_eq!(number("riscv_flush_icache", Abi::Riscv64), Some(259));
        assert_eq!(number("futex_waitv", Abi::Loongarch64), Some(449));
        const CLONE: Row = row("clone");
        assert_eq!(Some(CLONE), find("clone"));
    }

    /// The kernel's own headers, as linux-libc-dev installs them.
    #[test]
    fn numbers_equal_the_kernel_headers() {
        for (file, abi) in [
            ("unistd_64.h", Abi::X86_64),
            ("unistd_x32.h", Abi::X32),
            ("unistd_32.h", Abi::X86),
        ] {
            let path = format!("/usr/include/x86_64-linux-gnu/asm/{file}");
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|e| panic!("{path}: {e} (package linux-libc-dev)"));
            let mut seen = 0;
            for line in text.lines() {
                let Some(rest) = line.strip_prefix("#define __NR_") else {
                    continue;
                };
                let (name, value) = rest.split_once(' ').unwrap();
                let value: u32 = match value.trim().strip_prefix("(__X32_SYSCALL_BIT + ") {
                    Some(low) => {
                        crate::abi::X32_BIT + low.trim_end_matches(')').parse::<u32>().unwrap()
                    }
                    None => value.trim().parse().unwrap(),
                };
                let row = find(name).unwrap_or_else(|| panic!("{name} is missing"));
                assert_eq!(row.number(abi), Some(value), "{name} on {abi:?}");
                seen += 1;
            }
            assert!(seen > 300, "{path}");
        }
    }
}
