//! Images from registries that mean harm. The store is as before afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use hako_distribution::hash::sha256;
use hako_distribution::registries::Registries;
use hako_spec::digest::Digest;
use hako_tar::{Entry, Writer};
use hako_transfer::{Event, Options, Source, pull};

use crate::local::chain;
use crate::server::{Ask, Body, Reply, Server};
use crate::world::World;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry in memory with one repository, `x`.
#[derive(Clone, Default)]
struct Registry {
    files: HashMap<String, (String, Vec<u8>)>,
}

impl Registry {
    fn blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let path = format!("/v2/x/blobs/{digest}");
        self.files.insert(
            path,
            ("application/octet-stream".to_owned(), bytes.to_vec()),
        );
        digest
    }

    fn manifest(&mut self, tag: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let kind = value["mediaType"].as_str().unwrap().to_owned();
        for name in [tag, digest.as_str()] {
            let path = format!("/v2/x/manifests/{name}");
            self.files.insert(path, (kind.clone(), bytes.to_vec()));
        }
        digest
    }

    fn answer(&self, ask: &Ask) -> Reply {
        let Some((kind, bytes)) = self.files.get(&ask.target) else {
            return Reply::new(404, "");
        };
        let reply = match ask.range() {
            Some(first) if first < bytes.len() => Reply::new(206, &bytes[first..]).with(
                "Content-Range",
                format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len()),
            ),
            Some(_) => Reply::new(416, ""),
            None => Reply::new(200, bytes.clone()),
        };
        reply
            .with("Content-Type", kind.clone())
            .with("Docker-Content-Digest", sha256(bytes).as_str())
    }

    fn start(self) -> Server {
        let shared = Arc::new(self);
        Server::start(move |ask| shared.answer(ask))
    }
}

fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    // The root's own entry makes the layer independent of those below.
    writer.append(&Entry::dir("./"), &b""[..]).unwrap();
    writer
        .append(&Entry::file(name, data.len() as u64), data)
        .unwrap();
    writer.finish().unwrap()
}

fn config(diff_ids: &[&Digest]) -> Vec<u8> {
    let ids: Vec<&str> = diff_ids.iter().map(|id| id.as_str()).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }))
    .unwrap()
}

fn descriptor(kind: &str, digest: &Digest, size: usize) -> serde_json::Value {
    serde_json::json!({"mediaType": kind, "digest": digest.as_str(), "size": size})
}

fn manifest(config: &[u8], layers: &[serde_json::Value]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &sha256(config), config.len()), "layers": layers,
    }))
    .unwrap()
}

fn index(entries: &[serde_json::Value]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": entries,
    }))
    .unwrap()
}

/// A good image of one layer.
fn good() -> (Registry, Vec<u8>) {
    let mut registry = Registry::default();
    let layer = tar("f", &vec![7; 300_000]);
    let digest = registry.blob(&layer);
    let config = config(&[&digest]);
    registry.blob(&config);
    registry.manifest(
        "1",
        &manifest(&config, &[descriptor(LAYER, &digest, layer.len())]),
    );
    (registry, layer)
}

