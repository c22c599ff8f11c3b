//! `kill --regex` and `delete --regex` (crun's).

use crate::harness::Bundle;

/// Two containers whose records lie in one place.
fn pair() -> (Bundle, Bundle) {
    let mut a = Bundle::sleeper();
    let mut b = Bundle::sleeper();
    a.id += "-web-1";
    b.id += "-db-2";
    for bundle in [&a, &b] {
        let dir = bundle.dir.path().to_str().unwrap();
        a.call(&["run", "-d", "-b", dir, &bundle.id]).ok();
    }
    (a, b)
}

fn status(a: &Bundle, id: &str) -> String {
    let list = a.call(&["list"]).ok();
    let line = list.lines().find(|l| l.starts_with(id));
    line.map_or_else(String::new, |l| {
        l.split_whitespace().nth(2).unwrap().to_owned()
    })
}

#[test]
fn a_signal_goes_to_all_that_match() {
    let (a, b) = pair();
    a.call(&["kill", "--regex", "(web|nothing)-[0-9]+$", "KILL"])
        .ok();
    crate::harness::until(|| status(&a, &a.id) == "stopped");
    assert_eq!(status(&a, &b.id), "running");
    // One that does not run any more is none to signal.
    a.call(&["kill", "-r", "^hako-it-.*-[0-9]$", "KILL"]).ok();
    crate::harness::until(|| status(&a, &b.id) == "stopped");
    a.call(&["delete", "--regex", "."]).ok();
    assert_eq!(a.call(&["list", "-q"]).ok(), "");
    a.call(&["delete", "--regex", "."]).ok();
}

#[test]
fn one_failure_keeps_nothing_from_the_others() {
    let (a, b) = pair();
    a.call(&["kill", &a.id, "KILL"]).ok();
    crate::harness::until(|| status(&a, &a.id) == "stopped");
    let told = a.call(&["delete", "--regex", "(web|db)-"]).fails();
    assert!(told.contains("1 of 2 containers failed"), "{told}");
    assert!(told.contains(&format!("{} is running", b.id)), "{told}");
    assert_eq!(a.call(&["list", "-q"]).ok(), b.id);
    a.call(&["delete", "-f", "--regex", "[db]{2}-"]).ok();
    assert_eq!(a.call(&["list", "-q"]).ok(), "");
}

#[test]
fn what_is_no_pattern_selects_nothing() {
    let (a, b) = pair();
    for (pattern, says) in [
        ("", "every container"),
        ("(web", "without its"),
        ("*", "repetition of nothing"),
        (r"(web)\1", "not known"),
    ] {
        for verb in ["kill", "delete"] {
            let told = a.call(&[verb, "--regex", pattern]).fails();
            assert!(told.contains(says), "{told}");
        }
    }
    // Without the flag it is an id, as ever.
    assert!(a.call(&["kill", ".*"]).fails().contains("id"));
    for id in [&a.id, &b.id] {
        assert_eq!(status(&a, id), "running");
    }
    a.call(&["delete", "--force", "--regex", "."]).ok();
}
