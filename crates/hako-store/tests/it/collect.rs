use std::time::Duration;

use hako_store::check::{Options as Check, Problem};
use hako_store::gc::{Collector, Condemned, Live, Options};
use hako_store::{Hold, Ingest, Owner, Store};

use crate::fixture::{Guard, ME, child, digest, errand, image, index, now_gc, store};

#[test]
fn what_names_and_leases_reach_stays() {
    let (_dir, store) = store();
    let (named, named_id) = image(&store, "named", "linux/amd64");
    let (held, held_id) = image(&store, "held", "linux/amd64");
    let (dead, dead_id) = image(&store, "dead", "linux/amd64");
    let all = index(&store, vec![named]);
    store.names().set(ME, "localhost/a:1", &all).unwrap();
    store
        .leases()
        .hold(ME, "container", "c1", &[Hold::Blob(held_id.clone())])
        .unwrap();
    let loose = store.blobs().put(b"loose").unwrap();

    let dry = store
        .gc(
            &Options {
                dry_run: true,
                ..now_gc()
            },
            &[],
        )
        .unwrap();
    assert!(store.blobs().contains(&loose).unwrap());
    let freed = store.gc(&now_gc(), &[]).unwrap();
    assert_eq!((&dry.blobs, &dry.images), (&freed.blobs, &freed.images));
    // Manifest, config and layer of the dead image, and the loose blob.
    assert_eq!(freed.blobs.len(), 4, "{freed:?}");
    assert_eq!(freed.images, std::slice::from_ref(&dead_id));
    assert!(freed.bytes > 0);
    assert!(!store.blobs().contains(&dead.digest).unwrap());
    for id in [&named_id, &held_id] {
        let image = store.images().get(id).unwrap().unwrap();
        assert!(store.blobs().contains(id).unwrap());
        assert!(
            store
                .blobs()
                .contains(&image.layers[0].descriptor.digest)
                .unwrap()
        );
    }
    assert!(store.blobs().contains(&held.digest).unwrap());
    assert!(
        store
            .check(Check {
                deep: true,
                repair: false
            })
            .unwrap()
            .is_clean()
    );

    assert!(store.leases().release(ME, "container", "c1").unwrap());
    assert!(!store.leases().release(ME, "container", "c1").unwrap());
    store.names().remove(ME, "localhost/a:1").unwrap();
    let freed = store.gc(&now_gc(), &[]).unwrap();
    assert_eq!((freed.blobs.len(), freed.images.len()), (7, 2));
    assert!(store.blobs().list().unwrap().is_empty());
    assert_eq!(
        store.gc(&now_gc(), &[]).unwrap(),
        hako_store::gc::Freed::default()
    );
}

#[test]
fn the_young_stay() {
    let (_dir, store) = store();
    let loose = store.blobs().put(b"loose").unwrap();
    image(&store, "young", "linux/amd64");
    let freed = store.gc(&Options::default(), &[]).unwrap();
    assert_eq!(freed, hako_store::gc::Freed::default());
    assert!(store.blobs().contains(&loose).unwrap());
}

#[test]
fn a_lease_ends_with_its_value() {
    let (_dir, store) = store();
    let lease = store.leases().temporary(ME, "pull").unwrap();
    let loose = store.blobs().put(b"loose").unwrap();
    lease
        .hold(&[Hold::Blob(loose), Hold::Layer("x".to_owned())])
        .unwrap();
    let listed = store.leases().list(Some(ME)).unwrap();
    assert!(listed[0].temporary && listed[0].holds.len() == 2);
    assert!(store.leases().list(Some(Owner::Cri)).unwrap().is_empty());
    assert!(store.gc(&now_gc(), &[]).unwrap().blobs.is_empty());
    drop(lease);
    assert_eq!(store.gc(&now_gc(), &[]).unwrap().blobs.len(), 1);
    assert_eq!(std::fs::read_dir(store.path("leases")).unwrap().count(), 0);
}

