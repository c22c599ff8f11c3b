use hako_spec::image::{Descriptor, media_type};
use hako_spec::platform::Platform;
use hako_store::names::Filter;
use hako_store::{Error, Originals, Owner, Store};

use crate::fixture::{ME, digest, image, index, store};

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn resolve(store: &Store, text: &str) -> Result<hako_store::Resolved, Error> {
    store.images().resolve(Some(ME), text, &amd64())
}

#[test]
fn names_belong_to_owners() {
    let (_dir, store) = store();
    let (one, _) = image(&store, "one", "linux/amd64");
    let (two, _) = image(&store, "two", "linux/amd64");
    let name = "docker.io/library/debian:12";
    assert_eq!(store.names().set(ME, name, &one).unwrap(), None);
    assert_eq!(store.names().set(Owner::Cri, name, &two).unwrap(), None);
    let before = store.names().set(ME, name, &two).unwrap().unwrap();
    assert_eq!(before, one);
    assert_eq!(store.names().list(&Filter::default()).unwrap().len(), 2);
    let mine = Filter {
        owner: Some(ME),
        ..Filter::default()
    };
    assert_eq!(store.names().list(&mine).unwrap().len(), 1);
    let pattern = Filter {
        pattern: Some("*/debian:1*".to_owned()),
        ..Filter::default()
    };
    assert_eq!(store.names().list(&pattern).unwrap().len(), 2);
    let target = Filter {
        target: Some(one.digest),
        ..Filter::default()
    };
    assert_eq!(store.names().list(&target).unwrap().len(), 0);
    assert_eq!(store.names().remove(ME, name).unwrap(), Some(two.clone()));
    assert_eq!(store.names().remove(ME, name).unwrap(), None);
    assert_eq!(
        store.names().get(Owner::Cri, name).unwrap().unwrap().target,
        two
    );
    assert_eq!(store.images().list(Some(ME)).unwrap().len(), 0);
    assert_eq!(store.images().list(Some(Owner::Cri)).unwrap().len(), 1);
    assert_eq!(store.images().list(None).unwrap().len(), 2);
}

#[test]
fn a_name_needs_its_target() {
    let (_dir, store) = store();
    let gone = Descriptor::new(media_type::MANIFEST, digest(b"x"), 1);
    let error = store
        .names()
        .set(ME, "docker.io/library/x:1", &gone)
        .unwrap_err();
    assert!(matches!(error, Error::BlobUnknown(_)), "{error}");
    let (mut manifest, _) = image(&store, "one", "linux/amd64");
    manifest.size += 1;
    let error = store
        .names()
        .set(ME, "docker.io/library/x:1", &manifest)
        .unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    let blob = store.blobs().put(b"no manifest").unwrap();
    let blob = Descriptor::new(media_type::MANIFEST, blob, 11);
    let error = store
        .names()
        .set(ME, "docker.io/library/x:1", &blob)
        .unwrap_err();
    assert!(matches!(error, Error::Document { .. }), "{error}");
    assert!(store.names().list(&Filter::default()).unwrap().is_empty());
}

