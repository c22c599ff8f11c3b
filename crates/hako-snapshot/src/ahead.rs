//! Reads an archive ahead: where it comes from is decompressed by a thread of its
//! own, which is the most work of all, while another one hashes what has come and
//! makes the files.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use hako_spec::digest::Digest;
use hako_store::Hasher;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait.
const WAITING: usize = 4;

/// Bytes, of which the first so many count.
type Piece = (Vec<u8>, usize);

/// A reader whose source is read by another thread. Dropped, it ends that.
pub(crate) struct Ahead<'scope> {
    /// Of all that came from there.
    hasher: Hasher,
    pieces: Receiver<io::Result<Piece>>,
    back: Sender<Vec<u8>>,
    piece: Piece,
    at: usize,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Ahead<'scope> {
    /// Begins to read `source`.
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: impl Read + Send + 'scope,
        hasher: Hasher,
    ) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(WAITING);
        let (back, used) = channel();
        let thread = std::thread::Builder::new()
            .name("layer-archive".to_owned())
            .spawn_scoped(scope, move || read(source, &sender, &used))?;
        Ok(Self {
            hasher,
            pieces,
            back,
            piece: (Vec::new(), 0),
            at: 0,
            thread,
        })
    }

    /// Reads what is left; the value is the digest of all.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        while self.next()? {}
        self.thread
            .join()
            .map_err(|_| io::Error::other("the thread that reads the archive has died"))?;
        Ok(self.hasher.finish())
    }

    /// Takes the next piece; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let Ok(next) = self.pieces.recv() else {
            return Ok(false);
        };
        let (used, _) = std::mem::replace(&mut self.piece, next?);
        self.hasher
            .update(self.piece.0.get(..self.piece.1).unwrap_or_default());
        let _ = self.back.send(used);
        self.at = 0;
        Ok(true)
    }
}

impl Read for Ahead<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.1 {
            if !self.next()? {
                return Ok(0);
            }
        }
        let there = self.piece.0.get(self.at..self.piece.1).unwrap_or_default();
        let count = there.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

fn read(mut source: impl Read, pieces: &SyncSender<io::Result<Piece>>, used: &Receiver<Vec<u8>>) {
    loop {
        let mut buffer = used.try_recv().unwrap_or_default();
        buffer.resize(PIECE, 0);
        let piece = match source.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(count) => Ok((buffer, count)),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        // Nobody listens to a layer that is given up.
        if pieces.send(piece).is_err() || failed {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_spec::digest::Algorithm;

    fn hasher() -> Hasher {
        Hasher::new(Algorithm::Sha256)
    }

    #[test]
    fn all_bytes_come_in_order_and_the_digest_is_over_all() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
        std::thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, data.as_slice(), hasher()).unwrap();
            let mut half = vec![0; 1_234_567];
            ahead.read_exact(&mut half).unwrap();
            assert!(half == data[..1_234_567]);
            let mut whole = hasher();
            whole.update(&data);
            assert_eq!(ahead.finish().unwrap(), whole.finish());
        });
    }

    #[test]
    fn an_error_comes_after_what_came_before_it() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                match self.0 {
                    0 => Err(io::Error::other("broken")),
                    _ => {
                        self.0 -= 1;
                        out[..10].fill(1);
                        Ok(10)
                    }
                }
            }
        }
        std::thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, Broken(3), hasher()).unwrap();
            let mut all = [0; 30];
            ahead.read_exact(&mut all).unwrap();
            assert_eq!(ahead.read(&mut all).unwrap_err().to_string(), "broken");
        });
        // Given up in the middle, it does not wait for ever.
        std::thread::scope(|scope| {
            drop(Ahead::start(scope, io::repeat(0), hasher()).unwrap());
        });
    }
}
