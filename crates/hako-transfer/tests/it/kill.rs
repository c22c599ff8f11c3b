//! `kill -9` at random moments: the next pull succeeds and the store is whole.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hako_distribution::auth::Keychain;
use hako_distribution::registries::Registries;
use hako_transfer::{Options, Source, pull};

use crate::debian::Registry;
use crate::world::{Log, World, context, layout, oci, skopeo_copy, text};

const ROOT: &str = "HAKO_TEST_KILL_ROOT";
const SOURCE: &str = "HAKO_TEST_KILL_SOURCE";

/// The process that is killed: this test alone, with the two variables set.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let (Ok(root), Ok(source)) = (std::env::var(ROOT), std::env::var(SOURCE)) else {
        return;
    };
    let context = context(root.as_ref(), Keychain::empty(), Arc::new(Log::default()));
    let source = Source::parse(&source, &Registries::default()).unwrap();
    pull(&source, &context, &Options::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_pulls_are_continued() {
    let world = World::new();
    let registry = Registry::start(world.dir.path(), None);
    let layout = layout(world.dir.path());
    let name = format!("{}/app:1", registry.host);
    skopeo_copy(&[], &oci(&layout, "1"), &format!("docker://{name}"));
    let mut killed = 0;
    for round in 0..20u64 {
        let fresh = World::new();
        for attempt in 0..3u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "kill::victim", "--test-threads", "1"])
                .env(ROOT, text(&fresh.path("store")))
                .env(SOURCE, &name)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis((round * 7 + attempt * 13) % 120));
            killed += u32::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let pulled = fresh.pull(&name).await.unwrap();
        assert_eq!(
            fresh.file(&pulled, "etc/second").unwrap(),
            b"second layer\n"
        );
        drop(pulled);
        fresh.assert_clean(&[&name]);
    }
    assert!(killed > 10, "only {killed} pulls were killed");
}
