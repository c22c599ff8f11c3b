//! Files whose data is not one run of whole blocks in the tar: sparse files,
//! and files that come from lower layers.
//!
//! The format maps a file chunk by chunk, of a size that each file can choose,
//! and a chunk is either a hole or one run of blocks. Where the data does not
//! lie so already, it is copied behind the tar (the spill).

use crate::Error;
use crate::format::{BLOCK, BLOCK_BITS, CHUNK_INDEX, HOLE, MAX_CHUNK_BITS};

/// Most blocks of data: the last number means a hole.
pub(crate) const MAX_BLOCKS: u64 = HOLE as u64;

/// How many bytes of holes in the copies are as bad as one byte of an index:
/// they take no room, but there are only so many blocks' numbers.
const HOLES: u64 = 4096;

/// Most chunks of a file.
const MAX_CHUNKS: u64 = 1 << 24;

/// Where a piece of data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In this layer's data, at this offset.
    Own(u64),
    /// In a lower layer's, by its number, at this offset.
    Lower(u32, u64),
}

impl Source {
    /// `by` bytes further on.
    pub(crate) fn skip(self, by: u64) -> Self {
        match self {
            Self::Own(at) => Self::Own(at + by),
            Self::Lower(layer, at) => Self::Lower(layer, at + by),
        }
    }
}

/// A run of data of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where in the file, in bytes.
    pub(crate) at: u64,
    /// How many bytes, never 0.
    pub(crate) len: u64,
    pub(crate) source: Source,
}

/// Adds a piece behind the others, joined to the last if it goes on there.
pub(crate) fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last)
            if last.at + last.len == piece.at && last.source.skip(last.len) == piece.source =>
        {
            last.len += piece.len;
        }
        _ => pieces.push(piece),
    }
}

/// Chunks that follow each other in the file, and in the data or in a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many.
    pub(crate) chunks: u64,
    /// The first block of the first, or [`HOLE`].
    pub(crate) block: u32,
}

/// How a file is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// Logarithm of the chunks' size in bytes.
    pub(crate) bits: u32,
    pub(crate) runs: Vec<Run>,
}

/// Bytes that have to be copied to the data's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: Source,
    pub(crate) len: u64,
    /// Offset in this layer's data.
    pub(crate) to: u64,
}

/// How many chunks of `1 << bits` bytes a file has.
pub(crate) fn chunks(size: u64, bits: u32) -> u64 {
    size.div_ceil(1 << bits)
}

/// The size of chunks for a file that is one run: a single one, if possible.
pub(crate) fn bits_of_run(size: u64) -> u32 {
    let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
    bits.clamp(BLOCK_BITS, MAX_CHUNK_BITS)
}

/// Maps a file of `size` bytes with these pieces. `end` is the number of blocks
/// of data so far; it grows by what is copied.
pub(crate) fn map(
    pieces: &[Piece],
    size: u64,
    end: &mut u64,
    copies: &mut Vec<Copy>,
) -> Result<Map, Error> {
    let free = MAX_BLOCKS.saturating_sub(*end).saturating_mul(BLOCK);
    let best = (BLOCK_BITS..=MAX_CHUNK_BITS)
        .filter(|bits| chunks(size, *bits) <= MAX_CHUNKS)
        .filter_map(|bits| {
            let (moved, taken) = price(pieces, size, bits);
            let index = chunks(size, bits) * CHUNK_INDEX;
            (taken <= free).then_some((index + moved + taken / HOLES, bits))
        })
        .min();
    let Some((_, bits)) = best else {
        let what = "a sparse file";
        return Err(Error::TooLarge { what });
    };
    let mut runs = Vec::new();
    let mut known = 0;
    for mixed in walk(pieces, size, bits) {
        let Span { first, count, kind } = mixed;
        add(&mut runs, first - known, HOLE, bits);
        known = first + count;
        match kind {
            Kind::Clean(offset) => add(&mut runs, count, (offset / BLOCK) as u32, bits),
            Kind::Mixed(pieces) => {
                add(&mut runs, count, *end as u32, bits);
                let start = first << bits;
                let stop = ((first + count) << bits).min(size);
                for piece in pieces {
                    let from = piece.at.max(start);
                    let len = (piece.at + piece.len).min(stop).saturating_sub(from);
                    copies.push(Copy {
                        from: piece.source.skip(from - piece.at),
                        len,
                        to: *end * BLOCK + (from - start),
                    });
                }
                *end += (stop - start).div_ceil(BLOCK);
            }
        }
    }
    add(&mut runs, chunks(size, bits) - known, HOLE, bits);
    Ok(Map { bits, runs })
}

