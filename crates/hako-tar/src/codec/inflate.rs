//! DEFLATE (RFC 1951), decoded into a window that the caller keeps.
//!
//! Decompression is what bounds a pull, so this is built for large streams: 11
//! bits of a literal or length and 8 of a distance are looked up at once, the
//! bits are refilled by eight bytes without a question, up to four literals go
//! out between two refills, and matches are copied by sixteen bytes. All of it
//! is checked Rust: a hostile stream can make it fail, and nothing else.

use std::io;

/// Farthest that a match reaches back, in bytes (RFC 1951, 2).
pub(super) const HISTORY: usize = 32 << 10;
/// Bytes behind the end of the input that have to be there: a refill reads eight
/// wherever it stands.
pub(super) const PAD: usize = 48;
/// Bytes that may be taken and not yet used: they lie before `at`, and are needed
/// there.
pub(super) const BITS: usize = 8;
/// Room at the end of the window that one turn may need: four literals, a match
/// of 258, and what its copy writes too much.
pub(super) const SLACK: usize = 320;
/// Bytes of input without which no block's header is begun, unless the input
/// ends: the longest has 2,286 bits.
pub(super) const HEADER: usize = 320;

const LITLEN_BITS: u32 = 11;
const DIST_BITS: u32 = 8;
const LITLEN_MAIN: usize = 1 << LITLEN_BITS;
const DIST_MAIN: usize = 1 << DIST_BITS;
/// The main table and the most that complete codes of 288 symbols (of 32) can
/// need below it; more is refused.
const LITLEN_ROOM: usize = LITLEN_MAIN + 512;
const DIST_ROOM: usize = DIST_MAIN + 256;

// An entry of a table has in its low 6 bits how many bits are used in all, in
// bits 8 to 11 how many of these are the code, and in the upper 16 the literal
// or the base.
const LITERAL: u32 = 1 << 12;
/// Not an ordinary symbol: one of the next two, or a subtable at the base, of as
/// many further bits as the low 6 say.
const SPECIAL: u32 = 1 << 13;
const END: u32 = 1 << 14;
const INVALID: u32 = 1 << 15;

/// Extra bits and base of the length codes 257 to 285 (RFC 1951, 3.2.5).
#[rustfmt::skip]
const LENGTHS: [(u32, u32); 29] = [
    (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (0, 9), (0, 10), (1, 11), (1, 13),
    (1, 15), (1, 17), (2, 19), (2, 23), (2, 27), (2, 31), (3, 35), (3, 43), (3, 51), (3, 59),
    (4, 67), (4, 83), (4, 99), (4, 115), (5, 131), (5, 163), (5, 195), (5, 227), (0, 258),
];

/// The order in which the lengths of the code of lengths come (3.2.7).
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// What a call ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More input is needed.
    More,
    /// The window is full.
    Full,
    /// The stream is at its end, and the input at the byte behind it.
    End,
}

/// Compressed bytes: `data[at..end]`, with [`PAD`] more behind `end`.
pub(super) struct Input<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
    pub(super) end: usize,
    /// Nothing comes behind `end`.
    pub(super) last: bool,
}

enum State {
    Header,
    Stored(usize),
    Symbols,
    Done,
}

