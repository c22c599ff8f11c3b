use super::*;
use proptest::prelude::*;

fn pack(compression: Compression, data: &[u8]) -> Vec<u8> {
    let mut encoder = encoder(compression, None, Vec::new()).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Gives so many bytes at once.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(self.1);
        self.0.read(&mut out[..count])
    }
}

fn unpack(compression: Compression, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    // A small buffer puts every border somewhere within a buffer's.
    let source = io::BufReader::with_capacity(7, Pieces(data, 7));
    decoder(compression, source)?.read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn magic_bytes_are_told_apart() {
    assert_eq!(detect(&pack(Compression::Gzip, b"x")), Compression::Gzip);
    assert_eq!(detect(&pack(Compression::Zstd, b"x")), Compression::Zstd);
    assert_eq!(detect(&[0x53, 0x2a, 0x4d, 0x18]), Compression::Zstd);
    for plain in [&b""[..], b"\x1f", b"\x1f\x8b", b"etc/", &[0; 4]] {
        assert_eq!(detect(plain), Compression::None);
    }
}

#[test]
fn equal_input_gives_equal_output_without_a_time() {
    let a = pack(Compression::Gzip, b"same");
    assert_eq!(a, pack(Compression::Gzip, b"same"));
    assert_eq!(&a[..10], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    assert_eq!(
        pack(Compression::Zstd, b"same"),
        pack(Compression::Zstd, b"same")
    );
}

#[test]
fn several_members_and_frames_are_one_stream() {
    for c in [Compression::Gzip, Compression::Zstd] {
        let parts = [pack(c, b"one "), pack(c, b""), pack(c, b"two")].concat();
        assert_eq!(unpack(c, &parts).unwrap(), b"one two");
    }
}

#[test]
fn skippable_zstd_frames_are_skipped_wherever_they_are() {
    let skip = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"extra"].concat();
    let one = pack(Compression::Zstd, b"one");
    let two = pack(Compression::Zstd, b"two");
    let all = [&skip[..], &one, &skip, &skip, &two, &skip].concat();
    assert_eq!(unpack(Compression::Zstd, &all).unwrap(), b"onetwo");
}

#[test]
fn gzip_headers_with_all_fields_are_read() {
    let mut data = vec![0x1f, 0x8b, 8, 0x1e, 1, 2, 3, 4, 0, 3];
    data.extend_from_slice(b"\x03\0abcname\0comment\0\x12\x34");
    data.extend_from_slice(&pack(Compression::Gzip, b"body")[10..]);
    assert_eq!(unpack(Compression::Gzip, &data).unwrap(), b"body");
    data[3] |= 0x40;
    assert_eq!(
        unpack(Compression::Gzip, &data).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
}

#[test]
fn zeros_behind_gzip_are_padding_and_the_rest_is_garbage() {
    let mut data = pack(Compression::Gzip, b"body");
    data.extend_from_slice(&[0; 1000]);
    assert_eq!(unpack(Compression::Gzip, &data).unwrap(), b"body");
    data.push(1);
    assert_eq!(
        unpack(Compression::Gzip, &data).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    let garbage = [&pack(Compression::Gzip, b"body")[..], b"garbage"].concat();
    assert!(unpack(Compression::Gzip, &garbage).is_err());
}

#[test]
fn a_cut_stream_is_an_error_wherever_it_is_cut() {
    let body: Vec<u8> = (0..2000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for c in [Compression::Gzip, Compression::Zstd] {
        let data = pack(c, &body);
        for cut in 1..data.len() {
            let error = unpack(c, &data[..cut]).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{c:?} {cut}: {error}"
            );
        }
    }
    assert!(unpack(Compression::Gzip, b"").is_err());
}

#[test]
fn a_flipped_bit_in_the_trailer_is_noticed() {
    for at in [1, 5] {
        let mut data = pack(Compression::Gzip, b"body");
        let index = data.len() - at;
        data[index] ^= 1;
        assert_eq!(
            unpack(Compression::Gzip, &data).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}

#[test]
fn attack_06_a_huge_zstd_window_is_refused() {
    // A frame header that asks for a window of 2^30 bytes, and one raw block.
    let frame = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0x00, (30 - 10) << 3][..],
        &[0x09, 0, 0, b'x'],
    ]
    .concat();
    let error = unpack(Compression::Zstd, &frame).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let frame = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0x00, (20 - 10) << 3][..],
        &[0x09, 0, 0, b'x'],
    ]
    .concat();
    assert_eq!(unpack(Compression::Zstd, &frame).unwrap(), b"x");
}

#[test]
fn attack_06_bombs_stop_at_the_limit() {
    for c in [Compression::Gzip, Compression::Zstd] {
        let bomb = pack(c, &vec![0; 16 << 20]);
        assert!(bomb.len() < 32 << 10);
        let stream = limit(decoder(c, bomb.as_slice()).unwrap(), 1 << 20);
        let mut seen = io::sink();
        let error = io::copy(&mut io::BufReader::new(stream), &mut seen).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let exact = limit(decoder(c, bomb.as_slice()).unwrap(), 16 << 20);
        assert_eq!(
            io::copy(&mut io::BufReader::new(exact), &mut seen).unwrap(),
            16 << 20
        );
    }
}

proptest! {
    #[test]
    fn streams_round_trip(data in proptest::collection::vec(any::<u8>(), 0..20_000), level in 0u32..8) {
        for c in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut e = encoder(c, Some(level), Vec::new()).unwrap();
            e.write_all(&data).unwrap();
            prop_assert_eq!(&unpack(c, &e.finish().unwrap()).unwrap(), &data);
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (c, head) in [(Compression::Gzip, &[0x1f, 0x8b, 8][..]), (Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd])] {
            let _ = unpack(c, &noise);
            let _ = unpack(c, &[head, &noise].concat());
        }
    }
}

