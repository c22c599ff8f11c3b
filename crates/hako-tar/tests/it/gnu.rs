//! GNU tar's archives through our reader, and ours through GNU tar.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use hako_tar::{Entry, Kind, Reader, Segment, Time, Writer, codec};

#[track_caller]
fn shell(script: &str, dir: &Path) -> String {
    let script = format!("set -eu; umask 022; {script}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir)
        .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All members with their contents.
fn read(path: &Path) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = Reader::new(std::fs::File::open(path).unwrap());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.data().read_to_end(&mut data).unwrap();
        assert_eq!(data.len() as u64, entry.size);
        found.push((entry, data));
    }
    found
}

fn find<'a>(found: &'a [(Entry, Vec<u8>)], path: &str) -> &'a (Entry, Vec<u8>) {
    found
        .iter()
        .find(|(e, _)| e.path == path.as_bytes())
        .unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn every_format_is_read_alike() {
    let temp = tempfile::tempdir().unwrap();
    shell(
        "mkdir t; cd t; mkdir -m 1755 d; printf hello > d/f; chmod 4711 d/f; ln d/f h; ln -s d/f s; mkfifo p
         mknod c c 5 1; mknod b b 259 4660; chown 1000:2000 d; touch -d '2020-01-02 03:04:05' d/f",
        temp.path(),
    );
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        let what = if format == "v7" {
            "d h s"
        } else {
            "d h s p c b"
        };
        shell(
            &format!("tar --format={format} --sort=name -C t -cf t.tar {what}"),
            temp.path(),
        );
        let found = read(&temp.path().join("t.tar"));
        let (dir, _) = find(&found, "d");
        assert_eq!(
            (dir.kind, dir.mode, dir.uid, dir.gid),
            (Kind::Dir, 0o1755, 1000, 2000),
            "{format}"
        );
        let (file, data) = find(&found, "d/f");
        assert_eq!(
            (file.kind, file.mode, data.as_slice()),
            (Kind::File, 0o4711, &b"hello"[..])
        );
        assert_eq!(file.mtime, Time::from_secs(1_577_934_245));
        assert_eq!(find(&found, "h").0.kind, Kind::HardLink);
        assert_eq!(find(&found, "h").0.link, b"d/f");
        assert_eq!(find(&found, "s").0.kind, Kind::Symlink);
        if format != "v7" {
            assert_eq!(file.uname, b"root");
            assert_eq!(find(&found, "p").0.kind, Kind::Fifo);
            let (c, b) = (&find(&found, "c").0, &find(&found, "b").0);
            assert_eq!((c.kind, c.major, c.minor), (Kind::Char, 5, 1));
            assert_eq!((b.kind, b.major, b.minor), (Kind::Block, 259, 4660));
        }
    }
}

#[test]
fn long_names_large_ids_and_fine_times_are_read() {
    let temp = tempfile::tempdir().unwrap();
    let part = "p".repeat(120);
    shell(
        &format!(
            "mkdir -p t/{part}; cd t; echo x > {part}/{part}; ln -s {part}/{part} s; ln {part}/{part} h
             chown 3000000:4294967290 {part}/{part}; touch -d '1960-01-01 00:00:00.25' {part}"
        ),
        temp.path(),
    );
    for format in ["gnu", "oldgnu", "pax"] {
        shell(
            &format!("tar --format={format} --sort=name -C t -cf t.tar {part} s h"),
            temp.path(),
        );
        let found = read(&temp.path().join("t.tar"));
        let (file, data) = find(&found, &format!("{part}/{part}"));
        assert_eq!(
            (file.uid, file.gid, data.as_slice()),
            (3_000_000, 4_294_967_290, &b"x\n"[..])
        );
        for name in ["s", "h"] {
            assert_eq!(
                find(&found, name).0.link,
                format!("{part}/{part}").as_bytes()
            );
        }
        let mtime = find(&found, &part).0.mtime;
        let nanos = if format == "pax" { 250_000_000 } else { 0 };
        assert_eq!(
            mtime,
            Time {
                secs: -315_619_200,
                nanos
            },
            "{format}"
        );
    }
}

#[test]
fn xattrs_are_read() {
    let temp = tempfile::tempdir().unwrap();
    shell(
        "touch f; setfattr -n user.a -v 0x000a3d f; setfattr -n trusted.b -v text f
         tar --format=pax --xattrs --xattrs-include='*' -cf t.tar f",
        temp.path(),
    );
    let mut xattrs = read(&temp.path().join("t.tar"))[0].0.xattrs.clone();
    xattrs.sort();
    let expected = [(&b"trusted.b"[..], &b"text"[..]), (b"user.a", b"\0\n=")];
    assert_eq!(xattrs, expected.map(|(k, v)| (k.to_vec(), v.to_vec())));
}

