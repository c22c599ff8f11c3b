//! `deb:` images: by the machine's own apt sources, which needs a Debian mirror.

use crate::support::World;

#[test]
fn busybox_from_its_package() {
    let world = World::new();
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "deb:busybox",
        "echo",
        "hello from hako",
    ];
    let first = world.run(&run);
    assert_eq!(
        (first.status, first.out.as_str()),
        (0, "hello from hako\n"),
        "{first:?}"
    );
    assert!(first.err.contains("package busybox"), "{first:?}");
    // What is there is not asked for again.
    let again = world.run(&run);
    assert_eq!(
        (again.out.as_str(), again.err.as_str()),
        ("hello from hako\n", "")
    );
    let names = world.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(names, "localhost/deb/busybox:latest");
    let err = world.fails(&["run", "--rm", "deb:no-such-package-at-all", "true"], 125);
    assert!(err.contains("no-such-package-at-all"), "{err}");
    world.assert_empty();
}
