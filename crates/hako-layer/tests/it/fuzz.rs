//! Bytes that nobody made on purpose: whatever they are, nothing appears
//! outside of the root. The fuzz target does the same with more of them.

use hako_layer::{Format, Limits, Options};
use proptest::prelude::*;

use crate::archive::{OVERLAY, apply_with, dir, file, link, symlink, tar};
use crate::tree;

/// Applies the bytes in both formats and looks around.
fn check(layer: &[u8]) {
    for format in [Format::Plain, OVERLAY] {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("victim"), "as it was").unwrap();
        let before = tree::read(temp.path());
        let limits = Limits {
            entries: 100,
            bytes: 1 << 20,
            file: 1 << 24,
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::new(format)
        };
        let _ = apply_with(&temp.path().join("root"), layer, &options);
        std::fs::remove_dir_all(temp.path().join("root")).unwrap();
        let mut after = tree::read(temp.path());
        after.get_mut(".").unwrap().mtime = before["."].mtime;
        tree::assert_same(&after, &before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_layers_stay_inside(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let members = [
            dir("d", 0o755), file("d/f", "text"), symlink("l", "../victim"), symlink("m", ".."),
            file("m/victim", "evil"), link("h", "d/f"), file("d/.wh.f", ""), file(".wh.l", ""),
        ];
        let mut layer = tar(&members);
        for (index, value) in &flips {
            *index.get_mut(&mut layer) = *value;
        }
        for block in layer.chunks_exact_mut(512).filter(|b| &b[257..262] == b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        check(&layer);
    }

    #[test]
    fn hostile_names_stay_inside(
        names in proptest::collection::vec(("[abl./]{1,12}|\\.\\./victim|/l/victim|\\.wh\\.[al.]{0,3}", 0u8..4), 1..12),
    ) {
        let members: Vec<_> = names
            .iter()
            .map(|(name, kind)| match kind {
                0 => file(name, "evil"),
                1 => dir(name, 0o777),
                2 => symlink(name, if name.len() % 2 == 0 { "../victim" } else { "../../.." }),
                _ => link(name, names[0].0.as_str()),
            })
            .collect();
        check(&tar(&members));
    }
}
