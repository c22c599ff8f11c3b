//! Images by the command line.

use crate::support::{World, image};

#[test]
fn pull_list_tag_remove() {
    let world = World::new();
    let first = world.run(&["pull", &image()]);
    assert_eq!(first.status, 0, "{first:?}");
    assert!(
        first.err.starts_with("Pulling oci:") && first.err.contains(" done\n"),
        "{first:?}"
    );
    let lines: Vec<&str> = first.out.lines().collect();
    assert!(lines[0].starts_with("Digest: sha256:"), "{lines:?}");
    assert_eq!(
        lines[1..],
        [
            "Status: Downloaded newer image for localhost/layout:bb",
            "localhost/layout:bb"
        ]
    );
    assert!(
        world
            .ok(&["pull", &image()])
            .contains("Image is up to date")
    );
    let id = world.run(&["pull", "-q", &image()]);
    assert_eq!((id.out.len(), id.err.as_str()), (72, ""));
    let id = id.out.trim_end().to_owned();

    world.ok(&["tag", "localhost/layout:bb", "example.test/a/b:1"]);
    let table = world.ok(&["images"]);
    let head = "REPOSITORY           TAG       IMAGE ID       CREATED         SIZE";
    assert_eq!(
        table
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>(),
        head.split_whitespace().collect::<Vec<_>>()
    );
    let rows = world.ok(&[
        "images",
        "--no-trunc",
        "--format",
        "{{.Repository}}:{{.Tag}} {{.ID}}",
    ]);
    assert_eq!(
        rows,
        format!("example.test/a/b:1 {id}\nlocalhost/layout:bb {id}")
    );
    assert_eq!(world.ok(&["images", "-q"]), id[7..19]);
    let digest = lines[0].trim_start_matches("Digest: ");
    assert!(world.ok(&["images", "--digests"]).contains(digest));
    assert_eq!(
        world.ok(&["images", "--format", "{{.Tag}}", "example.test/a/b"]),
        "1"
    );
    assert_eq!(
        world.ok(&[
            "images",
            "--format",
            "{{.Tag}}",
            "-f",
            "reference=localhost/*"
        ]),
        "bb"
    );
    assert_eq!(world.ok(&["images", "-q", "-f", "label=from=other"]), "");
    assert_eq!(
        world.ok(&["image", "ls", "-q", "-f", "label=from=image"]),
        id[7..19]
    );

    let err = world.fails(&["rmi", &id[7..19]], 125);
    assert!(err.contains("2 names"), "{err}");
    assert_eq!(
        world.ok(&["rmi", "example.test/a/b:1"]),
        "Untagged: example.test/a/b:1"
    );
    world.ok(&["create", "--name", "c", "localhost/layout:bb"]);
    let err = world.fails(&["rmi", "localhost/layout:bb"], 125);
    assert!(err.contains("is used by container"), "{err}");
    world.ok(&["rm", "c"]);
    world.ok(&["rmi", &id]);
    assert_eq!(world.ok(&["images", "-q"]), "");
    let pruned = world.ok(&["system", "prune", "-f"]);
    assert!(
        pruned.contains(&format!("deleted: {id}")) && pruned.contains("Total reclaimed space: "),
        "{pruned}"
    );
    assert_eq!(world.ok(&["images", "-aq"]), "");
    assert!(
        world
            .ok(&["system", "prune", "-f"])
            .ends_with("Total reclaimed space: 0B")
    );
    world.assert_empty();
}

#[test]
fn a_container_outlives_the_names_of_its_image() {
    let world = World::with_image();
    world.ok(&[
        "create",
        "--name",
        "c",
        "--network",
        "none",
        "bb",
        "echo",
        "still here",
    ]);
    world.ok(&["rmi", "-f", "localhost/bb", "localhost/layout:bb"]);
    world.ok(&["image", "prune", "-f"]);
    assert_eq!(world.ok(&["start", "-a", "c"]), "still here");
    world.ok(&["rm", "c"]);
    world.ok(&["system", "prune", "-f", "-a"]);
    assert_eq!(world.ok(&["images", "-aq"]), "");
}

#[test]
fn inspect() {
    let world = World::with_image();
    let all: serde_json::Value =
        serde_json::from_str(&world.ok(&["image", "inspect", "bb"])).unwrap();
    let image = &all[0];
    assert_eq!(
        image["RepoTags"],
        serde_json::json!(["localhost/bb:latest", "localhost/layout:bb"])
    );
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert!(image["Size"].as_u64().unwrap() > 1_000_000);
    let label = world.ok(&[
        "inspect",
        "--type",
        "image",
        "-f",
        "{{index .Config.Labels \"from\"}}",
        "bb",
    ]);
    assert_eq!(label, "image");
    world.fails(&["inspect", "--type", "container", "bb"], 125);
    let result = world.run(&["image", "inspect", "nope"]);
    assert_eq!((result.status, result.out.as_str()), (125, "[]\n"));
}