/// The decoder of one stream.
pub(super) struct Inflate {
    /// Bits that were taken from the input, the next one lowest. Above the
    /// `have` lowest there may be copies of what comes next.
    bits: u64,
    have: u32,
    state: State,
    last_block: bool,
    litlen: Box<[u32; LITLEN_ROOM]>,
    dist: Box<[u32; DIST_ROOM]>,
    /// Which block's tables are there.
    fixed: bool,
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self {
            bits: 0,
            have: 0,
            state: State::Header,
            last_block: false,
            litlen: Box::new([INVALID | SPECIAL; LITLEN_ROOM]),
            dist: Box::new([INVALID | SPECIAL; DIST_ROOM]),
            fixed: false,
        }
    }

    /// Makes ready for another stream.
    pub(super) fn reset(&mut self) {
        self.state = State::Header;
        self.last_block = false;
    }

    /// Decodes from `input` to `out[*to..]`, of which the last [`SLACK`] bytes
    /// stay free; what comes before `to` down to `floor` is history.
    ///
    /// Errors: `InvalidData`, and `UnexpectedEof` when the input ends first.
    pub(super) fn run(
        &mut self,
        input: &mut Input<'_>,
        out: &mut [u8],
        to: &mut usize,
        floor: usize,
    ) -> io::Result<Step> {
        loop {
            let step = match self.state {
                State::Header => {
                    if !input.last && input.end.saturating_sub(input.at) < HEADER {
                        return Ok(Step::More);
                    }
                    self.header(input)?;
                    self.in_input(input)?;
                    continue;
                }
                State::Stored(left) => self.stored(left, input, out, to)?,
                State::Symbols => self.symbols(input, out, to, floor)?,
                State::Done => return Ok(Step::End),
            };
            self.in_input(input)?;
            if step != Step::End {
                return Ok(step);
            }
            self.state = State::Header;
            if self.last_block {
                self.give_back(input);
                self.state = State::Done;
            }
        }
    }

    /// An error if more was decoded than came.
    fn in_input(&self, input: &Input<'_>) -> io::Result<()> {
        match input.at.saturating_sub(self.have as usize / 8) > input.end {
            true => Err(truncated()),
            false => Ok(()),
        }
    }

    /// Whole bytes that were taken and not used are input again.
    fn give_back(&mut self, input: &mut Input<'_>) {
        input.at -= self.have as usize / 8;
        (self.bits, self.have) = (0, 0);
    }

    fn refill(&mut self, input: &mut Input<'_>) {
        let (bits, have, at) = refill(self.bits, self.have, input.data, input.at);
        (self.bits, self.have, input.at) = (bits, have, at);
    }

    /// The next `count` bits, of at most 16. [`PAD`] is behind the input, and the
    /// callers read no more than that before they look.
    fn take(&mut self, count: u32, input: &mut Input<'_>) -> u32 {
        if self.have < count {
            self.refill(input);
        }
        let value = (self.bits & mask(count)) as u32;
        self.bits >>= count;
        self.have = self.have.saturating_sub(count);
        value
    }

    /// A block's header (3.2.3).
    fn header(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        self.last_block = self.take(1, input) == 1;
        self.state = match self.take(2, input) {
            0 => {
                self.take(self.have % 8, input);
                self.give_back(input);
                let lengths = input.data.get(input.at..input.end);
                let Some([a, b, c, d]) = lengths.and_then(|l| l.first_chunk()) else {
                    return Err(truncated());
                };
                let length = u16::from_le_bytes([*a, *b]);
                if length != !u16::from_le_bytes([*c, *d]) {
                    return Err(invalid("the length of a stored block is wrong"));
                }
                input.at += 4;
                State::Stored(length.into())
            }
            1 => {
                self.fixed_codes()?;
                State::Symbols
            }
            2 => {
                self.dynamic_codes(input)?;
                State::Symbols
            }
            _ => return Err(invalid("a block of unknown type")),
        };
        Ok(())
    }

    /// 3.2.6.
    fn fixed_codes(&mut self) -> io::Result<()> {
        if self.fixed {
            return Ok(());
        }
        let mut lengths = [8; 288];
        lengths.iter_mut().skip(144).for_each(|l| *l = 9);
        lengths.iter_mut().skip(256).for_each(|l| *l = 7);
        lengths.iter_mut().skip(280).for_each(|l| *l = 8);
        litlen_table(&lengths, &mut self.litlen)?;
        dist_table(&[5; 32], &mut self.dist)?;
        self.fixed = true;
        Ok(())
    }

    /// 3.2.7.
    fn dynamic_codes(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        self.fixed = false;
        let litlens = self.take(5, input) as usize + 257;
        let dists = self.take(5, input) as usize + 1;
        let codes = self.take(4, input) as usize + 4;
        if litlens > 286 || dists > 30 {
            return Err(invalid("too many codes"));
        }
        let mut lengths = [0; 19];
        for place in ORDER.iter().take(codes) {
            if let Some(length) = lengths.get_mut(*place) {
                *length = self.take(3, input) as u8;
            }
        }
        let mut table = [INVALID | SPECIAL; 128];
        build(&lengths, &mut table, 7, false, |symbol| {
            (symbol as u32) << 16
        })?;
        let mut lengths = [0u8; 286 + 30];
        let mut at = 0;
        while at < litlens + dists {
            self.in_input(input)?;
            // A code of seven bits and seven extra ones.
            if self.have < 14 {
                self.refill(input);
            }
            let entry = table[(self.bits & mask(7)) as usize];
            if entry & SPECIAL != 0 {
                return Err(invalid("a code of lengths that is none"));
            }
            self.take(entry & 0x3f, input);
            let (value, count) = match entry >> 16 {
                length @ 0..16 => (length as u8, 1),
                16 => {
                    let before = at.checked_sub(1).and_then(|at| lengths.get(at));
                    let Some(before) = before.copied() else {
                        return Err(invalid("a length is repeated before there is one"));
                    };
                    (before, 3 + self.take(2, input) as usize)
                }
                17 => (0, 3 + self.take(3, input) as usize),
                _ => (0, 11 + self.take(7, input) as usize),
            };
            match lengths.get_mut(at..at + count) {
                Some(run) if at + count <= litlens + dists => run.fill(value),
                _ => return Err(invalid("too many lengths of codes")),
            }
            at += count;
        }
        let (litlen, rest) = lengths.split_at(litlens);
        if litlen.get(256) == Some(&0) {
            return Err(invalid("a block without an end"));
        }
        litlen_table(litlen, &mut self.litlen)?;
        dist_table(rest.get(..dists).unwrap_or_default(), &mut self.dist)
    }

    /// A stored block (3.2.4).
    fn stored(
        &mut self,
        left: usize,
        input: &mut Input<'_>,
        out: &mut [u8],
        to: &mut usize,
    ) -> io::Result<Step> {
        let room = out.len().saturating_sub(SLACK).saturating_sub(*to);
        let there = input.end.saturating_sub(input.at);
        let count = left.min(room).min(there);
        let from = input.data.get(input.at..input.at + count);
        let dest = out.get_mut(*to..*to + count);
        if let (Some(from), Some(dest)) = (from, dest) {
            dest.copy_from_slice(from);
        }
        input.at += count;
        *to += count;
        self.state = State::Stored(left - count);
        match left - count {
            0 => Ok(Step::End),
            _ if count == room => Ok(Step::Full),
            _ if input.last => Err(truncated()),
            _ => Ok(Step::More),
        }
    }

    /// The symbols of a compressed block, up to its end, that of the window, or
    /// nearly that of the input.
    fn symbols(
        &mut self,
        input: &mut Input<'_>,
        out: &mut [u8],
        to: &mut usize,
        floor: usize,
    ) -> io::Result<Step> {
        let data = input.data;
        // A turn takes at most 16 bytes.
        let limit = match input.last {
            true => input.end + 8,
            false => match input.end.checked_sub(16) {
                Some(limit) => limit,
                None => return Ok(Step::More),
            },
        };
        let Some(stop) = out.len().checked_sub(SLACK) else {
            return Ok(Step::Full);
        };
        let (litlen, dist) = (&*self.litlen, &*self.dist);
        let (mut bits, mut have, mut at, mut pos) = (self.bits, self.have, input.at, *to);
        macro_rules! used {
            ($entry:expr) => {
                bits >>= $entry & 0x3f;
                have -= $entry & 0x3f;
            };
        }
        macro_rules! literal {
            ($entry:expr) => {
                used!($entry);
                out[pos] = ($entry >> 16) as u8;
                pos += 1;
            };
        }
        let step = loop {
            if at > limit {
                break Ok(Step::More);
            }
            if pos > stop {
                break Ok(Step::Full);
            }
            (bits, have, at) = refill(bits, have, data, at);
            let mut entry = litlen[(bits & mask(LITLEN_BITS)) as usize];
            if entry & LITERAL != 0 {
                literal!(entry);
                entry = litlen[(bits & mask(LITLEN_BITS)) as usize];
                if entry & LITERAL != 0 {
                    literal!(entry);
                    entry = litlen[(bits & mask(LITLEN_BITS)) as usize];
                    if entry & LITERAL != 0 {
                        literal!(entry);
                        entry = litlen[(bits & mask(LITLEN_BITS)) as usize];
                        if entry & LITERAL != 0 {
                            literal!(entry);
                            continue;
                        }
                    }
                }
                (bits, have, at) = refill(bits, have, data, at);
            }
            if entry & SPECIAL != 0 {
                if entry & INVALID != 0 {
                    break Err(invalid("a literal's code that is none"));
                }
                if entry & END == 0 {
                    bits >>= LITLEN_BITS;
                    have -= LITLEN_BITS;
                    let place = (entry >> 16) as usize + (bits & mask(entry & 0x3f)) as usize;
                    entry = litlen.get(place).copied().unwrap_or(SPECIAL | INVALID);
                }
                if entry & LITERAL != 0 {
                    literal!(entry);
                    continue;
                }
                if entry & END != 0 {
                    used!(entry);
                    break Ok(Step::End);
                }
                if entry & SPECIAL != 0 {
                    break Err(invalid("a literal's code that is none"));
                }
            }
            let length = (entry >> 16) as usize + extra(bits, entry);
            used!(entry);
            let mut entry = dist[(bits & mask(DIST_BITS)) as usize];
            if entry & SPECIAL != 0 {
                if entry & INVALID == 0 {
                    bits >>= DIST_BITS;
                    have -= DIST_BITS;
                    let place = (entry >> 16) as usize + (bits & mask(entry & 0x3f)) as usize;
                    entry = dist.get(place).copied().unwrap_or(SPECIAL | INVALID);
                }
                if entry & SPECIAL != 0 {
                    break Err(invalid("a distance's code that is none"));
                }
            }
            let distance = (entry >> 16) as usize + extra(bits, entry);
            used!(entry);
            if distance > pos - floor {
                break Err(invalid("a distance before the beginning"));
            }
            copy(out, pos, distance, length);
            pos += length;
        };
        (self.bits, self.have, input.at, *to) = (bits, have, at, pos);
        match step {
            // Behind the end of the input there is nothing.
            Ok(Step::More) if input.last => Err(truncated()),
            step => step,
        }
    }
}

