//! Large files, many files, and what the image of them weighs.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use hako_erofs::{Index, Options};

use crate::archive::{dir, file, tar};
use crate::built::{build, data_file};
use crate::corners::sparse;
use crate::mounts::{erofs, isolated};

#[test]
fn a_sparse_file_of_five_gigabytes() {
    const SIZE: u64 = 5 << 30;
    let places = [
        (0, 100),
        (1 << 20, 8192),
        ((3 << 30) + 777, 70_000),
        (SIZE - 9, 9),
    ];
    let member = sparse("big", SIZE, &places);
    let stored = member.1.clone();
    let temp = tempfile::tempdir().unwrap();
    let (built, _) = build(temp.path(), "big", &tar(&[member]), None).unwrap();
    assert!(built.image.metadata().unwrap().len() < 200_000);
    // The copies behind the tar have holes, too.
    let data = built.data.metadata().unwrap();
    assert!(data.blocks() * 512 < 1 << 20, "{}", data.blocks());
    crate::fsck::check(&built);
    let target = temp.path().join("mounted");
    isolated(|| {
        erofs(&built.image, &built.data, &target);
        let big = File::open(target.join("big")).unwrap();
        assert_eq!(big.metadata().unwrap().len(), SIZE);
        let mut from = 0;
        for (at, len) in places {
            let mut found = vec![0; len as usize];
            big.read_exact_at(&mut found, at).unwrap();
            assert_eq!(found, stored[from..from + len as usize]);
            from += len as usize;
            // And zeros around it.
            for at in [at.saturating_sub(5000), at + len] {
                let mut around = [0; 5000];
                let there = big.read_at(&mut around, at).unwrap();
                let covered = |n: u64| places.iter().any(|(at, len)| (*at..at + len).contains(&n));
                let bad = (at..)
                    .zip(&around[..there])
                    .find(|(n, b)| !covered(*n) && **b != 0);
                assert_eq!(bad, None);
            }
        }
    });
}

#[test]
fn a_large_file_is_one_chunk() {
    let temp = tempfile::tempdir().unwrap();
    let content = "0123456789abcdef".repeat(2 << 20);
    let (built, applied) = build(temp.path(), "large", &tar(&[file("f", &content)]), None).unwrap();
    assert_eq!(applied.bytes, content.len() as u64);
    let (image, _) = built.open();
    let inode = image.lookup(&image.root().unwrap(), b"f").unwrap().unwrap();
    let extents: Vec<_> = image.extents(&inode).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(extents.len(), 1);
    let target = temp.path().join("mounted");
    let found = isolated(|| {
        erofs(&built.image, &built.data, &target);
        std::fs::read_to_string(target.join("f")).unwrap()
    });
    assert!(found == content);
}

#[test]
fn the_same_layer_gives_the_same_bytes() {
    let mut members = vec![
        dir("d", 0o755),
        sparse("s", 100_000, &[(3, 5), (70_000, 20)]),
    ];
    for n in 0..2000 {
        let member = file(&format!("d/{n}"), "x");
        members.push(crate::archive::with_xattr(member, "user.k", &[n as u8 % 7]));
    }
    let tar = tar(&members);
    let temp = tempfile::tempdir().unwrap();
    let mut made = ["a", "b"].map(|name| {
        let (built, _) = build(temp.path(), name, &tar, None).unwrap();
        (
            std::fs::read(built.image).unwrap(),
            std::fs::read(built.data).unwrap(),
        )
    });
    assert!(made[0] == made[1]);
    // The data begins with the archive, to the byte.
    let [(image, data), _] = &mut made;
    assert!(data.starts_with(&tar));

    // And it makes no difference where the archive was before.
    let mut file = data_file(&temp.path().join("place"));
    file.write_all(&tar).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    let index = Index::in_place(&file, &Options::default()).unwrap();
    assert_eq!(index.tar_len(), tar.len() as u64);
    assert_eq!(index.data_len(), data.len() as u64);
    let mut other = Vec::new();
    index.write(&mut other).unwrap();
    assert!(other == *image);
    file.rewind().unwrap();
    let mut other = Vec::new();
    file.read_to_end(&mut other).unwrap();
    assert!(other == *data);
}
