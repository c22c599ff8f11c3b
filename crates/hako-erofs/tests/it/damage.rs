//! Images that something has happened to: the reader says so, or shows
//! something else, and ends. The fuzz targets do the same with more of them.

use hako_erofs::{Error, Image};
use proptest::prelude::*;

use crate::archive::{dir, file, link, symlink, tar, with_xattr};
use crate::built::build;
use crate::corners::sparse;

fn image() -> Vec<u8> {
    let mut members = vec![
        with_xattr(dir("d", 0o755), "user.same", b"value of an xattr"),
        with_xattr(file("d/f", "text"), "user.same", b"value of an xattr"),
        with_xattr(file("own", "text"), "trusted.own", b"1"),
        symlink("s", &"t/".repeat(400)),
        link("h", "d/f"),
        sparse("sparse", 100_000, &[(1, 3), (50_000, 600)]),
    ];
    members.extend((0..60).map(|n| file(&format!("d/name{n}"), "")));
    let temp = tempfile::tempdir().unwrap();
    let (built, _) = build(temp.path(), "image", &tar(&members), None).unwrap();
    std::fs::read(built.image).unwrap()
}

/// Reads everything that there is.
fn read(bytes: &[u8]) -> Result<usize, Error> {
    let image = Image::open(bytes)?;
    let mut count = 0;
    image.walk(|visited| {
        count += 1;
        assert!(count <= bytes.len(), "more names than bytes");
        match visited.inode.mode & 0o170_000 {
            0o100_000 => {
                for extent in image.extents(&visited.inode)? {
                    let extent = extent?;
                    assert!(extent.data + extent.len <= image.data_len());
                    assert!(extent.at + extent.len <= visited.inode.size);
                }
            }
            0o040_000 => {
                for name in image.names(&visited.inode)?.iter().take(5) {
                    // Its inode may be damaged, but it is there.
                    let found = image.lookup(&visited.inode, &name.name);
                    assert!(!matches!(found, Ok(None)));
                }
                let _ = image.lookup(&visited.inode, b"no such name");
            }
            _ => {}
        }
        Ok(())
    })?;
    image.check()?;
    Ok(count)
}

#[test]
fn what_is_whole_is_read_whole() {
    assert_eq!(read(&image()).unwrap(), 1 + 6 + 1 + 60 - 1);
}

#[test]
fn what_is_no_image_is_refused() {
    let image = image();
    for bytes in [&b""[..], &[0; 4096], &image[..1024]] {
        assert!(matches!(Image::open(bytes), Err(Error::Foreign { .. })));
    }
    assert!(matches!(
        Image::open(&image[..image.len() - 512]),
        Err(Error::Damaged { .. })
    ));
    let mut other = image;
    other[1024 + 12] = 12;
    assert!(matches!(
        Image::open(&other[..]),
        Err(Error::Foreign { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_noticed_or_harmless(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        static IMAGE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = IMAGE.get_or_init(image).clone();
        for (index, value) in &flips {
            // The superblock has a checksum.
            let at = 1536 + index.index(bytes.len() - 1536);
            bytes[at] = *value;
        }
        let _ = read(&bytes);
    }
}