/// Repeats `length` bytes from `distance` before `pos`; may write 15 too many.
#[inline(always)]
fn copy(out: &mut [u8], pos: usize, distance: usize, length: usize) {
    let from = pos - distance;
    if distance >= 16 {
        chunks::<16>(out, from, pos, length);
    } else if distance == 1 {
        let byte = out[from];
        out[pos..pos + length].fill(byte);
    } else if distance >= 8 {
        chunks::<8>(out, from, pos, length);
    } else {
        let mut done = 0;
        while done < length {
            out[pos + done] = out[from + done];
            done += 1;
        }
    }
}

/// Copies `N` bytes at once; the distance is no smaller.
#[inline(always)]
fn chunks<const N: usize>(out: &mut [u8], from: usize, to: usize, length: usize) {
    let (mut from, mut to) = (from, to);
    let end = to + length;
    while to < end {
        let chunk: [u8; N] = *out[from..].first_chunk().unwrap_or(&[0; N]);
        if let Some(place) = out[to..].first_chunk_mut() {
            *place = chunk;
        }
        (from, to) = (from + N, to + N);
    }
}

/// Takes as many bytes as there is room for bits, at least 56 of them.
#[inline(always)]
fn refill(bits: u64, have: u32, data: &[u8], at: usize) -> (u64, u32, usize) {
    let next = match data.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(next) => u64::from_le_bytes(*next),
        None => 0,
    };
    let taken = (63 - (have & 63)) / 8;
    (bits | (next << (have & 63)), have | 56, at + taken as usize)
}

