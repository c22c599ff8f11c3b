//! Layers, applied: whatever the archive holds, nothing beside the root
//! changes. Needs root, as device nodes and foreign owners do.
#![no_main]

use std::os::fd::AsFd as _;

use hako_layer::{Format, Limits, Options, XattrPrefix};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let xattr_prefix = XattrPrefix::Trusted;
    for format in [Format::Plain, Format::Overlay { xattr_prefix }] {
        let temp = tempfile::tempdir().expect("a directory");
        let victim = temp.path().join("victim");
        std::fs::write(&victim, "as it was").expect("a file");
        let root = temp.path().join("root");
        std::fs::create_dir(&root).expect("a directory");
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
        let fd = std::fs::File::open(&root).expect("the directory");
        let _ = hako_layer::apply(bytes, fd.as_fd(), &options);
        assert_eq!(std::fs::read(&victim).expect("the file"), b"as it was");
        assert_eq!(std::fs::read_dir(temp.path()).expect("a list").count(), 2);
    }
});
