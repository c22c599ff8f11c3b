use super::super::tests::part;
use super::*;
use proptest::prelude::*;

fn shown(tree: &Tree) -> Vec<String> {
    tree.nodes
        .iter()
        .map(|(path, node)| {
            let path = String::from_utf8_lossy(path);
            match &node.content {
                Content::Dir => format!("{path}/"),
                Content::Symlink(target) => {
                    format!("{path} -> {}", String::from_utf8_lossy(target))
                }
                _ => path.into_owned(),
            }
        })
        .filter(|line| {
            ![
                "bin -> usr/bin",
                "lib -> usr/lib",
                "sbin -> usr/sbin",
                "usr/sbin/",
            ]
            .contains(&line.as_str())
        })
        .collect()
}

#[test]
fn top_directories_lie_in_usr() {
    let a = part(
        "a",
        "",
        &[
            "bin/",
            "bin/a=1",
            "lib64/",
            "lib64/ld.so -> ../lib/x.so",
            "lib/x.so=so",
        ],
    );
    let b = part(
        "b",
        "",
        &[
            "bin -> usr/bin",
            "lib64 -> usr/lib64",
            "usr/bin/",
            "usr/bin/b=2",
        ],
    );
    let tree = merge(&[a, b]).unwrap();
    assert_eq!(
        shown(&tree),
        [
            "lib64 -> usr/lib64",
            "usr/bin/",
            "usr/bin/a",
            "usr/bin/b",
            "usr/lib/",
            "usr/lib/x.so",
            "usr/lib64/",
            "usr/lib64/ld.so -> ../lib/x.so"
        ]
    );
    assert!(tree.contains("bin") && tree.contains("sbin") && tree.contains("lib"));
    let bad = part("c", "", &["bin -> /etc"]);
    assert!(
        merge(&[bad])
            .unwrap_err()
            .to_string()
            .contains("leads to /etc")
    );
    let bad = part("c", "", &["bin=x"]);
    assert!(
        merge(&[bad])
            .unwrap_err()
            .to_string()
            .contains("neither a directory")
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    // a's link and b's files below it, in either order.
    for (first, second) in [("a", "b"), ("b", "a")] {
        let link = part(first, "", &["usr/share/doc/x -> y", "var/run -> /run"]);
        let files = part(
            second,
            "",
            &[
                "usr/share/doc/x/",
                "usr/share/doc/x/copyright=c",
                "var/run/",
                "var/run/d/",
                "var/run/d/f=1",
            ],
        );
        let tree = merge(&[link, files]).unwrap();
        let lines = shown(&tree);
        for line in [
            "usr/share/doc/x -> y",
            "usr/share/doc/y/copyright",
            "var/run -> /run",
            "run/d/f",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line} in {lines:?}");
        }
    }
    for (entries, text) in [
        (&["a -> ..", "a/passwd=x"][..], "leads nowhere"),
        (&["a -> b", "b -> a", "a/x=1"], "leads nowhere"),
        (&["a=1", "a/x=1"], "/a is in"),
    ] {
        let error = merge(&[part("p", "", entries)]).unwrap_err().to_string();
        assert!(error.contains(text), "{entries:?}: {error}");
    }
    // To the root and below it stays inside.
    let tree = merge(&[part("p", "", &["a -> /.", "a/etc/x=1"])]).unwrap();
    assert!(tree.contains("etc/x"));
}

#[test]
fn two_packages_with_one_path() {
    let one = || part("one", "", &["etc/x=same", "etc/"]);
    assert!(merge(&[one(), part("two", "", &["etc/x=same"])]).is_ok());
    let error = merge(&[one(), part("two", "", &["etc/x=diff"])]).unwrap_err();
    assert!(
        matches!(&error, Error::FileConflict { path, first, second } if path == "/etc/x" && first == "one" && second == "two"),
        "{error}"
    );
    for (replaces, owner) in [("Replaces: one (<< 2)", 1), ("Replaces: one (<< 1)", 9)] {
        let result = merge(&[one(), part("two", replaces, &["etc/x=diff"])]);
        match result {
            Ok(tree) => assert_eq!(tree.get("etc/x").unwrap().owner, Some(owner)),
            Err(_) => assert_eq!(owner, 9),
        }
    }
    // The one that is replaced comes later: nothing changes.
    let tree = merge(&[part("a", "Replaces: b", &["x=1"]), part("b", "", &["x=2"])]).unwrap();
    assert_eq!(tree.get("x").unwrap().owner, Some(0));
    let links = merge(&[part("a", "", &["x -> 1"]), part("b", "", &["x -> 2"])]);
    assert!(links.is_err());
}

proptest! {
    #[test]
    fn paths_stay_inside(
        links in proptest::collection::btree_map("[ab](/[ab]){0,2}", "/?([ab.]|\\.\\.)(/([ab]|\\.\\.)){0,3}", 0..5),
        path in "[ab](/[ab]){0,4}",
    ) {
        let links: Links = links.into_iter().map(|(k, v)| (k.into_bytes(), v.into_bytes())).collect();
        if let Some(found) = lead(&links, path.as_bytes(), true) {
            prop_assert!(!split(&found).iter().any(|p| p == b".."));
            prop_assert!(!found.starts_with(b"/"));
        }
    }
}
