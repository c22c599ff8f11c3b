use super::*;
use proptest::prelude::*;

fn pack(compression: Compression, data: &[u8]) -> Vec<u8> {
    let mut encoder = encoder(compression, None, Vec::new()).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn unpack(compression: Compression, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    // A small buffer puts every border somewhere within a buffer's.
    let source = io::BufReader::with_capacity(7, data);
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
