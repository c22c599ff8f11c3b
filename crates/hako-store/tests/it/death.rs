//! `kill -9` at any point leaves nothing that the next command does not repair
//! or ignore.

use std::time::{Duration, Instant};

use hako_store::check::Options as Check;
use hako_store::events::Event;
use hako_store::{Hold, Ingest};

use crate::fixture::{ME, child, digest, errand, image, now_gc, store};

#[test]
fn killed_at_random_points() {
    let (_dir, store) = store();
    let start = Instant::now();
    let mut kills = 0;
    while kills < 60 {
        let mut worker = child("death::errand_work", store.root(), &kills.to_string());
        // From before the store is open to well inside the loop.
        std::thread::sleep(Duration::from_micros((kills * 7919) % 60_000));
        worker.kill().unwrap();
        worker.wait().unwrap();
        kills += 1;
        let report = store
            .check(Check {
                deep: true,
                repair: true,
            })
            .unwrap();
        assert!(report.is_clean(), "after kill {kills}: {report:?}");
        if kills % 10 == 0 {
            store.gc(&now_gc(), &[]).unwrap();
        }
    }
    // The next command works.
    let (manifest, _) = image(&store, "after", "linux/amd64");
    store
        .names()
        .set(ME, "localhost/after:1", &manifest)
        .unwrap();
    let numbers: Vec<u64> = store
        .events()
        .reader(0)
        .unwrap()
        .read()
        .unwrap()
        .iter()
        .map(|e| e.sequence)
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    store.gc(&now_gc(), &[]).unwrap();
    assert_eq!(store.leases().list(None).unwrap().len(), 0);
    for dir in ["ingest", "trash", "leases"] {
        assert_eq!(
            std::fs::read_dir(store.path(dir)).unwrap().count(),
            0,
            "{dir}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn errand_work() {
    let Some((store, seed)) = errand() else {
        return;
    };
    for round in 0.. {
        let seed = format!("{seed}-{round}");
        let lease = store.leases().temporary(ME, "pull").unwrap();
        let bytes = seed.repeat(20_000).into_bytes();
        lease.hold(&[Hold::Blob(digest(&bytes))]).unwrap();
        if let Ingest::Writer(mut writer) = store
            .blobs()
            .writer(&digest(&bytes), bytes.len() as u64)
            .unwrap()
        {
            for part in bytes.chunks(30_000) {
                writer.write_bytes(part).unwrap();
            }
            writer.commit().unwrap();
        }
        store
            .blobs()
            .put_stream(&mut bytes.as_slice(), u64::MAX)
            .unwrap();
        let (manifest, _) = image(&store, &seed, "linux/amd64");
        store
            .names()
            .set(ME, &format!("localhost/{}:1", round % 4), &manifest)
            .unwrap();
        store
            .events()
            .append(&Event::new("image", "pull", &seed))
            .unwrap();
        drop(lease);
        if round % 3 == 2 {
            store.gc(&now_gc(), &[]).unwrap();
        }
    }
}