/// The pull fails with this text and changes no name.
async fn refused(registry: Registry, want: &str) {
    let world = World::new();
    let server = registry.start();
    let name = format!("{}/x:1", server.host());
    let error = chain(&world.pull(&name).await.unwrap_err());
    assert!(error.contains(want), "{want:?}: {error}");
    world.assert_clean(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_image_for_comparison() {
    let world = World::new();
    let server = good().0.start();
    let name = format!("{}/x:1", server.host());
    let pulled = world.pull(&name).await.unwrap();
    assert_eq!(world.file(&pulled, "f").unwrap().len(), 300_000);
    world.assert_clean(&[&name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_not_what_they_are_called() {
    let (registry, layer) = good();
    let path = format!("/v2/x/blobs/{}", sha256(&layer));
    let with = |bytes: Vec<u8>| {
        let mut registry = registry.clone();
        registry.files.get_mut(&path).unwrap().1 = bytes;
        registry
    };
    let mut flipped = layer.clone();
    flipped[100_000] ^= 1;
    refused(with(flipped), "has the wrong content: its digest is").await;
    refused(with([&layer[..], b"x"].concat()), "longer than").await;
    refused(with(layer[..100_000].to_vec()), "ended after 100000 of").await;
    refused(with(Vec::new()), "ended after 0 of").await;
    let mut gone = registry.clone();
    gone.files.remove(&path);
    refused(gone, "not found (404)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_that_promise_other_layers() {
    let layer = tar("f", b"x");
    let other = sha256(b"other");
    for (diff_ids, want) in [
        (vec![&other], "diff id"),
        (vec![], "the manifest has 1 layers, the config 0"),
        (
            vec![&other, &other],
            "the manifest has 1 layers, the config 2",
        ),
    ] {
        let mut registry = Registry::default();
        let digest = registry.blob(&layer);
        let config = config(&diff_ids);
        registry.blob(&config);
        registry.manifest(
            "1",
            &manifest(&config, &[descriptor(LAYER, &digest, layer.len())]),
        );
        refused(registry, want).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_break_rules() {
    let layer = tar("f", b"x");
    let digest = sha256(&layer);
    let config_bytes = config(&[&digest]);
    let build = |layer_descriptor: serde_json::Value, config: &[u8]| {
        let mut registry = Registry::default();
        registry.blob(&layer);
        registry.blob(&config_bytes);
        registry.manifest("1", &manifest(config, &[layer_descriptor]));
        registry
    };
    let plain = descriptor(LAYER, &digest, layer.len());
    let strange = descriptor("application/x-evil", &digest, layer.len());
    refused(
        build(strange, &config_bytes),
        "unknown media type \"application/x-evil\"",
    )
    .await;
    let mut foreign = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        &digest,
        layer.len(),
    );
    foreign["urls"] = serde_json::json!(["http://169.254.169.254/layer"]);
    refused(
        build(foreign, &config_bytes),
        "http://169.254.169.254/layer",
    )
    .await;
    let larger = descriptor(LAYER, &digest, layer.len() + 1);
    refused(build(larger, &config_bytes), "ended after").await;
    let mut lying = plain.clone();
    lying["data"] = serde_json::json!("eA==");
    refused(build(lying, &config_bytes), "data").await;
    // A config that is not there, and one that is not a config.
    refused(build(plain.clone(), b"{}"), "not found (404)").await;
    let mut no_config = build(plain, b"[]");
    no_config.blob(b"[]");
    refused(no_config, "config").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_without_end() {
    let amd64 = |digest: &Digest, size: usize| {
        let mut entry = descriptor(INDEX, digest, size);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
        entry
    };
    // Nested too deep.
    let mut registry = good().0;
    let bottom = registry.files["/v2/x/manifests/1"].1.clone();
    let mut entry = descriptor(MANIFEST, &sha256(&bottom), bottom.len());
    let mut nested = Vec::new();
    for _ in 0..6 {
        nested.push(registry.clone());
        let bytes = index(&[entry]);
        let digest = registry.manifest("1", &bytes);
        entry = amd64(&digest, bytes.len());
    }
    refused(registry, "nested more than").await;
    let world = World::new();
    let server = nested.swap_remove(3).start();
    world.pull(&format!("{}/x:1", server.host())).await.unwrap();

    // An index cannot hold its own digest, but a registry can serve anything.
    let own = sha256(b"own");
    let mut registry = Registry::default();
    registry.manifest("1", &index(&[amd64(&own, 10)]));
    let bytes = registry.files["/v2/x/manifests/1"].clone();
    registry
        .files
        .insert(format!("/v2/x/manifests/{own}"), bytes);
    refused(registry, "content has digest").await;

    // Very many entries for others.
    let mut registry = Registry::default();
    let entries: Vec<_> = (0..10_000u32)
        .map(|number| {
            let mut entry = descriptor(MANIFEST, &sha256(&number.to_le_bytes()), 1);
            entry["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
            entry
        })
        .collect();
    registry.manifest("1", &index(&entries));
    refused(registry, "no image for linux/amd64 among linux/s390x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_the_registry_does_not_keep() {
    // Descriptor in an index with a wrong size for the manifest.
    let mut registry = good().0;
    let bottom = registry.files["/v2/x/manifests/1"].1.clone();
    registry.manifest(
        "1",
        &index(&[descriptor(MANIFEST, &sha256(&bottom), bottom.len() + 5)]),
    );
    refused(registry, "its descriptor says").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_download_goes_on_in_the_next_pull() {
    let (registry, layer) = good();
    let path = format!("/v2/x/blobs/{}", sha256(&layer));
    let (half, full) = (registry.clone(), registry);
    let broken = layer.clone();
    let first = Server::start(move |ask| {
        if ask.target == path {
            // Some bytes, and then it is down for good.
            return match ask.range() {
                None => {
                    Reply::new(200, "").body(Body::Lying(broken.len(), broken[..200_000].to_vec()))
                }
                Some(_) => Reply::new(404, ""),
            };
        }
        half.answer(ask)
    });
    let world = World::new();
    let error = world
        .pull(&format!("{}/x:1", first.host()))
        .await
        .unwrap_err();
    assert_eq!(
        error.registry_kind(),
        Some(hako_distribution::Kind::NotFound),
        "{error}"
    );
    let second = full.start();
    world.pull(&format!("{}/x:1", second.host())).await.unwrap();
    let ranges: Vec<usize> = second.seen().iter().filter_map(Ask::range).collect();
    assert_eq!(ranges, [200_000]);
    let resumed = |event: &Event| {
        matches!(
            event,
            Event::LayerStart {
                offset: 200_000,
                ..
            }
        )
    };
    assert_eq!(world.log.count(resumed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_beginning_from_a_former_pull_does_not_stay() {
    let (registry, layer) = good();
    let digest = sha256(&layer);
    let world = World::new();
    // What a former pull left is not what the layer begins with.
    if let hako_store::Ingest::Writer(mut writer) = world
        .store
        .blobs()
        .writer(&digest, layer.len() as u64)
        .unwrap()
    {
        writer.write_bytes(&[9; 1000]).unwrap();
    }
    let server = registry.start();
    world.pull(&format!("{}/x:1", server.host())).await.unwrap();
    assert_eq!(
        server
            .seen()
            .iter()
            .filter_map(Ask::range)
            .collect::<Vec<_>>(),
        [1000]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_comes_many_times() {
    let mut registry = Registry::default();
    let (one, two) = (tar("a", b"a"), tar("b", b"b"));
    let (first, second) = (registry.blob(&one), registry.blob(&two));
    let order = [&first, &second, &first, &first, &second, &first];
    let config = config(&order);
    registry.blob(&config);
    let layers: Vec<_> = order
        .iter()
        .map(|digest| {
            descriptor(
                LAYER,
                digest,
                if **digest == first {
                    one.len()
                } else {
                    two.len()
                },
            )
        })
        .collect();
    registry.manifest("1", &manifest(&config, &layers));
    for _ in 0..5 {
        let world = World::new();
        let server = registry.clone().start();
        let pulled = world.pull(&format!("{}/x:1", server.host())).await.unwrap();
        assert_eq!(pulled.layers.len(), 6);
        assert_eq!(pulled.layers[0], pulled.layers[2]);
        let blobs = server
            .seen()
            .iter()
            .filter(|ask| ask.target.contains(first.as_str()))
            .count();
        assert_eq!(blobs, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_between_head_and_get() {
    // HEAD tells a digest that the registry does not have any more.
    let registry = good().0;
    let server = Server::start(move |ask| {
        if ask.method == "HEAD" {
            return Reply::new(200, "")
                .with("Content-Type", MANIFEST)
                .with("Docker-Content-Digest", sha256(b"old").as_str());
        }
        registry.answer(ask)
    });
    let world = World::new();
    world.pull(&format!("{}/x:1", server.host())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_leaves_nobody_waiting() {
    let (registry, layer) = good();
    let path = format!("/v2/x/blobs/{}", sha256(&layer));
    let server = Server::start(move |ask| match ask.target == path {
        true => Reply::new(200, "").body(Body::Stall(layer.len(), layer[..1000].to_vec())),
        false => registry.answer(ask),
    });
    let world = World::new();
    let name = format!("{}/x:1", server.host());
    let source = Source::parse(&name, &Registries::default()).unwrap();
    let options = Options::default();
    let pull = pull(&source, &world.context, &options);
    let timeout = std::time::Duration::from_millis(700);
    assert!(tokio::time::timeout(timeout, pull).await.is_err());
    world.assert_clean(&[]);
}