#[test]
fn sparse_files_of_all_formats_are_read() {
    let temp = tempfile::tempdir().unwrap();
    // Thirty islands: more than a header and a first extension block hold.
    shell(
        "truncate -s 5M s; for n in {1..30}; do printf island | dd of=s bs=1 seek=$((n * 131072)) conv=notrunc status=none; done
         truncate -s 3M hole; cp s tail; printf end >> tail",
        temp.path(),
    );
    for format in [
        "gnu",
        "oldgnu",
        "pax --sparse-version=0.0",
        "pax --sparse-version=0.1",
        "pax --sparse-version=1.0",
    ] {
        shell(
            &format!(
                "tar --sparse --format={format} -cf t.tar s hole tail; echo after > after; tar -rf t.tar after"
            ),
            temp.path(),
        );
        let found = read(&temp.path().join("t.tar"));
        for name in ["s", "hole", "tail"] {
            let (entry, data) = find(&found, name);
            assert_eq!(
                data,
                &std::fs::read(temp.path().join(name)).unwrap(),
                "{format} {name}"
            );
            let map = entry.sparse.as_ref().unwrap();
            let stored: u64 = map.iter().map(|Segment { len, .. }| len).sum();
            assert_eq!(stored, entry.offsets.stored);
            assert_eq!(map.is_empty(), name == "hole");
            assert!(stored < 200_000);
        }
        // The segments lie end to end at the data's offset.
        let (entry, data) = find(&found, "s");
        let bytes = std::fs::read(temp.path().join("t.tar")).unwrap();
        let mut at = usize::try_from(entry.offsets.data).unwrap();
        for segment in entry.sparse.as_ref().unwrap() {
            let (from, len) = (
                usize::try_from(segment.offset).unwrap(),
                usize::try_from(segment.len).unwrap(),
            );
            assert_eq!(bytes[at..at + len], data[from..from + len]);
            at += len;
        }
        assert_eq!(find(&found, "after").1, b"after\n");
    }
}

#[test]
fn gnu_tar_lists_and_unpacks_what_we_write() {
    let temp = tempfile::tempdir().unwrap();
    let long = "n".repeat(90);
    let mut file = Entry::file(format!("{long}/{long}/{long}/f"), 4);
    (file.mode, file.uid, file.gid) = (0o4755, 5_000_000, 7);
    file.mtime = Time {
        secs: -2,
        nanos: 500_000_000,
    };
    file.uname = b"somebody".to_vec();
    file.xattrs = vec![(b"user.k".to_vec(), b"v\0\n".to_vec())];
    let mut device = Entry::new(Kind::Char, "dev");
    (device.major, device.minor) = (1, 3);
    let entries = [
        Entry::dir("d"),
        Entry::dir(format!("{long}/{long}/")),
        file.clone(),
        Entry::hard_link("hard", file.path),
        Entry::symlink("soft", "t".repeat(101)),
        device,
        Entry::new(Kind::Fifo, "fifo"),
        Entry::file(b"\xff\xfe".to_vec(), 0),
    ];
    let mut writer = Writer::new(Vec::new());
    for entry in &entries {
        let data: &[u8] = if entry.size > 0 { b"data" } else { b"" };
        writer.append(entry, data).unwrap();
    }
    std::fs::write(temp.path().join("t.tar"), writer.finish().unwrap()).unwrap();
    let list = shell("tar --numeric-owner --full-time -tvf t.tar", temp.path());
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), entries.len());
    assert_eq!(
        lines[0],
        "drwxr-xr-x 0/0               0 1970-01-01 00:00:00 d/"
    );
    assert!(
        lines[2].starts_with("-rwsr-xr-x 5000000/7         4 1969-12-31 23:59:5"),
        "{}",
        lines[2]
    );
    assert!(lines[3].contains(" link to nnn") && lines[4].contains(" -> ttt"));
    assert!(
        lines[5].starts_with("crw-r--r-- 0/0             1,3 "),
        "{}",
        lines[5]
    );
    // GNU tar prints negative fractions as if they were positive; it unpacks them right.
    shell(
        &format!(
            "mkdir out; tar -C out --xattrs --xattrs-include='*' --numeric-owner -xpf t.tar
             cmp out/hard out/{long}/{long}/{long}/f; test \"$(stat -c %h:%a:%u:%Y out/hard)\" = 2:4755:5000000:-2
             getfattr -n user.k -e hex out/hard | grep -q 0x76000a; test -p out/fifo; test -c out/dev"
        ),
        temp.path(),
    );
}

#[test]
fn the_tools_streams_are_decompressed_and_ours_by_the_tools() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    shell(
        "seq 200000 > plain; gzip -nk plain; zstd -q plain; zstd -q --ultra -22 --long=27 plain -o long.zst
         (gzip -c plain; gzip -1c plain) > two.gz; (zstd -qc plain; zstd -q -19 -c plain) > two.zst",
        dir,
    );
    let plain = std::fs::read(dir.join("plain")).unwrap();
    let twice = [&plain[..], &plain].concat();
    for (name, expected) in [
        ("plain", &plain),
        ("plain.gz", &plain),
        ("plain.zst", &plain),
        ("long.zst", &plain),
        ("two.gz", &twice),
        ("two.zst", &twice),
    ] {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let mut out = Vec::new();
        codec::decoder(codec::detect(&bytes), bytes.as_slice())
            .unwrap()
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == *expected, "{name}");
    }
    for (compression, name, tool) in [
        (codec::Compression::Gzip, "ours.gz", "gzip"),
        (codec::Compression::Zstd, "ours.zst", "zstd -q"),
    ] {
        let file = std::fs::File::create(dir.join(name)).unwrap();
        let mut encoder = codec::encoder(compression, None, file).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap();
        shell(
            &format!("{tool} -t {name}; {tool} -dc {name} | cmp - plain"),
            dir,
        );
    }
}
