//! Many processes and threads.

use hako_store::Store;

use crate::fixture::{
    Item, child, dir, errand, file, home, leftovers, open, stack, tar, tree, unpack,
};

fn big() -> Vec<Vec<u8>> {
    let layer = |name: &str| {
        let mut items: Vec<Item> = vec![dir("./"), dir(&format!("{name}/"))];
        items.extend((0..400).map(|n| file(&format!("{name}/{n}"), &"x".repeat(n * 7))));
        tar(&items)
    };
    vec![
        layer("one"),
        layer("two"),
        tar(&[file("one/implicit/deep", "y")]),
    ]
}

#[test]
fn eight_processes_want_the_same_layers() {
    let home = home();
    let tally = home.dir.path().join("tally");
    std::fs::create_dir(&tally).unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| {
            child(
                "parallel::errand_unpack",
                home.store.root(),
                tally.to_str().unwrap(),
            )
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        std::fs::read_dir(&tally).unwrap().count(),
        3,
        "each layer was unpacked once"
    );
    assert_eq!(home.snapshots.layers().unwrap().len(), 3);
    assert_eq!(leftovers(&home.store), 0);
}

#[test]
fn errand_unpack() {
    let Some((root, tally)) = errand() else {
        return;
    };
    let store = Store::open(&root).unwrap();
    let snapshots = open(&store);
    let tars = big();
    let stack = stack(&tars);
    std::thread::scope(|scope| {
        for (index, tar) in tars.iter().enumerate() {
            let (stack, snapshots, tally) = (&stack, &snapshots, &tally);
            scope.spawn(move || {
                let done = snapshots.unpack(stack, index, tar.as_slice()).unwrap();
                if !done.present {
                    let name = format!("{tally}/{index}-{}", std::process::id());
                    std::fs::write(name, "").unwrap();
                }
            });
        }
    });
    let keys = stack.keys().unwrap();
    let deep = tree(&snapshots, &keys[2]).join("one/implicit/deep");
    assert_eq!(std::fs::read_to_string(deep).unwrap(), "y");
    snapshots.settle(&keys).unwrap();
    let id = format!("c{}", std::process::id());
    let snapshot = snapshots.prepare(&id, &keys).unwrap();
    drop(
        snapshots
            .mount(&snapshot, &hako_snapshot::MountOptions::default())
            .unwrap(),
    );
    assert!(snapshots.remove(&id).unwrap());
}

#[test]
fn collections_beside_containers() {
    let home = home();
    let zero = std::time::Duration::ZERO;
    let now = hako_store::gc::Options {
        grace: zero,
        resumable: zero,
        dry_run: false,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                home.store.gc(&now, &[&home.snapshots]).unwrap();
                rounds += 1;
            }
            rounds
        });
        for n in 0..60 {
            let lease = home
                .store
                .leases()
                .temporary(hako_store::Owner::Cli(0), "run")
                .unwrap();
            let layer = tar(&[dir("./"), file("n", &(n % 3).to_string())]);
            let diff_id = crate::fixture::digest(&layer);
            lease
                .hold(&[hako_store::Hold::Layer(diff_id.to_string())])
                .unwrap();
            let keys = unpack(&home.snapshots, std::slice::from_ref(&layer));
            let id = format!("c{n}");
            let snapshot = home.snapshots.prepare(&id, &keys).unwrap();
            drop(lease);
            // From here on the snapshot itself keeps its layers.
            std::thread::sleep(std::time::Duration::from_millis(3));
            drop(
                home.snapshots
                    .mount(&snapshot, &Default::default())
                    .unwrap(),
            );
            assert!(home.snapshots.remove(&id).unwrap());
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(collector.join().unwrap() > 5);
    });
}
