//! Images of layers as they may lie on a damaged disk, or as somebody else made
//! them: the reader ends, and takes no more memory than the image is long. The
//! input is what lies behind the superblock, after the fields of that.
#![no_main]

use hako_erofs::{Image, Index, Options};

/// The begin of an image with blocks, root, inodes and xattrs of our choice.
fn head(fields: &[u8; 16], blocks: u32) -> Vec<u8> {
    static VALID: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let valid = VALID.get_or_init(|| {
        let data = tempfile::tempfile().expect("a file");
        let index = Index::new(&b""[..], &data, &Options::default()).expect("an index");
        let mut image = Vec::new();
        index.write(&mut image).expect("an image");
        image
    });
    let mut head = valid.get(..1536).expect("a superblock").to_vec();
    let small = |at: usize| u32::from(u16::from_le_bytes([fields[at], fields[at + 1]]));
    head[1024 + 14..1024 + 16].copy_from_slice(&fields[..2]);
    head[1024 + 36..1024 + 40].copy_from_slice(&blocks.to_le_bytes());
    head[1024 + 40..1024 + 44].copy_from_slice(&small(2).to_le_bytes());
    head[1024 + 44..1024 + 48].copy_from_slice(&small(4).to_le_bytes());
    head[1152 + 64..1152 + 68].copy_from_slice(&fields[8..12]);
    head[1028..1032].fill(0);
    let mut crc = u32::MAX;
    for byte in &head[1024..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    head[1028..1032].copy_from_slice(&crc.to_le_bytes());
    head
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Image::open(bytes).map(|image| image.check());
    let Some((fields, rest)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let rest = &rest[..rest.len() / 512 * 512];
    let mut image = head(fields, (rest.len() / 512) as u32 + 3);
    image.extend_from_slice(rest);
    let image = Image::open(image.as_slice()).expect("the superblock is right");
    let _ = image.check();
    if let Ok(root) = image.root() {
        let _ = image.lookup(&root, b"name");
    }
});