fn add(runs: &mut Vec<Run>, chunks: u64, block: u32, bits: u32) {
    if chunks == 0 {
        return;
    }
    if let Some(last) = runs.last_mut() {
        let next = u64::from(last.block) + (last.chunks << (bits - BLOCK_BITS));
        let follows = match (last.block, block) {
            (HOLE, HOLE) => true,
            (HOLE, _) | (_, HOLE) => false,
            _ => next == u64::from(block),
        };
        if follows {
            last.chunks += chunks;
            return;
        }
    }
    runs.push(Run { chunks, block });
}

/// Bytes that are copied with chunks of this size, and bytes of the data that
/// these copies take, their holes included.
fn price(pieces: &[Piece], size: u64, bits: u32) -> (u64, u64) {
    let (mut moved, mut taken) = (0u64, 0u64);
    for span in walk(pieces, size, bits) {
        if let Kind::Mixed(pieces) = span.kind {
            let start = span.first << bits;
            let stop = ((span.first + span.count) << bits).min(size);
            taken = taken.saturating_add((stop - start).next_multiple_of(BLOCK));
            for piece in pieces {
                let end = (piece.at + piece.len).min(stop);
                moved = moved.saturating_add(end - piece.at.max(start));
            }
        }
    }
    (moved, taken)
}

/// Chunks in a row that are not a hole.
struct Span<'a> {
    first: u64,
    count: u64,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// They lie in the data as they are, from this offset.
    Clean(u64),
    /// They have to be put together of these pieces.
    Mixed(&'a [Piece]),
}

/// The spans of a file, in order.
fn walk(pieces: &[Piece], size: u64, bits: u32) -> impl Iterator<Item = Span<'_>> {
    let last = move |piece: &Piece| (piece.at + piece.len - 1) >> bits;
    // The first piece that is not dealt with, and the first chunk.
    let (mut at, mut next) = (0, 0);
    std::iter::from_fn(move || {
        let piece = loop {
            let piece = pieces.get(at)?;
            if last(piece) >= next {
                break piece;
            }
            at += 1;
        };
        let first = (piece.at >> bits).max(next);
        if let Some((offset, count)) = clean(piece, first, size, bits) {
            next = first + count;
            let kind = Kind::Clean(offset);
            return Some(Span { first, count, kind });
        }
        // Data of lower layers is copied in one go, other chunks one by one.
        let count = match piece.source {
            Source::Lower(..) => last(piece) + 1 - first,
            Source::Own(_) => 1,
        };
        next = first + count;
        let there = pieces.get(at..).unwrap_or_default();
        let inside = there.partition_point(|piece| piece.at >> bits < next);
        let kind = Kind::Mixed(there.get(..inside).unwrap_or_default());
        Some(Span { first, count, kind })
    })
}

