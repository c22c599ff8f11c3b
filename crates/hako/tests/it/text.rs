//! Help, and command lines that cannot be understood.

use crate::support::World;

#[test]
fn help_names_every_verb() {
    let world = World::new();
    let help = world.ok(&["--help"]);
    let verbs = "run create start attach ps logs exec stop kill wait rm inspect images pull rmi tag info version container image system bundle conformance";
    for verb in verbs.split(' ') {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in {help}");
        assert!(
            world.ok(&[verb, "--help"]).contains("Usage: hako "),
            "{verb}"
        );
    }
    assert!(!help.contains("internal"));
    let run = world.ok(&["run", "--help"]);
    assert!(
        run.contains("Usage: hako run [OPTIONS] IMAGE [COMMAND] [ARG]..."),
        "{run}"
    );
    assert!(world.ok(&["--version"]).starts_with("hako "));
}

#[test]
fn what_cannot_be_understood_is_125() {
    let world = World::new();
    for (args, words) in [
        (&["--nope"][..], "--nope"),
        (&["nope"], "nope"),
        (&["run", "--nope", "x"], "--nope"),
        (&["run"], "IMAGE"),
        (&["run", "-m", "lots", "x"], "lots"),
        (&["run", "-v", "a:b", "x"], "a:b"),
        (&["run", "--network", "x", "x"], "it is none of bridge"),
        (&["run", "--ulimit", "x", "x"], "NAME=SOFT"),
        (
            &["run", "-p", "80:80", "x"],
            "publishing ports is not supported yet",
        ),
        (&["run", "--init", "x"], "--init is not supported yet"),
        (&["run", "--security-opt", "nope", "x"], "not supported"),
        (&["run", "--pull", "never", "x"], "x"),
        (&["ps", "--filter", "x=1"], "no such filter"),
        (&["ps", "--format", "{{.Nope"], "--format"),
        (&["logs", "x"], "no such container: x"),
        (&["logs", "--tail", "x", "y"], "--tail"),
        (&["logs", "--since", "x", "y"], "--since"),
        (&["kill", "-s", "NOPE", "x"], "no such signal"),
        (&["stop"], "no container named"),
        (&["rm", "-a", "x"], "exclude each other"),
        (&["inspect", "x"], "no such container or image: x"),
        (&["system", "prune"], "there is nobody to ask"),
        (&["--root", "/proc/none/x", "ps"], "/proc/none/x"),
    ] {
        let err = world.fails(args, 125);
        assert!(err.contains(words), "{args:?}: {err}");
    }
}

#[test]
fn errors_are_one_line_and_a_hint() {
    let world = World::new();
    let err = world.fails(&["stop", "nope"], 125);
    assert_eq!(
        err,
        "hako: no such container: nope\nhint: 'hako ps --all' lists the containers\n"
    );
}

#[test]
fn lists_of_nothing() {
    let world = World::new();
    let head = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES";
    assert_eq!(world.ok(&["ps"]), head);
    assert_eq!(world.ok(&["container", "ls", "-a"]), head);
    assert_eq!(
        world.ok(&["images"]),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE"
    );
    assert_eq!(world.ok(&["ps", "-q"]), "");
    assert_eq!(world.ok(&["ps", "--format", "json"]), "");
    world.assert_empty();
}

#[test]
fn nobody_reads() {
    let world = World::new();
    let mut child = world.spawn(&["internal", "completions", "bash"]);
    drop(child.stdout.take());
    let result = crate::support::finish(child);
    assert_eq!((result.status, result.err.as_str()), (141, ""));
}

#[test]
fn manual_pages_and_completions() {
    let world = World::new();
    let dir = world.path("man");
    world.ok(&["internal", "man", dir.to_str().unwrap()]);
    for page in ["hako.1", "hako-run.1", "hako-container-ls.1"] {
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            world
                .ok(&["internal", "completions", shell])
                .contains("hako"),
            "{shell}"
        );
    }
}

#[test]
fn version_and_info() {
    let world = World::new();
    assert!(world.ok(&["version"]).contains("hako-runtime"));
    assert_eq!(
        world.ok(&["version", "--format", "{{.Client.Version}}"]),
        env!("CARGO_PKG_VERSION")
    );
    let info = world.ok(&[
        "info",
        "--format",
        "{{.Containers}} {{.Rootless}} {{.Root}}",
    ]);
    assert_eq!(info, format!("0 false {}", world.path("root").display()));
    assert!(world.ok(&["info"]).contains("CgroupVersion: "));
}
