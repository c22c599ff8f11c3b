//! The end of a layer's data: what the tar does not have in whole blocks, and
//! what comes from lower layers, is copied behind it, so that a layer needs no
//! file but its own.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::Error;
use crate::extent::{Copy, MAX_BLOCKS, Map, Piece, Source, map};
use crate::format::BLOCK;
use crate::layer::Layer;
use crate::options::Lower;
use crate::tree::Body;

/// Bytes that are copied at once.
const BUFFER: u64 = 256 << 10;

/// Maps all files of several pieces and copies what has to be. `len` is the
/// length of the tar in `data`; returns the maps and the number of blocks.
pub(crate) fn spill(
    layer: &mut Layer<'_>,
    data: &File,
    len: u64,
) -> Result<(Vec<Map>, u64), Error> {
    // A layer without any data is a block of zeros: devices are not empty.
    let mut end = len.div_ceil(BLOCK).max(1);
    if end > MAX_BLOCKS {
        let what = "the layer's data";
        return Err(Error::TooLarge { what });
    }
    let mut copies = Vec::new();
    let sizes = sizes(layer);
    let all = std::mem::take(&mut layer.pieces);
    let mut maps = Vec::with_capacity(all.len());
    for (pieces, size) in all.iter().zip(sizes) {
        // Replaced by a later entry: there is nothing to map.
        let (pieces, size): (&[Piece], u64) = match size {
            Some(size) => (pieces, size),
            None => (&[], 0),
        };
        maps.push(map(pieces, size, &mut end, &mut copies)?);
        copy(data, layer.lower(), &mut copies)?;
    }
    data.set_len(end * BLOCK).map_err(Error::data("extend"))?;
    Ok((maps, end))
}

/// The sizes of the files of several pieces that still have a name.
fn sizes(layer: &Layer<'_>) -> Vec<Option<u64>> {
    let mut sizes = vec![None; layer.pieces.len()];
    for id in 0..layer.tree.len() {
        let node = layer.tree.node(id as u32);
        if let Body::Pieces(number) = node.body
            && node.names > 0
            && let Some(size) = sizes.get_mut(number as usize)
        {
            *size = Some(node.size);
        }
    }
    sizes
}

fn copy(data: &File, lower: &[Lower<'_>], copies: &mut Vec<Copy>) -> Result<(), Error> {
    let mut buffer = Vec::new();
    for Copy { from, len, to } in copies.drain(..) {
        let (file, offset) = match from {
            Source::Own(offset) => (data, offset),
            Source::Lower(number, offset) => {
                let lower = lower.get(number as usize);
                (lower.map_or(data, |lower| lower.data), offset)
            }
        };
        let mut done = 0;
        while done < len {
            buffer.resize((len - done).min(BUFFER) as usize, 0);
            let read = file.read_exact_at(&mut buffer, offset + done);
            read.map_err(Error::data("read"))?;
            let written = data.write_all_at(&buffer, to + done);
            written.map_err(Error::data("write"))?;
            done += buffer.len() as u64;
        }
    }
    Ok(())
}