/// The chunks from `first` on that this piece alone fills and that lie in whole
/// blocks of our own data, with their offset.
fn clean(piece: &Piece, first: u64, size: u64, bits: u32) -> Option<(u64, u64)> {
    let Source::Own(source) = piece.source else {
        return None;
    };
    let start = first << bits;
    let end = piece.at + piece.len;
    let offset = source + start.checked_sub(piece.at)?;
    let count = if end == size {
        chunks(size, bits)
    } else {
        end >> bits
    }
    .checked_sub(first)?;
    (count > 0 && offset.is_multiple_of(BLOCK)).then_some((offset, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own(at: u64, len: u64, from: u64) -> Piece {
        Piece {
            at,
            len,
            source: Source::Own(from),
        }
    }

    #[test]
    fn a_run_is_one_chunk() {
        for (size, bits) in [(1, 9), (512, 9), (513, 10), (1 << 20, 20), (1 << 43, 40)] {
            assert_eq!(bits_of_run(size), bits, "{size}");
        }
        let (mut end, mut copies) = (100, Vec::new());
        let map = map(&[own(0, 5000, 1024)], 5000, &mut end, &mut copies).unwrap();
        assert_eq!((map.runs.len(), chunks(5000, map.bits)), (1, 1));
        assert_eq!((end, copies.len()), (100, 0));
    }

    #[test]
    fn few_large_chunks_rather_than_many_small_ones() {
        let size = 5 << 30;
        let pieces = [own(4096, 4096, 512), own(3 << 30, 100_000, 4608)];
        let (mut end, mut copies) = (1000, Vec::new());
        let map = map(&pieces, size, &mut end, &mut copies).unwrap();
        let index = chunks(size, map.bits) * CHUNK_INDEX;
        let moved: u64 = copies.iter().map(|copy| copy.len).sum();
        assert!(index + moved < 120_000, "{index} {moved}");
    }

    #[test]
    fn a_layer_has_room_for_many_large_holes() {
        let pieces = [own(0, 300, 512), own(400 << 30, 300, 812)];
        let (mut end, mut copies, mut index) = (1000, Vec::new(), 0);
        for _ in 0..1000 {
            let map = map(&pieces, 500 << 30, &mut end, &mut copies).unwrap();
            index += chunks(500 << 30, map.bits) * CHUNK_INDEX;
        }
        assert!(index < 64 << 20, "{index}");
        assert!(end < MAX_BLOCKS / 4, "{end}");
    }

    /// Reads a byte through the map, from data of which byte `n` is known by a
    /// function, and from copies.
    fn byte(map: &Map, at: u64, copies: &[Copy], tar: u64) -> Option<(Source, u64)> {
        let mut chunk = at >> map.bits;
        for run in &map.runs {
            if chunk >= run.chunks {
                chunk -= run.chunks;
                continue;
            }
            if run.block == HOLE {
                return None;
            }
            let within = (chunk << map.bits) + at % (1 << map.bits);
            let offset = u64::from(run.block) * BLOCK + within;
            if offset < tar {
                return Some((Source::Own(offset), 0));
            }
            let copy = copies
                .iter()
                .find(|c| c.to <= offset && offset < c.to + c.len)?;
            return Some((copy.from.skip(offset - copy.to), 0));
        }
        panic!("the file has no byte {at}");
    }

    proptest! {
        #[test]
        fn every_byte_is_where_it_belongs(
            gaps in proptest::collection::vec((0u64..3000, 1u64..3000, 0u64..4, any::<bool>()), 0..6),
            tail in 0u64..5000,
        ) {
            let (mut pieces, mut at, mut from) = (Vec::new(), 0, 512);
            for (gap, len, shift, lower) in gaps {
                // Some are aligned as GNU tar makes them.
                let (gap, len) = if shift < 3 { (gap & !511, len) } else { (gap, len) };
                at += gap;
                let source = if lower { Source::Lower(0, from) } else { Source::Own(from) };
                push(&mut pieces, Piece { at, len, source });
                at += len;
                from += len.next_multiple_of(if shift == 0 { 1 } else { 512 });
            }
            let size = at + tail;
            prop_assume!(size > 0);
            let tar = 1 << 20;
            let (mut end, mut copies) = (tar / BLOCK, Vec::new());
            let map = map(&pieces, size, &mut end, &mut copies).unwrap();
            prop_assert_eq!(map.runs.iter().map(|r| r.chunks).sum::<u64>(), chunks(size, map.bits));
            for position in (0..size).step_by(7).chain([size - 1]) {
                let there = pieces.iter().find(|p| p.at <= position && position < p.at + p.len);
                let expected = there.map(|p| p.source.skip(position - p.at));
                let found = byte(&map, position, &copies, tar).map(|(source, _)| source);
                prop_assert_eq!(found, expected, "byte {}", position);
            }
            prop_assert!(copies.iter().all(|copy| copy.to + copy.len <= end * BLOCK));
        }
    }
}
