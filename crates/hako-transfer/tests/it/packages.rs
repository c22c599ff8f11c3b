//! `deb:` through the same door. How packages become an image is hako-deb's
//! matter and tested there.

use hako_transfer::{Options, Source, When, pull};

use crate::local::chain;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_not_there() {
    let world = World::new();
    let sources = world.path("test.list");
    std::fs::write(&sources, "deb http://127.0.0.1:1/debian bookworm main\n").unwrap();
    let mut packages = hako_deb::Options::new(&world.path("store"), crate::world::OWNER);
    packages.sources = hako_deb::sources::From::Files(vec![sources]);
    let mut context = world.context.clone();
    context.packages = Some(packages);
    let source = Source::parse("deb:busybox", &Default::default()).unwrap();
    let error = pull(&source, &context, &Options::default())
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.starts_with("deb:busybox: ") && text.contains("127.0.0.1:1"),
        "{text}"
    );
    let never = Options {
        when: When::Never,
        ..Options::default()
    };
    let error = pull(&source, &context, &never)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not in the store"), "{error}");
    world.assert_clean(&[]);
}
