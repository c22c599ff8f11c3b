//! Compressed streams, with a bound on what comes out. What another decoder
//! makes of gzip is what ours makes of it.
#![no_main]

use std::io::Read as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let compression = hako_tar::codec::detect(bytes);
    let Ok(decoder) = hako_tar::codec::decoder(compression, bytes) else {
        return;
    };
    let mut limited = hako_tar::codec::limit(decoder, 1 << 20);
    let mut ours = Vec::new();
    let result = limited.read_to_end(&mut ours);
    if compression == hako_tar::codec::Compression::Gzip {
        let mut theirs = Vec::new();
        let other = flate2::read::MultiGzDecoder::new(bytes)
            .take(2 << 20)
            .read_to_end(&mut theirs);
        // It does not take zeros behind the stream for padding.
        let padded = bytes.last() == Some(&0);
        if result.is_ok() {
            assert!((other.is_ok() || padded) && ours == theirs);
        }
    }
});