#[test]
fn a_lease_comes_and_goes_with_a_callers_transaction() {
    use hako_store::{Error, lease};
    let (_dir, store) = store();
    let held = [Hold::Layer("x".to_owned())];
    store.leases().hold(ME, "container", "c1", &held).unwrap();
    let ids = || -> Vec<String> {
        let listed = store.leases().list(None).unwrap();
        listed.into_iter().map(|lease| lease.id).collect()
    };
    let refused = store.database().write(|tx| {
        lease::hold(tx, ME, "container", "c2", &held)?;
        assert!(lease::release(tx, ME, "container", "c1")?);
        lease::hold(tx, ME, "container", "", &held)
    });
    assert!(matches!(refused, Err(Error::Text { .. })));
    assert_eq!(ids(), ["c1"], "nothing of it has happened");
    let done = store.database().write(|tx| {
        lease::hold(tx, ME, "container", "c2", &held)?;
        lease::release(tx, ME, "container", "c1")
    });
    assert!(done.unwrap());
    assert_eq!(ids(), ["c2"]);
}

#[test]
fn a_lease_dies_with_its_process() {
    let (_dir, store) = store();
    let holder = Guard(child("collect::errand_hold", store.root(), ""));
    let loose = digest(b"held by a child");
    let patience = std::time::Instant::now();
    while store
        .leases()
        .list(None)
        .unwrap()
        .iter()
        .all(|lease| lease.holds.is_empty())
    {
        assert!(patience.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    store.blobs().put(b"held by a child").unwrap();
    assert!(store.gc(&now_gc(), &[]).unwrap().blobs.is_empty());
    drop(holder);
    let freed = store.gc(&now_gc(), &[]).unwrap();
    assert_eq!((freed.leases, freed.blobs.len()), (1, 1));
    assert!(!store.blobs().contains(&loose).unwrap());
}

#[test]
fn errand_hold() {
    let Some((store, _)) = errand() else { return };
    let lease = store.leases().temporary(ME, "pull").unwrap();
    lease
        .hold(&[Hold::Blob(digest(b"held by a child"))])
        .unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn unfinished_downloads_go_when_nobody_writes_them() {
    let (_dir, store) = store();
    let Ingest::Writer(mut live) = store.blobs().writer(&digest(b"hello"), 5).unwrap() else {
        panic!()
    };
    live.write_bytes(b"hel").unwrap();
    assert_eq!(store.gc(&now_gc(), &[]).unwrap().unfinished, 0);
    drop(live);
    assert_eq!(
        store.gc(&Options::default(), &[]).unwrap().unfinished,
        0,
        "it can be resumed"
    );
    let freed = store.gc(&now_gc(), &[]).unwrap();
    assert_eq!((freed.unfinished, freed.bytes), (1, 3));
}

#[test]
fn collectors_take_part() {
    struct Layers(std::path::PathBuf);
    impl Collector for Layers {
        fn name(&self) -> &'static str {
            "layers"
        }
        fn condemn(
            &self,
            live: &Live,
            dry_run: bool,
        ) -> Result<Vec<Condemned>, Box<dyn std::error::Error + Send + Sync>> {
            assert!(live.layer("held") && !live.layer("dead"));
            assert_eq!(live.images.len(), 1);
            if !dry_run {
                std::fs::rename(self.0.join("dead"), self.0.join("trash"))?;
            }
            Ok(vec![Condemned {
                name: "dead".to_owned(),
                bytes: 9,
            }])
        }
        fn sweep(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Ok(std::fs::remove_file(self.0.join("trash"))?)
        }
    }
    let (dir, store) = store();
    let (manifest, _) = image(&store, "a", "linux/amd64");
    store.names().set(ME, "localhost/a:1", &manifest).unwrap();
    store
        .leases()
        .hold(ME, "mount", "m", &[Hold::Layer("held".to_owned())])
        .unwrap();
    std::fs::write(dir.path().join("dead"), "123456789").unwrap();
    let layers = Layers(dir.path().to_path_buf());
    let freed = store.gc(&now_gc(), &[&layers]).unwrap();
    assert_eq!(
        (freed.others.as_slice(), freed.bytes),
        (&[("dead".to_owned(), 9)][..], 9)
    );
    assert!(!dir.path().join("trash").exists());
    assert!(
        store.gc(&now_gc(), &[&layers]).is_err(),
        "its errors are told"
    );
}

/// Pullers hold and put blobs and set names while collectors without any grace
/// run: no name may ever lead to a missing blob.
#[test]
fn collections_beside_pulls() {
    let (_dir, store) = store();
    let pulls: Vec<_> = (0..3)
        .map(|n| child("collect::errand_pull", store.root(), &n.to_string()))
        .collect();
    let mut pulls: Vec<_> = pulls.into_iter().map(Some).collect();
    let mut collections = 0;
    while pulls.iter().any(Option::is_some) {
        store.gc(&now_gc(), &[]).unwrap();
        collections += 1;
        for pull in &mut pulls {
            if let Some(status) = pull.as_mut().and_then(|child| child.try_wait().unwrap()) {
                assert!(status.success());
                *pull = None;
            }
        }
    }
    assert!(collections > 3);
    let report = store
        .check(Check {
            deep: true,
            repair: false,
        })
        .unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.names, 3);
}

#[test]
fn errand_pull() {
    let Some((store, number)) = errand() else {
        return;
    };
    for round in 0..25 {
        pull(
            &store,
            &format!("{number}-{}", round % 3),
            &format!("localhost/{number}:1"),
        );
    }
}

/// As a pull does it: hold, look, write, record, name.
fn pull(store: &Store, seed: &str, name: &str) {
    let lease = store.leases().temporary(ME, "pull").unwrap();
    // The digests are known from outside in a real pull.
    let scratch = tempfile::tempdir().unwrap();
    let elsewhere = Store::open(&scratch.path().join("s")).unwrap();
    let (manifest, id) = image(&elsewhere, seed, "linux/amd64");
    let layer = elsewhere.images().get(&id).unwrap().unwrap().layers[0]
        .descriptor
        .digest
        .clone();
    let wanted = [manifest.digest.clone(), id, layer];
    lease.hold(&wanted.clone().map(Hold::Blob)).unwrap();
    for digest in wanted {
        if !store.blobs().contains(&digest).unwrap() {
            let bytes = elsewhere.blobs().read(&digest, 1 << 20).unwrap();
            assert_eq!(store.blobs().put(&bytes).unwrap(), digest);
        }
    }
    store.images().record(&manifest, 0).unwrap();
    store.names().set(ME, name, &manifest).unwrap();
}

#[test]
fn check_tells_what_is_wrong() {
    let (_dir, store) = store();
    let (one, one_id) = image(&store, "one", "linux/amd64");
    let (two, _) = image(&store, "two", "linux/amd64");
    store.names().set(ME, "localhost/one:1", &one).unwrap();
    store.names().set(ME, "localhost/two:1", &two).unwrap();
    let flat = Check {
        deep: false,
        repair: false,
    };
    assert!(store.check(flat).unwrap().problems.is_empty());

    let blob = |d: &hako_spec::digest::Digest| store.path("blobs/sha256").join(d.hex());
    let bytes = std::fs::read(blob(&one_id)).unwrap();
    std::fs::remove_file(blob(&one_id)).unwrap();
    std::fs::remove_file(blob(&two.digest)).unwrap();
    std::fs::write(blob(&two.digest), "short").unwrap();
    std::fs::write(store.path("blobs/sha256/README"), "").unwrap();
    std::fs::write(store.path("ingest/junk"), "").unwrap();
    std::fs::write(store.path("trash/left"), "").unwrap();
    let report = store.check(flat).unwrap();
    let count = |what: fn(&Problem) -> bool| report.problems.iter().filter(|p| what(p)).count();
    assert_eq!(
        count(|p| matches!(p, Problem::Missing { .. })),
        1,
        "{report:?}"
    );
    assert_eq!(count(|p| matches!(p, Problem::Size { actual: 5, .. })), 2);
    assert_eq!(
        count(|p| matches!(p, Problem::Stray { removed: false, .. })),
        3
    );
    assert!(!report.is_clean());
    assert!(report.problems.iter().all(|p| !p.to_string().is_empty()));

    store.blobs().put(&bytes).unwrap();
    store.names().remove(ME, "localhost/two:1").unwrap();
    store.gc(&now_gc(), &[]).unwrap();
    let fixed = store
        .check(Check {
            deep: true,
            repair: true,
        })
        .unwrap();
    assert!(fixed.is_clean(), "{fixed:?}");
    assert!(store.check(flat).unwrap().problems.is_empty());

    let mut rotten = bytes;
    rotten[0] ^= 1;
    std::fs::remove_file(blob(&one_id)).unwrap();
    std::fs::write(blob(&one_id), rotten).unwrap();
    assert!(
        store.check(flat).unwrap().is_clean(),
        "only a deep check reads"
    );
    let report = store
        .check(Check {
            deep: true,
            repair: false,
        })
        .unwrap();
    assert!(matches!(&report.problems[..], [Problem::Content { digest, .. }] if *digest == one_id));
}