/// A stream of blocks of every type, by turns.
fn deflated(data: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// What another decoder makes of it.
fn reference(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(data).read_to_end(&mut out)?;
    Ok(out)
}

/// Text, noise and runs, in which matches reach as far as they may.
fn mixture(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out: Vec<u8> = Vec::with_capacity(len + 40_000);
    while out.len() < len {
        let count = (next() % 5000) as usize + 1;
        match next() % 6 {
            0 => out.extend((0..count).map(|_| next() as u8)),
            1 => out.extend(std::iter::repeat_n(next() as u8, count)),
            2 => out.extend((0..count).map(|_| b"etaoin shrdlu\n"[(next() % 14) as usize])),
            3 => {
                let skew = next() % 50 + 2;
                out.extend((0..count).map(|_| (next() % skew * (next() % 7)) as u8));
            }
            _ => {
                let back = (next() as usize % 40_000 + 1).min(out.len());
                for _ in 0..count.min(back * 300) {
                    match out.len().checked_sub(back) {
                        Some(at) => out.push(out[at]),
                        None => out.push(0),
                    }
                }
            }
        }
    }
    out
}

#[test]
fn all_levels_and_sizes_come_out_as_they_were() {
    for (seed, len) in [(1, 0), (2, 1), (3, 300), (4, 70_000), (5, 3_000_000)] {
        let data = mixture(seed, len);
        for level in [0, 1, 2, 6, 9] {
            let packed = deflated(&data, level);
            let mut out = Vec::new();
            decoder(Compression::Gzip, packed.as_slice())
                .unwrap()
                .read_to_end(&mut out)
                .unwrap();
            assert!(out == data, "{len} bytes at level {level}");
        }
    }
}

#[test]
fn codes_that_zlib_refuses_are_refused() {
    // Raw streams in a gzip frame; none has a right checksum, all fail before.
    for (raw, why) in [
        (&[0x07][..], "unknown type"),
        (&[0x01, 1, 0, 1, 0], "length of a stored block"),
        // Fixed code: a literal's code 286; a distance before the beginning.
        (&[0x1b, 0x03], "a literal's code"),
        (&[0x03, 0x02], "a distance before"),
        // 288 codes of literals.
        (&[0xfd, 0x00, 0x00, 0x00], "too many codes"),
        // A code of lengths with four codes of one bit.
        (&[0x05, 0x00, 0x92, 0x04], "more symbols than"),
        (&[0x05, 0x00, 0x00, 0x00], "incomplete"),
    ] {
        let mut data = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        data.extend_from_slice(raw);
        data.extend_from_slice(&[0; 400]);
        let error = unpack(Compression::Gzip, &data).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(reference(&data).is_err(), "{why}");
    }
}

/// The inflater has taken bytes when the buffer is moved, and gives them back.
#[test]
fn stored_blocks_follow_others_at_every_place_of_the_buffer() {
    let mut state = 7u32;
    let mut data = Vec::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    for turn in 0..200 {
        let part: Vec<u8> = (0..turn * 37 % 3000)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Noise, which is stored, between text, which is not.
                if turn % 2 == 0 {
                    (state >> 24) as u8
                } else {
                    b"abcd"[at as usize % 4]
                }
            })
            .collect();
        packed.write_all(&part).unwrap();
        // An empty stored block at the next byte.
        packed.flush().unwrap();
        data.extend(part);
    }
    let packed = packed.finish().unwrap();
    for buffer in [1, 2, 3, 5, 8, 13, 100, 321, 1000] {
        let source = io::BufReader::with_capacity(buffer, Pieces(&packed, buffer));
        let mut out = Vec::new();
        decoder(Compression::Gzip, source)
            .unwrap()
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == data, "{buffer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The same bytes, or an error of both.
    #[test]
    fn damaged_streams_are_as_another_decoder_has_them(
        seed in any::<u64>(),
        len in 0usize..20_000,
        level in 0u32..10,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        buffer in 1usize..5000,
    ) {
        let mut data = deflated(&mixture(seed, len), level);
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        let source = io::BufReader::with_capacity(buffer, Pieces(&data, buffer));
        let mut ours = Vec::new();
        let ours = decoder(Compression::Gzip, source)
            .unwrap()
            .read_to_end(&mut ours)
            .map(|_| ours);
        match (ours, reference(&data)) {
            (Ok(ours), Ok(theirs)) => prop_assert!(ours == theirs),
            (Err(_), Err(_)) => {}
            // Another reads past garbage behind the stream, and we do not.
            (Err(e), Ok(_)) => prop_assert!(
                e.to_string().contains("gzip") , "{e}"
            ),
            // Zeros behind the stream are no padding for another.
            (Ok(_), Err(e)) => prop_assert!(data.ends_with(&[0]), "only we take it: {e}"),
        }
    }
}