#[test]
fn what_a_user_types() {
    let (_dir, store) = store();
    let (one, id) = image(&store, "one", "linux/amd64");
    store
        .names()
        .set(ME, "docker.io/library/debian:latest", &one)
        .unwrap();
    for text in [
        "debian",
        "debian:latest",
        "library/debian",
        "docker.io/library/debian",
        &format!("debian@{}", one.digest),
        &format!("debian:anything@{}", one.digest),
        id.as_str(),
        id.hex(),
        id.short(),
        &format!("sha256:{}", &id.hex()[..9]),
        one.digest.as_str(),
    ] {
        let found = resolve(&store, text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(found.image.id, id, "{text}");
    }
    assert_eq!(resolve(&store, "debian").unwrap().name.unwrap().target, one);
    assert!(resolve(&store, id.short()).unwrap().name.is_none());
    for text in [
        "debian:12",
        "bebian",
        "",
        "zz",
        &"f".repeat(65),
        &format!("ubuntu@{}", one.digest),
    ] {
        let error = resolve(&store, text).unwrap_err();
        assert!(matches!(error, Error::ImageUnknown(_)), "{text}: {error}");
    }
    let theirs = store.images().resolve(Some(Owner::Cri), "debian", &amd64());
    assert!(matches!(theirs, Err(Error::ImageUnknown(_))));
    let theirs = store
        .images()
        .resolve(Some(Owner::Cri), id.as_str(), &amd64());
    assert!(matches!(theirs, Err(Error::ImageUnknown(_))));
    assert!(store.images().resolve(None, "debian", &amd64()).is_ok());
}

#[test]
fn a_local_build_is_found_by_its_short_name() {
    let (_dir, store) = store();
    let (local, id) = image(&store, "local", "linux/amd64");
    store
        .names()
        .set(ME, "localhost/app:latest", &local)
        .unwrap();
    assert_eq!(resolve(&store, "app").unwrap().image.id, id);
    assert_eq!(resolve(&store, "localhost/app").unwrap().image.id, id);
    assert!(resolve(&store, "docker.io/library/app").is_err());
    let (hub, hub_id) = image(&store, "hub", "linux/amd64");
    store
        .names()
        .set(ME, "docker.io/library/app:latest", &hub)
        .unwrap();
    assert_eq!(resolve(&store, "app").unwrap().image.id, hub_id);
}

#[test]
fn ids_that_start_alike_are_ambiguous() {
    let (_dir, store) = store();
    let mut ids = std::collections::BTreeMap::<char, usize>::new();
    for n in 0..17 {
        let (manifest, id) = image(&store, &n.to_string(), "linux/amd64");
        store
            .names()
            .set(ME, &format!("localhost/n{n}:1"), &manifest)
            .unwrap();
        *ids.entry(id.hex().chars().next().unwrap()).or_default() += 1;
    }
    let (start, count) = ids.into_iter().find(|(_, count)| *count > 1).unwrap();
    match resolve(&store, &start.to_string()) {
        Err(Error::Ambiguous { candidates, .. }) => assert_eq!(candidates.len(), count.min(9)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_platform_is_chosen_below_a_sparse_index() {
    let (_dir, store) = store();
    let (arm, arm_id) = image(&store, "arm", "linux/arm64");
    let (amd, amd_id) = image(&store, "amd", "linux/amd64");
    let mut absent = Descriptor::new(media_type::MANIFEST, digest(b"absent"), 6);
    absent.platform = Some("linux/s390x".parse().unwrap());
    let all = index(&store, vec![absent, arm.clone(), amd]);
    store
        .names()
        .set(ME, "docker.io/library/multi:latest", &all)
        .unwrap();
    assert_eq!(resolve(&store, "multi").unwrap().image.id, amd_id);
    let wanted = "linux/arm64/v8".parse().unwrap();
    assert_eq!(
        store
            .images()
            .resolve(None, "multi", &wanted)
            .unwrap()
            .image
            .id,
        arm_id
    );
    let wanted = "linux/riscv64".parse().unwrap();
    let error = store.images().resolve(None, "multi", &wanted).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("linux/amd64") && text.contains("not for linux/riscv64"),
        "{text}"
    );
    assert_eq!(store.images().below(&all.digest).unwrap().len(), 2);
    assert_eq!(
        store.images().by_manifest(&arm.digest).unwrap().unwrap().id,
        arm_id
    );
}

#[test]
fn an_index_that_holds_itself_ends() {
    let (_dir, store) = store();
    let (one, id) = image(&store, "one", "linux/amd64");
    let mut inner = index(&store, vec![one]);
    for _ in 0..50 {
        inner = index(&store, vec![inner.clone(), inner]);
    }
    store
        .names()
        .set(ME, "localhost/deep:latest", &inner)
        .unwrap();
    assert_eq!(resolve(&store, "localhost/deep").unwrap().image.id, id);
}

#[test]
fn a_config_that_does_not_fit_its_manifest_is_no_image() {
    let (_dir, store) = store();
    let (manifest, _) = image(&store, "one", "linux/amd64");
    let bytes = store.blobs().read(&manifest.digest, 1 << 20).unwrap();
    let mut document: hako_spec::image::Manifest = serde_json::from_slice(&bytes).unwrap();
    document.layers.push(document.layers[0].clone());
    let bytes = serde_json::to_vec(&document).unwrap();
    let wrong = store.blobs().put(&bytes).unwrap();
    let wrong = Descriptor::new(media_type::MANIFEST, wrong, bytes.len() as u64);
    let error = store.images().record(&wrong, 0).unwrap_err();
    assert!(
        error.to_string().contains("lists 1 layers, its manifest 2"),
        "{error}"
    );
}

#[test]
fn images_remember_their_manifests() {
    let (_dir, store) = store();
    let (manifest, id) = image(&store, "one", "linux/amd64");
    store.images().record(&manifest, 77).unwrap();
    let image = store.images().get(&id).unwrap().unwrap();
    assert_eq!(image.size, 77);
    assert_eq!(image.manifests, [manifest]);
    assert_eq!(image.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.diff_ids()[0], image.layers[0].descriptor.digest);
}

#[test]
fn settings_last() {
    let (_dir, store) = store();
    assert_eq!(store.settings().originals().unwrap(), Originals::Discard);
    store.settings().set_originals(Originals::Keep).unwrap();
    let again = Store::open(store.root()).unwrap();
    assert_eq!(again.settings().originals().unwrap(), Originals::Keep);
    again.settings().set("store.originals", "burn").unwrap();
    assert!(again.settings().originals().is_err());
}
