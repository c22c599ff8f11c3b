//! The last output, for clients that attach late.

use std::collections::VecDeque;

use crate::log::Stream;

/// How much is remembered, in bytes.
const LIMIT: usize = 16 << 10;

/// Output in the order in which it came, bounded.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    pieces: VecDeque<(Stream, Vec<u8>)>,
    size: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let bytes = bytes
            .get(bytes.len().saturating_sub(LIMIT)..)
            .unwrap_or_default();
        match self.pieces.back_mut() {
            Some((last, piece)) if *last == stream && piece.len() < 1024 => {
                piece.extend_from_slice(bytes);
            }
            _ => self.pieces.push_back((stream, bytes.to_vec())),
        }
        self.size += bytes.len();
        while self.size > LIMIT {
            let over = self.size - LIMIT;
            let Some((_, first)) = self.pieces.front_mut() else {
                return;
            };
            if first.len() <= over {
                self.size -= first.len();
                self.pieces.pop_front();
            } else {
                first.drain(..over);
                self.size -= over;
            }
        }
    }

    /// The last `limit` bytes.
    pub(crate) fn tail(&self, limit: usize) -> impl Iterator<Item = (Stream, &[u8])> {
        let mut skip = self.size.saturating_sub(limit);
        self.pieces.iter().filter_map(move |(stream, piece)| {
            let from = skip.min(piece.len());
            skip -= from;
            let rest = piece.get(from..)?;
            (!rest.is_empty()).then_some((*stream, rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_the_last_bytes(
            pieces in proptest::collection::vec((any::<bool>(), 0usize..9000), 0..12),
            limit in 0usize..20_000,
        ) {
            let mut recent = Recent::default();
            let mut all = Vec::new();
            for (i, (err, length)) in pieces.iter().enumerate() {
                let stream = if *err { Stream::Stderr } else { Stream::Stdout };
                let bytes: Vec<u8> = (0..*length).map(|n| (n + i * 7) as u8).collect();
                recent.push(stream, &bytes);
                all.extend_from_slice(&bytes);
            }
            let tail: Vec<u8> = recent.tail(limit).flat_map(|(_, b)| b.to_vec()).collect();
            let expected = limit.min(LIMIT).min(all.len());
            prop_assert_eq!(&tail[..], &all[all.len() - expected..]);
        }
    }
}
