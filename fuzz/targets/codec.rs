//! Compressed streams, with a bound on what comes out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let compression = hako_tar::codec::detect(bytes);
    let Ok(decoder) = hako_tar::codec::decoder(compression, bytes) else {
        return;
    };
    let mut limited = hako_tar::codec::limit(decoder, 1 << 20);
    let _ = std::io::copy(&mut limited, &mut std::io::sink());
});
