//! Every format that a registry gives, filled by skopeo, umoci and buildah.

use std::path::Path;

use hako_distribution::hash::sha256;
use hako_spec::digest::Digest;
use hako_store::settings::Originals;
use hako_transfer::{Event, Options, When};

use crate::debian::Registry;
use crate::world::{World, layout, oci, run, skopeo_copy, skopeo_digest, skopeo_id, text};

fn keep() -> Options {
    Options {
        originals: Some(Originals::Keep),
        ..Options::default()
    }
}

/// Compares every blob in the store with what skopeo copies from the registry.
async fn same_as_skopeo(world: &World, name: &str) {
    let pulled = world.pull_with(name, &keep()).await.unwrap();
    let remote = format!("docker://{name}");
    assert_eq!(pulled.target.digest.to_string(), skopeo_digest(&remote));
    assert_eq!(pulled.image.id.to_string(), skopeo_id(&remote));
    let copy = world.path(&format!("copy-{}", pulled.manifest.short()));
    skopeo_copy(&[], &remote, &format!("dir:{}", text(&copy)));
    let manifest = std::fs::read(copy.join("manifest.json")).unwrap();
    assert_eq!(sha256(&manifest), pulled.manifest);
    let mut blobs = 0;
    for layer in &pulled.image.layers {
        let digest = &layer.descriptor.digest;
        let theirs = std::fs::read(copy.join(digest.hex())).unwrap();
        assert!(
            world.store.blobs().read(digest, 1 << 30).unwrap() == theirs,
            "{digest}"
        );
        blobs += 1;
    }
    assert_eq!(blobs, 2);
    assert_eq!(world.file(&pulled, "etc/first").unwrap(), b"first layer\n");
    assert_eq!(
        world.file(&pulled, "etc/second").unwrap(),
        b"second layer\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_and_oci_gzip_zstd_and_plain() {
    let world = World::new();
    let source = oci(&layout(world.dir.path()), "1");
    let plain = format!("dir:{}", text(&world.path("plain")));
    skopeo_copy(&["--dest-decompress"], &source, &plain);
    let images: [(&str, &[&str], &str, &str); 5] = [
        (
            "docker",
            &["--format", "v2s2"],
            &source,
            "docker.image.rootfs.diff.tar.gzip",
        ),
        (
            "oci",
            &["--format", "oci"],
            &source,
            "image.layer.v1.tar+gzip",
        ),
        (
            "zstd",
            &["--format", "oci", "--dest-compress-format", "zstd"],
            &plain,
            "image.layer.v1.tar+zstd",
        ),
        (
            "plain",
            &["--preserve-digests"],
            &plain,
            "image.layer.v1.tar",
        ),
        ("dockerplain", &["--format", "v2s2"], &plain, "docker"),
    ];
    for (tag, flags, from, kind) in images {
        // A registry for each: skopeo knows which blobs a registry has, and
        // would take one of another compression instead.
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path(), None);
        let name = format!("{}/formats:{tag}", registry.host);
        skopeo_copy(flags, from, &format!("docker://{name}"));
        same_as_skopeo(&world, &name).await;
        let kinds: Vec<String> = world
            .store
            .images()
            .resolve(
                Some(crate::world::OWNER),
                &name,
                &hako_spec::platform::Platform::host(),
            )
            .unwrap()
            .image
            .layers
            .iter()
            .map(|layer| layer.descriptor.media_type.clone())
            .collect();
        assert!(
            kinds.iter().all(|found| found.contains(kind)),
            "{tag}: {kinds:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_buildah() {
    let world = World::new();
    let registry = Registry::start(world.dir.path(), None);
    let root = world.path("buildah");
    let common = [
        "--root",
        text(&root),
        "--runroot",
        text(&world.path("buildah-run")),
        "--storage-driver",
        "vfs",
    ]
    .map(str::to_owned);
    let buildah = |arguments: &[&str]| {
        let all: Vec<&str> = common
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        run("buildah", &all).trim().to_owned()
    };
    std::fs::write(world.path("hello"), "built\n").unwrap();
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", &container, text(&world.path("hello")), "/usr/hello"]);
    buildah(&["config", "--cmd", "/usr/hello", &container]);
    let policy = world.path("policy.json");
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let name = format!("{}/built:1", registry.host);
    buildah(&[
        "commit",
        "--signature-policy",
        text(&policy),
        "--tls-verify=false",
        "-q",
        &container,
        &format!("docker://{name}"),
    ]);
    let pulled = world.pull(&name).await.unwrap();
    assert_eq!(
        pulled.image.id.to_string(),
        skopeo_id(&format!("docker://{name}"))
    );
    assert_eq!(world.file(&pulled, "usr/hello").unwrap(), b"built\n");
}

/// Writes an index over copies of image `1` for two platforms into the layout,
/// under the tag `multi`.
fn multi_platform(layout: &Path) -> Digest {
    let image = |tag: &str| format!("{}:{tag}", text(layout));
    run("umoci", &["tag", "--image", &image("1"), "arm"]);
    run(
        "umoci",
        &[
            "config",
            "--image",
            &image("arm"),
            "--architecture",
            "arm64",
        ],
    );
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let mut entries = Vec::new();
    for (tag, architecture) in [("1", "amd64"), ("arm", "arm64")] {
        let entry = index["manifests"].as_array().unwrap().iter().find(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str() == Some(tag)
        });
        let entry = entry.unwrap();
        entries.push(serde_json::json!({
            "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let multi = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
    let bytes = serde_json::to_vec(&multi).unwrap();
    let digest = sha256(&bytes);
    std::fs::write(layout.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    index["manifests"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({
            "mediaType": kind, "digest": digest.as_str(), "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": "multi"},
        }));
    std::fs::write(
        layout.join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_for_the_platform() {
    let world = World::new();
    let registry = Registry::start(world.dir.path(), None);
    let layout = layout(world.dir.path());
    let digest = multi_platform(&layout);
    let name = format!("{}/multi:1", registry.host);
    skopeo_copy(
        &["--all", "--preserve-digests"],
        &oci(&layout, "multi"),
        &format!("docker://{name}"),
    );
    let mut ids = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}").parse().unwrap();
        let options = Options {
            platform: Some(platform),
            ..Options::default()
        };
        for source in [name.clone(), oci(&layout, "multi")] {
            let pulled = world.pull_with(&source, &options).await.unwrap();
            assert_eq!(pulled.target.digest, digest, "{source}");
            assert_eq!(pulled.image.platform.architecture, architecture);
            ids.push(pulled.image.id.to_string());
        }
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    let platform = Some("linux/s390x".parse().unwrap());
    let options = Options {
        platform,
        ..Options::default()
    };
    let error = world.pull_with(&name, &options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{name}: no image for linux/s390x among linux/amd64, linux/arm64")
    );
    // One image for another machine is not taken for this one's.
    let error = world.pull(&oci(&layout, "arm")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("no image for linux/amd64 among linux/arm64"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_blobs_over_several_pulls() {
    let world = World::new();
    let registry = Registry::start(world.dir.path(), None);
    let layout = layout(world.dir.path());
    let name = format!("{}/app:1", registry.host);
    let remote = format!("docker://{name}");
    skopeo_copy(&["--format", "oci"], &oci(&layout, "1"), &remote);

    let never = Options {
        when: When::Never,
        ..Options::default()
    };
    let missing = Options {
        when: When::Missing,
        ..Options::default()
    };
    let error = world.pull_with(&name, &never).await.unwrap_err();
    assert!(error.to_string().contains("not in the store"), "{error}");

    let first = world.pull(&name).await.unwrap();
    assert!(first.is_new);
    assert_eq!(
        world.log.count(|event| matches!(event, Event::Done { .. })),
        2
    );
    assert!(world.log.bytes() > 1 << 20);
    for layer in &first.image.layers {
        let there = world
            .store
            .blobs()
            .contains(&layer.descriptor.digest)
            .unwrap();
        assert!(!there, "originals are discarded");
    }
    world.assert_clean(&[&name]);

    // Again: nothing is downloaded.
    let again = world.pull(&name).await.unwrap();
    assert_eq!((again.is_new, &again.image.id), (false, &first.image.id));
    assert_eq!(
        world
            .log
            .count(|event| matches!(event, Event::Exists { .. })),
        2
    );
    assert_eq!(world.log.bytes(), 0);
    for options in [&never, &missing] {
        let found = world.pull_with(&name, options).await.unwrap();
        assert_eq!((found.is_new, &found.layers), (false, &first.layers));
        assert_eq!(
            world.log.0.lock().unwrap().len(),
            0,
            "no registry was asked"
        );
    }
    // Kept originals are brought although the layers are unpacked.
    let kept = world.pull_with(&name, &keep()).await.unwrap();
    for layer in &kept.image.layers {
        assert!(
            world
                .store
                .blobs()
                .contains(&layer.descriptor.digest)
                .unwrap()
        );
    }

    // The tag moves.
    run(
        "umoci",
        &[
            "config",
            "--image",
            &format!("{}:1", text(&layout)),
            "--config.cmd",
            "/new",
        ],
    );
    skopeo_copy(&["--format", "oci"], &oci(&layout, "1"), &remote);
    assert_eq!(
        world.pull_with(&name, &missing).await.unwrap().image.id,
        first.image.id
    );
    let moved = world.pull(&name).await.unwrap();
    assert_ne!(moved.image.id, first.image.id);
    assert_eq!(moved.layers, first.layers);
    assert_eq!(world.log.bytes(), 0, "the layers are the same");
    world.assert_clean(&[&name]);
    // The old one is still there by digest.
    let digest = format!("{}/app@{}", registry.host, first.manifest);
    assert_eq!(world.pull(&digest).await.unwrap().image.id, first.image.id);

    drop(registry);
    assert!(world.pull_with(&name, &missing).await.is_ok());
    let error = world.pull(&name).await.unwrap_err();
    assert_eq!(
        error.registry_kind(),
        Some(hako_distribution::Kind::Network),
        "{error}"
    );
    assert!(
        world
            .store
            .names()
            .get(crate::world::OWNER, &name)
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords() {
    let world = World::new();
    // perl -e 'print crypt("hunter2", q($2y$05$abcdefghijklmnopqrstuu))'
    let users = "user:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";
    let registry = Registry::start(world.dir.path(), Some(users));
    let name = format!("{}/secret/app:1", registry.host);
    let layout = layout(world.dir.path());
    skopeo_copy(
        &["--dest-creds", "user:hunter2"],
        &oci(&layout, "1"),
        &format!("docker://{name}"),
    );
    let error = world.pull(&name).await.unwrap_err();
    assert_eq!(
        error.registry_kind(),
        Some(hako_distribution::Kind::Unauthorized)
    );
    assert!(
        error.to_string().contains("authentication required (401)"),
        "{error}"
    );
    let wrong = World::with(crate::world::password(&registry.host, "user", "guess"));
    let error = wrong.pull(&name).await.unwrap_err();
    assert_eq!(
        error.registry_kind(),
        Some(hako_distribution::Kind::Unauthorized),
        "{error}"
    );
    let right = World::with(crate::world::password(&registry.host, "user", "hunter2"));
    right.pull(&name).await.unwrap();
    right.assert_clean(&[&name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pulls_of_one_image_at_once() {
    let world = World::new();
    let registry = Registry::start(world.dir.path(), None);
    let layout = layout(world.dir.path());
    let name = format!("{}/app:1", registry.host);
    skopeo_copy(&[], &oci(&layout, "1"), &format!("docker://{name}"));
    let all = (0..8).map(|_| world.pull(&name));
    let pulled = futures(all).await;
    let first = pulled[0].as_ref().unwrap();
    for one in &pulled {
        assert_eq!(one.as_ref().unwrap().layers, first.layers);
    }
    world.assert_clean(&[&name]);
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}
