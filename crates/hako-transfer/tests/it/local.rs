//! Layouts, archives and directories that peers wrote, and hostile ones.

use std::path::Path;

use hako_distribution::hash::sha256;
use hako_tar::{Entry, Writer};

use crate::world::{World, layout, oci, run, skopeo_copy, skopeo_id, text};

#[tokio::test(flavor = "multi_thread")]
async fn one_image_in_every_wrapping() {
    let world = World::new();
    let layout = layout(world.dir.path());
    let source = oci(&layout, "1");
    let id = skopeo_id(&source);
    let path = |name: &str| text(&world.path(name)).to_owned();
    let made = [
        format!("oci-archive:{}:1", path("a.tar")),
        format!("dir:{}", path("d")),
        format!("docker-archive:{}:r.example/app:1", path("docker.tar")),
    ];
    for to in &made {
        skopeo_copy(&[], &source, to);
    }
    run("gzip", &["-k", &path("docker.tar")]);
    let mut sources = vec![source];
    sources.extend(made);
    sources.push(format!("docker-archive:{}", path("docker.tar")));
    sources.push(format!("docker-archive:{}", path("docker.tar.gz")));
    sources.push(format!("oci-archive:{}", path("a.tar")));
    sources.push(format!("oci:{}", text(&layout)));
    for source in &sources {
        let fresh = World::new();
        let pulled = fresh
            .pull(source)
            .await
            .unwrap_or_else(|error| panic!("{source}: {error}"));
        // Docker's config differs from OCI's, and so does the id.
        if source.starts_with("docker-archive:") {
            let config = skopeo_id(&format!("docker-archive:{}", path("docker.tar")));
            assert_eq!(pulled.image.id.to_string(), config, "{source}");
        } else {
            assert_eq!(pulled.image.id.to_string(), id, "{source}");
        }
        assert_eq!(
            fresh.file(&pulled, "etc/second").unwrap(),
            b"second layer\n",
            "{source}"
        );
        assert_eq!(pulled.names.len(), 1);
        fresh.assert_clean(&[&pulled.names[0].to_string()]);
        if source.starts_with("docker-archive:") {
            assert_eq!(pulled.names[0].to_string(), "r.example/app:1");
        }
        // Unpacked straight from the source: no layer was stored.
        let layers = pulled.image.layers.iter();
        let stored = layers.filter(|l| fresh.store.blobs().contains(&l.descriptor.digest).unwrap());
        assert_eq!(stored.count(), 0, "{source}");
        assert!(!fresh.pull(source).await.unwrap().is_new, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_or_image_that_is_not_there() {
    let world = World::new();
    let layout = layout(world.dir.path());
    run(
        "umoci",
        &["tag", "--image", &format!("{}:1", text(&layout)), "2"],
    );
    for (source, want) in [
        (oci(&layout, "3"), r#"no image "3"; it has 1, 2"#),
        (
            format!("oci:{}", text(&layout)),
            "which image of the layout? it has 1, 2",
        ),
        (
            format!("oci:{}/none", text(&layout)),
            "cannot read the directory",
        ),
        (
            format!("oci:{}", text(world.dir.path())),
            "cannot read oci-layout",
        ),
        (
            format!("dir:{}", text(&layout)),
            "cannot read manifest.json",
        ),
        (
            format!("docker-archive:{}/index.json", text(&layout)),
            "not a readable archive",
        ),
    ] {
        let error = world.pull(&source).await.unwrap_err().to_string();
        assert!(error.contains(want), "{source}: {error}");
    }
    world.assert_clean(&[]);
}

/// The paths of the layers' blobs.
fn layer_files(layout: &Path) -> Vec<std::path::PathBuf> {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut layers: Vec<_> = blobs
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]))
        .collect();
    layers.sort();
    layers
}

/// Changes a layer's file; the other path is for what lies outside.
type Tamper = fn(&Path, &Path);

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_that_was_tampered_with() {
    let tamper: [(&str, Tamper); 5] = [
        ("has the digest", |layer, _| {
            let mut bytes = std::fs::read(layer).unwrap();
            // A byte that gzip does not look at: the time in its header.
            bytes[4] ^= 0xff;
            std::fs::write(layer, bytes).unwrap();
        }),
        ("instead of", |layer, _| {
            let bytes = std::fs::read(layer).unwrap();
            std::fs::write(layer, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("more than", |layer, _| {
            let mut bytes = std::fs::read(layer).unwrap();
            bytes.push(0);
            std::fs::write(layer, bytes).unwrap();
        }),
        ("cannot read sha256", |layer, dir| {
            // The right bytes, but outside of the layout.
            let outside = dir.join("outside");
            std::fs::rename(layer, &outside).unwrap();
            std::os::unix::fs::symlink(&outside, layer).unwrap();
        }),
        ("cannot read blobs/sha256", |layer, _| {
            std::fs::remove_file(layer).unwrap();
        }),
    ];
    for (want, tamper) in tamper {
        let world = World::new();
        let layout = layout(world.dir.path());
        tamper(&layer_files(&layout)[0], world.dir.path());
        let error = world.pull(&oci(&layout, "1")).await.unwrap_err();
        let text = chain(&error);
        let want = if want == "cannot read sha256" {
            "cannot read blobs/sha256"
        } else {
            want
        };
        assert!(text.contains(want), "{want}: {text}");
        world.assert_clean(&[]);
    }
}

/// The error and all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn archive(members: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in members {
        writer.append(entry, *data).unwrap();
    }
    writer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_archives_that_reach_out() {
    let layer = archive(&[(Entry::file("f", 1), b"x")]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        sha256(&layer)
    );
    let config = config.as_bytes();
    let good = |layer: &str| format!(r#"[{{"Config":"c.json","Layers":["{layer}"]}}]"#);
    let named = format!(r#"[{{"Config":"{}.json","Layers":[]}}]"#, "a".repeat(64));
    let cases: Vec<(&str, String, Entry)> = vec![
        (
            "",
            good("l/layer.tar"),
            Entry::file("l/layer.tar", layer.len() as u64),
        ),
        (
            "../layer.tar",
            good("../layer.tar"),
            Entry::file("../layer.tar", layer.len() as u64),
        ),
        (
            "/etc/passwd",
            good("/etc/passwd"),
            Entry::file("l", layer.len() as u64),
        ),
        (
            "cannot read l",
            good("l"),
            Entry::symlink("l", "/etc/passwd"),
        ),
        (
            "cannot read l",
            good("l"),
            Entry::symlink("l", "../../etc/passwd"),
        ),
        ("cannot read l", good("l"), Entry::dir("l")),
        (
            "has the digest",
            named,
            Entry::file("l", layer.len() as u64),
        ),
        (
            "manifest.json",
            "{}".to_owned(),
            Entry::file("l", layer.len() as u64),
        ),
        (
            "no image",
            "[]".to_owned(),
            Entry::file("l", layer.len() as u64),
        ),
    ];
    for (want, manifest, entry) in cases {
        let world = World::new();
        let name = format!("{}.json", "a".repeat(64));
        let data: &[u8] = if entry.size > 0 { &layer } else { b"" };
        let bytes = archive(&[
            (entry, data),
            (Entry::file("c.json", config.len() as u64), config),
            (Entry::file(name, config.len() as u64), config),
            (
                Entry::file("manifest.json", manifest.len() as u64),
                manifest.as_bytes(),
            ),
        ]);
        let path = world.path("evil.tar");
        std::fs::write(&path, bytes).unwrap();
        let result = world.pull(&format!("docker-archive:{}", text(&path))).await;
        if want.is_empty() {
            let pulled = result.unwrap();
            assert_eq!(pulled.image.id, sha256(config));
            assert_eq!(pulled.names[0].to_string(), "localhost/evil:latest");
            assert_eq!(world.file(&pulled, "f").unwrap(), b"x");
        } else {
            let error = chain(&result.unwrap_err());
            assert!(error.contains(want), "{want}: {error}");
            world.assert_clean(&[]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_asked_first() {
    let world = World::new();
    let layout = layout(world.dir.path());
    let policy = world.path("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"reject"}]}"#).unwrap();
    let mut context = world.context.clone();
    context.policy = hako_transfer::Policy::read(&policy).unwrap();
    let source = hako_transfer::Source::parse(&oci(&layout, "1"), &Default::default()).unwrap();
    let error = hako_transfer::pull(&source, &context, &Default::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("refused by") && error.contains("rejected"),
        "{error}"
    );
    world.assert_clean(&[]);
}
