//! Attack 19: archives in which readers of tar see different files. Ours sees
//! what its peers agree on, or refuses.

use hako_tar::{End, Error, Kind, Limits, Reader, Time, entries};

use crate::raw::{archive, fix, header, member, pax};

fn names(bytes: &[u8]) -> Vec<String> {
    let found = entries(bytes).unwrap_or_else(|e| panic!("{e}"));
    found
        .into_iter()
        .map(|e| String::from_utf8(e.path).unwrap())
        .collect()
}

#[track_caller]
fn ambiguous(bytes: &[u8]) {
    let error = entries(bytes).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

/// CVE-2025-62518: the PAX size counts, not the header's.
#[test]
fn attack_19_the_pax_size_overrides_the_headers() {
    let inner = member(b"smuggled", b'0', b"");
    let mut outer = header(b"outer", b'0', 0);
    outer.extend_from_slice(&inner);
    let size = inner.len().to_string();
    let bytes = archive(&[
        pax(b'x', &[("size", size.as_bytes())]),
        outer,
        member(b"last", b'0', b""),
    ]);
    assert_eq!(names(&bytes), ["outer", "last"]);
}

#[test]
fn attack_19_sizes_of_what_has_no_data() {
    let inner = member(b"inner", b'0', b"");
    let with = |flag, size, records: &[(&str, &[u8])]| {
        let first = if records.is_empty() {
            Vec::new()
        } else {
            pax(b'x', records)
        };
        archive(&[
            member(b"f", b'0', b""),
            first,
            header(b"x", flag, size),
            inner.clone(),
        ])
    };
    // GNU tar, Go, Python and libarchive agree on these.
    assert_eq!(names(&with(b'5', 512, &[])), ["f", "x", "inner"]);
    assert_eq!(
        names(&with(b'5', 0, &[("size", b"512")])),
        ["f", "x", "inner"]
    );
    assert_eq!(names(&with(b'1', 512, &[])), ["f", "x", "inner"]);
    // And not on these.
    ambiguous(&with(b'1', 0, &[("size", b"512")]));
    for flag in [b'2', b'3', b'4', b'6'] {
        ambiguous(&with(flag, 512, &[]));
        ambiguous(&with(flag, 0, &[("size", b"512")]));
        assert_eq!(
            names(&with(flag, 512, &[("size", b"0")])),
            ["f", "x", "inner"]
        );
    }
}

#[test]
fn attack_19_two_long_names_have_to_agree() {
    let long = |name: &[u8]| member(b"././@LongLink", b'L', name);
    let file = member(b"short", b'0', b"");
    let same = archive(&[long(b"one\0"), pax(b'x', &[("path", b"one")]), file.clone()]);
    assert_eq!(names(&same), ["one"]);
    ambiguous(&archive(&[
        long(b"one\0"),
        pax(b'x', &[("path", b"two")]),
        file.clone(),
    ]));
    ambiguous(&archive(&[
        pax(b'x', &[("path", b"two")]),
        long(b"one\0"),
        file,
    ]));
    let link = header(b"l", b'2', 0);
    let longlink = member(b"././@LongLink", b'K', b"one\0");
    ambiguous(&archive(&[
        longlink,
        pax(b'x', &[("linkpath", b"two")]),
        link,
    ]));
}

#[test]
fn attack_19_names_with_nul_are_refused() {
    let file = member(b"f", b'0', b"");
    let error = entries(&archive(&[pax(b'x', &[("path", b"a\0b")]), file.clone()])).unwrap_err();
    assert!(matches!(error, Error::Pax { .. }), "{error}");
    let error = entries(&archive(&[
        pax(b'x', &[("linkpath", b"a\0b")]),
        file.clone(),
    ]))
    .unwrap_err();
    assert!(matches!(error, Error::Pax { .. }), "{error}");
    let error = entries(&archive(&[member(b"L", b'L', b"a\0b\0"), file])).unwrap_err();
    assert!(matches!(error, Error::Field { .. }), "{error}");
}

#[test]
fn attack_19_names_need_not_be_text() {
    let bytes = archive(&[
        member(b"\xff\xfe", b'0', b""),
        pax(b'x', &[("path", b"\xc3\x28")]),
        member(b"f", b'0', b""),
    ]);
    let found = entries(&bytes).unwrap();
    assert_eq!(
        (found[0].path.as_slice(), found[1].path.as_slice()),
        (&b"\xff\xfe"[..], &b"\xc3\x28"[..])
    );
}

#[test]
fn attack_19_numbers_beyond_octal() {
    let mut block = header(b"f", b'0', 0);
    // Time -1 and user 2^40, in base-256.
    block[136..148].fill(0xff);
    block[108..116].copy_from_slice(&[0x80, 0, 1, 0, 0, 0, 0, 0]);
    fix(&mut block);
    let found = entries(&archive(&[block.clone()])).unwrap();
    assert_eq!(
        (found[0].mtime, found[0].uid),
        (Time::from_secs(-1), 1 << 40)
    );
    // A negative or huge size.
    for size in [
        [0xff; 12],
        [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
        *b"-0000000001\0",
        *b"00000000009\0",
    ] {
        block[124..136].copy_from_slice(&size);
        fix(&mut block);
        let error = entries(&archive(&[block.clone()])).unwrap_err();
        assert!(
            matches!(error, Error::Field { field: "size", .. }),
            "{error}"
        );
    }
    let error = entries(&archive(&[
        pax(b'x', &[("size", b"9223372036854775808")]),
        member(b"f", b'0', b""),
    ]));
    assert!(matches!(error, Err(Error::Pax { .. })));
}

#[test]
fn checksums_may_be_signed() {
    let mut block = header(b"f\xff\xff", b'0', 0);
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|b| i32::from(b.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(entries(&archive(&[block.clone()])).unwrap().len(), 1);
    block[0] = b'g';
    assert!(matches!(
        entries(&archive(&[block])),
        Err(Error::Checksum { offset: 0 })
    ));
}

#[test]
fn global_records_set_attributes_and_no_names() {
    let bytes = archive(&[
        pax(b'g', &[("mtime", b"7.5"), ("comment", b"by git")]),
        member(b"a", b'0', b""),
        pax(b'x', &[("mtime", b"8")]),
        member(b"b", b'0', b""),
        pax(b'g', &[("mtime", b"")]),
        member(b"c", b'0', b""),
    ]);
    let found = entries(&bytes).unwrap();
    let times: Vec<_> = found
        .iter()
        .map(|e| (e.mtime.secs, e.mtime.nanos))
        .collect();
    assert_eq!(times, [(7, 500_000_000), (8, 0), (0, 0)]);
    assert_eq!(found[0].pax, [(b"comment".to_vec(), b"by git".to_vec())]);
    for key in ["path", "linkpath", "size", "GNU.sparse.name"] {
        let error = entries(&archive(&[
            pax(b'g', &[(key, b"1")]),
            member(b"a", b'0', b""),
        ]));
        assert!(matches!(error, Err(Error::Pax { .. })), "{key}");
    }
}

#[test]
fn xattrs_of_star_and_libarchive_are_one() {
    let bytes = archive(&[
        pax(
            b'x',
            &[
                ("LIBARCHIVE.xattr.user.a", b"b25l"),
                ("SCHILY.xattr.user.a", b"one"),
                ("LIBARCHIVE.xattr.user.%3D%25", b"AP8="),
                ("SCHILY.xattr.user.empty", b""),
                ("MSWINDOWS.fileattr", b"32"),
            ],
        ),
        member(b"f", b'0', b""),
    ]);
    let found = entries(&bytes).unwrap();
    let expected: [(&[u8], &[u8]); 3] = [
        (b"user.a", b"one"),
        (b"user.=%", b"\0\xff"),
        (b"user.empty", b""),
    ];
    assert_eq!(
        found[0].xattrs,
        expected.map(|(k, v)| (k.to_vec(), v.to_vec()))
    );
    assert_eq!(
        found[0].pax,
        [(b"MSWINDOWS.fileattr".to_vec(), b"32".to_vec())]
    );
}

#[test]
fn the_end_is_two_blocks_or_one_or_none() {
    let file = member(b"f", b'0', b"x");
    for (zeros, end) in [
        (0, End::Missing),
        (512, End::OneBlock),
        (1024, End::TwoBlocks),
    ] {
        let bytes = [&file[..], &vec![0; zeros]].concat();
        let mut reader = Reader::new(bytes.as_slice());
        assert!(reader.next_entry().unwrap().is_some());
        assert!(reader.next_entry().unwrap().is_none());
        assert_eq!(reader.end(), Some(end));
    }
    let garbage = [&archive(std::slice::from_ref(&file))[..], b"garbage"].concat();
    let mut reader = Reader::new(garbage.as_slice());
    while reader.next_entry().unwrap().is_some() {}
    assert_eq!(reader.drain().unwrap(), 7);
    ambiguous(&[&file[..], &[0; 512], &file].concat());
    assert_eq!(entries(b"").unwrap(), []);
    assert!(matches!(
        entries(&[1; 100]),
        Err(Error::Truncated { offset: 100, .. })
    ));
}

#[test]
fn a_truncated_archive_names_the_member() {
    let bytes = archive(&[
        member(b"whole", b'0', b"x"),
        member(b"cut", b'0', &[b'y'; 5000]),
    ]);
    let error = entries(&bytes[..4096]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive is truncated at offset 4096, in \"cut\""
    );
    let pending = pax(b'x', &[("path", b"name")]);
    assert!(matches!(entries(&pending), Err(Error::Truncated { .. })));
}

#[test]
fn attack_06_what_is_held_in_memory_is_bounded() {
    let limit = |bytes: &[u8]| {
        let error = entries(bytes).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    };
    // Headers that announce more than there is, or than there should be.
    limit(&header(b"pax", b'x', (8 << 30) - 1));
    limit(&header(b"pax", b'g', (16 << 10) + 1));
    limit(&header(b"long", b'L', (64 << 10) + 1));
    limit(&header(b"long", b'K', u64::from(u32::MAX)));
    // Many small ones before one member.
    let value = vec![b'v'; 500_000];
    limit(
        &[
            pax(b'x', &[("a", &value)]),
            pax(b'x', &[("b", &value)]),
            pax(b'x', &[("c", &value)]),
        ]
        .concat(),
    );
    let many: Vec<_> = (0..1025)
        .map(|n| format!("SCHILY.xattr.user.{n}"))
        .collect();
    let records: Vec<(&str, &[u8])> = many.iter().map(|k| (k.as_str(), &b"v"[..])).collect();
    limit(&[pax(b'x', &records), member(b"f", b'0', b"")].concat());
    // A sparse map of many pieces.
    let map = (0..100)
        .map(|n| format!("{},1", n * 2))
        .collect::<Vec<_>>()
        .join(",");
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.map", map.as_bytes()),
        ("GNU.sparse.size", b"1000"),
        ("GNU.sparse.numblocks", b"100"),
    ];
    let bytes = archive(&[pax(b'x', &records), member(b"f", b'0', &[1; 100])]);
    assert_eq!(
        entries(&bytes).unwrap()[0].sparse.as_ref().unwrap().len(),
        100
    );
    let limits = Limits {
        segments: 99,
        ..Limits::default()
    };
    let mut reader = Reader::with_limits(bytes.as_slice(), limits);
    assert!(matches!(reader.next_entry(), Err(Error::Limit { .. })));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for (map, size, data) in [
        ("0,10", "5", 10),
        ("0,5,4,5", "20", 10),
        ("5,5,0,5", "20", 10),
        ("0,5", "20", 10),
        ("0,15", "20", 10),
        ("0", "20", 10),
        ("0,x", "20", 10),
        ("9223372036854775807,10", "20", 10),
        ("18446744073709551615,10", "20", 10),
    ] {
        let records: [(&str, &[u8]); 2] = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
        ];
        let bytes = archive(&[pax(b'x', &records), member(b"f", b'0', &vec![1; data])]);
        let error = entries(&bytes).unwrap_err();
        assert!(matches!(error, Error::Sparse { .. }), "{map}: {error}");
    }
    // 8 EiB of holes are no problem of the reader's.
    let size = i64::MAX.to_string();
    let records: [(&str, &[u8]); 2] = [
        ("GNU.sparse.map", b"0,1"),
        ("GNU.sparse.size", size.as_bytes()),
    ];
    let found = entries(&archive(&[pax(b'x', &records), member(b"f", b'0', b"x")])).unwrap();
    assert_eq!(found[0].size, i64::MAX.cast_unsigned());
}

#[test]
fn old_directories_end_in_a_slash() {
    let mut block = header(b"dir/", 0, 0);
    block[257..265].fill(0);
    fix(&mut block);
    let found = entries(&archive(&[block])).unwrap();
    assert_eq!(
        (found[0].kind, found[0].path.as_slice()),
        (Kind::Dir, &b"dir"[..])
    );
}

#[test]
fn unknown_types_can_be_read_and_skipped() {
    let found = entries(&archive(&[
        member(b"odd", b'Q', b"data"),
        member(b"f", b'0', b""),
    ]))
    .unwrap();
    assert_eq!(
        (found[0].kind, found[0].size, found.len()),
        (Kind::Other(b'Q'), 4, 2)
    );
}
