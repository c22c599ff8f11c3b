//! `kill -9` at any point leaves nothing that the next command does not repair
//! or ignore.

use std::time::Duration;

use hako_store::Store;
use hako_store::check::{Options as Check, Problem};

use crate::fixture::{Item, child, dir, errand, file, home, leftovers, open, tar, unpack};

fn layers(seed: u64) -> Vec<Vec<u8>> {
    let layer = |name: &str| {
        let mut items: Vec<Item> = vec![dir("./"), dir(&format!("{name}/"))];
        items.extend((0..60).map(|n| file(&format!("{name}/{n}"), &format!("{seed}"))));
        tar(&items)
    };
    vec![layer("a"), layer("b"), tar(&[file("a/implicit/x", "1")])]
}

#[test]
fn killed_at_random_points() {
    let home = home();
    home.snapshots.backend().unwrap();
    for kill in 0..60u64 {
        let mut worker = child("death::errand_work", home.store.root(), &kill.to_string());
        std::thread::sleep(Duration::from_micros((kill * 7919) % 70_000));
        worker.kill().unwrap();
        worker.wait().unwrap();
        let report = home
            .snapshots
            .check(Check {
                deep: true,
                repair: true,
            })
            .unwrap();
        let clean = report
            .iter()
            .all(|p| matches!(p, Problem::Stray { removed: true, .. }));
        assert!(clean, "after kill {kill}: {report:?}");
        assert_eq!(leftovers(&home.store), 0);
        for id in home.snapshots.list().unwrap() {
            assert!(home.snapshots.remove(&id).unwrap());
        }
        for key in home.snapshots.layers().unwrap() {
            let tree = home.tree(&key);
            let files = |name: &str| {
                std::fs::read_dir(tree.join(name))
                    .map(|dir| dir.count())
                    .unwrap_or(0)
            };
            assert!(
                files("a") == 60 || files("b") == 60 || files("a/implicit") == 1,
                "{key}"
            );
        }
    }
    unpack(&home.snapshots, &layers(9999));
    home.store
        .check(Check {
            deep: true,
            repair: false,
        })
        .unwrap();
}

#[test]
fn errand_work() {
    let Some((root, seed)) = errand() else { return };
    let store = Store::open(&root).unwrap();
    let snapshots = open(&store);
    let seed: u64 = seed.parse().unwrap();
    for round in 0.. {
        let keys = unpack(&snapshots, &layers(seed * 1000 + round));
        if round % 2 == 0 {
            snapshots.settle(&keys).unwrap();
        }
        let id = format!("c{round}");
        let snapshot = snapshots.prepare(&id, &keys).unwrap();
        drop(snapshots.mount(&snapshot, &Default::default()).unwrap());
        snapshots.remove(&id).unwrap();
        for key in &keys {
            snapshots.remove_layer(key).unwrap();
        }
    }
}
