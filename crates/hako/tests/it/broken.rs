//! Images that are not what they should be: one clear line, and a store that
//! is as before.

use std::path::{Path, PathBuf};

use crate::support::{World, layout, must};

/// A copy of the layout, to be broken.
fn copy(world: &World) -> PathBuf {
    let to = world.path("copy");
    must(
        "cp",
        &["-r", layout().to_str().unwrap(), to.to_str().unwrap()],
    );
    to
}

fn largest_blob(layout: &Path) -> PathBuf {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .flatten();
    blobs
        .max_by_key(|e| e.metadata().unwrap().len())
        .unwrap()
        .path()
}

fn refused(world: &World, image: &str, words: &str) {
    let err = world.fails(&["run", "--rm", "--network", "none", image, "true"], 125);
    let last = err
        .lines()
        .rfind(|line| !line.starts_with("hint: "))
        .unwrap();
    assert!(
        last.starts_with("hako: ") && last.contains(words),
        "{image}: {err}"
    );
    assert_eq!(world.ok(&["images", "-aq"]), "");
    world.assert_empty();
}

#[test]
fn what_is_not_there() {
    let world = World::new();
    refused(&world, "oci:/nowhere/at/all", "/nowhere/at/all");
    refused(&world, &format!("oci:{}:nope", layout().display()), "nope");
    refused(&world, "docker-daemon:x", "not supported");
    refused(&world, "https://example.test/x", "http");
    refused(&world, "127.0.0.1:1/x", "127.0.0.1:1");
}

#[test]
fn blobs_that_were_changed() {
    let world = World::new();
    let layout = copy(&world);
    let image = format!("oci:{}:bb", layout.display());
    let blob = largest_blob(&layout);
    let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = std::fs::read(&blob).unwrap();
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&blob, &changed).unwrap();
    refused(&world, &image, &name[..12]);
    std::fs::write(&blob, &bytes[..middle]).unwrap();
    refused(&world, &image, &name[..12]);
    std::fs::remove_file(&blob).unwrap();
    refused(&world, &image, &name[..12]);
    std::fs::write(layout.join("index.json"), "{").unwrap();
    refused(&world, &image, "cannot be read");
    // Put right, it works.
    std::fs::write(&blob, &bytes).unwrap();
    must(
        "cp",
        &[
            crate::support::layout()
                .join("index.json")
                .to_str()
                .unwrap(),
            layout.to_str().unwrap(),
        ],
    );
    world.ok(&["run", "--rm", "--network", "none", &image, "true"]);
}

/// A registry that gives one answer to everything.
fn registry(answer: &'static str) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let head = format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
            // The client may have gone.
            let _ = stream.write_all(head.as_bytes());
        }
    });
    host
}

#[test]
fn registries_that_refuse() {
    let answers = [
        (
            "401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n",
            "unauthorized (401)",
            "hint: credentials are read from",
        ),
        ("403 No\r\n", "(403)", "hint: credentials are read from"),
        ("404 No\r\n", "not found (404)", ""),
    ];
    let world = World::new();
    for (answer, words, hint) in answers {
        let name = format!("{}/some/thing:1", registry(answer));
        refused(&world, &name, words);
        let err = world.fails(&["pull", &name], 125);
        assert!(err.contains(&format!("pull {name}: ")), "{err}");
        assert!(err.contains(hint), "{err}");
    }
    let err = world.fails(&["rmi", "nope"], 125);
    assert!(
        err.contains("hint: 'hako images' lists the images"),
        "{err}"
    );
}