#[inline(always)]
const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// The extra bits behind the code of `entry`, with which `bits` begin.
#[inline(always)]
fn extra(bits: u64, entry: u32) -> usize {
    ((bits & mask(entry & 0x3f)) >> ((entry >> 8) & 0xf)) as usize
}

fn litlen_table(lengths: &[u8], table: &mut [u32; LITLEN_ROOM]) -> io::Result<()> {
    build(lengths, table, LITLEN_BITS, true, |symbol| match symbol {
        0..256 => LITERAL | (symbol as u32) << 16,
        256 => SPECIAL | END,
        _ => match LENGTHS.get(symbol - 257) {
            Some((extra, base)) => base << 16 | extra,
            None => SPECIAL | INVALID,
        },
    })
}

fn dist_table(lengths: &[u8], table: &mut [u32; DIST_ROOM]) -> io::Result<()> {
    build(lengths, table, DIST_BITS, true, |symbol| match symbol {
        0..4 => (symbol as u32 + 1) << 16,
        4..30 => {
            let extra = symbol as u32 / 2 - 1;
            (1 + ((2 + symbol as u32 % 2) << extra)) << 16 | extra
        }
        _ => SPECIAL | INVALID,
    })
}

/// Fills `table` for the canonical code with these lengths (3.2.2): a main table
/// of `main` bits, behind it subtables for the longer codes. `entry` gives a
/// symbol's base, marks and number of extra bits. As with zlib a code has to be
/// complete, but one that `may_be_single` can be of one bit or of none.
fn build(
    lengths: &[u8],
    table: &mut [u32],
    main: u32,
    may_be_single: bool,
    entry: impl Fn(usize) -> u32,
) -> io::Result<()> {
    let mut counts = [0usize; 16];
    for length in lengths {
        counts[usize::from(*length & 15)] += 1;
    }
    counts[0] = 0;
    // Where the symbols of a length begin, sorted; and how much is left of the
    // code, in units of the longest.
    let mut starts = [0usize; 17];
    let mut left = 1i32;
    for length in 1..16 {
        starts[length + 1] = starts[length] + counts[length];
        left = 2 * left - counts[length] as i32;
        if left < 0 {
            return Err(invalid("a code with more symbols than there is room for"));
        }
    }
    let used = starts[16];
    let single = used == 0 || used == 1 && counts[1] == 1;
    if left > 0 && !(single && may_be_single) {
        return Err(invalid("an incomplete code"));
    }
    let mut sorted = [0u16; 288];
    let mut next = starts;
    for (symbol, length) in lengths.iter().enumerate() {
        if *length > 0 {
            let place = &mut next[usize::from(*length & 15)];
            if let Some(slot) = sorted.get_mut(*place) {
                *slot = symbol as u16;
            }
            *place += 1;
        }
    }
    let size = 1usize << main;
    if left > 0 {
        table.fill(SPECIAL | INVALID);
    }
    let mut free = size;
    // The code's value, its first bit highest.
    let mut code = 0u32;
    let mut at = 0;
    // The subtable that is being filled: its prefix, place and bits.
    let mut open: Option<(u32, usize, u32)> = None;
    for length in 1..16u32 {
        code <<= 1;
        for turn in 0..counts[length as usize] {
            let symbol = usize::from(sorted.get(at).copied().unwrap_or_default());
            at += 1;
            let value = entry(symbol);
            let extra = value & 0x3f;
            let reversed = code.reverse_bits() >> (32 - length);
            if length <= main {
                let value = value + length + (length << 8);
                let places = table.get_mut(..size).unwrap_or_default();
                for slot in places
                    .iter_mut()
                    .skip(reversed as usize)
                    .step_by(1 << length)
                {
                    *slot = value;
                }
            } else {
                let prefix = reversed & mask(main) as u32;
                let (place, bits) = match open {
                    Some((same, place, bits)) if same == prefix => (place, bits),
                    _ => {
                        let bits = subtable_bits(&counts, length, turn, main);
                        let place = free;
                        free += 1 << bits;
                        if free > table.len() {
                            return Err(invalid("a code with too many long symbols"));
                        }
                        table[prefix as usize] = SPECIAL | (place as u32) << 16 | bits;
                        open = Some((prefix, place, bits));
                        (place, bits)
                    }
                };
                let own = length - main;
                let value = (value & !0x3f) + own + extra + (own << 8);
                let places = table
                    .get_mut(place..place + (1 << bits))
                    .unwrap_or_default();
                let first = (reversed >> main) as usize;
                every(places, first, 1 << own, value);
            }
            code += 1;
        }
    }
    Ok(())
}

/// Writes `value` to every slot at a distance of `step` from `first` on.
fn every(slots: &mut [u32], first: usize, step: usize, value: u32) {
    let mut at = first;
    while let Some(slot) = slots.get_mut(at) {
        *slot = value;
        at += step;
    }
}

/// How many bits the subtable has whose first code is the one of `length` with
/// `turn` of that length before it: those of the longest code with its prefix.
fn subtable_bits(counts: &[usize; 16], length: u32, turn: usize, main: u32) -> u32 {
    let mut bits = length - main;
    let mut room = 1i32 << bits;
    let mut there = counts[length as usize] - turn;
    loop {
        room -= there as i32;
        if room <= 0 || main + bits >= 15 {
            return bits;
        }
        bits += 1;
        room <<= 1;
        there = counts[(main + bits) as usize];
    }
}

fn invalid(text: &'static str) -> io::Error {
    let text = format!("the compressed data is damaged: {text}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn truncated() -> io::Error {
    let text = "the gzip stream is truncated";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
