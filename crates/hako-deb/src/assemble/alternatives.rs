//! The links of update-alternatives(1), from what postinst scripts would
//! call. Only calls whose words are all literal are understood; nothing is
//! executed. Where several packages offer a name, the highest priority wins,
//! then the first package.

use super::{Part, Tree};
use std::collections::BTreeMap;

/// A link that an alternative makes: `/usr/bin/awk`, `awk`, `/usr/bin/mawk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where the link is.
    pub link: String,
    /// The name in `/etc/alternatives`.
    pub name: String,
    /// What it stands for.
    pub path: String,
}

/// One call of `update-alternatives --install`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The link itself.
    pub master: Link,
    /// How strongly it is offered.
    pub priority: i64,
    /// Links that go with it.
    pub slaves: Vec<Link>,
}

/// Finds the calls in a script.
pub fn parse(script: &str) -> Vec<Alternative> {
    let joined = script.replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let at = line.find("update-alternatives")?;
            // Only as a command, not within another's arguments.
            let before = line.get(..at)?;
            let command = before.is_empty()
                || before.ends_with('/')
                || ["&& ", "; ", "then ", "do ", "|| "]
                    .iter()
                    .any(|b| before.ends_with(b));
            let words = words(line.get(at..)?)?;
            command.then(|| call(&words)).flatten()
        })
        .collect()
}

/// The words of a simple command, up to what ends it. `None` where the shell
/// would have to expand something.
fn words(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let inner: String = chars.by_ref().take_while(|x| *x != c).collect();
                if c == '"' && inner.contains(['$', '`', '\\']) {
                    return None;
                }
                word.get_or_insert_default().push_str(&inner);
            }
            '$' | '`' | '\\' | '*' | '?' | '~' | '{' | '(' => return None,
            ';' | '&' | '|' | '>' | '<' | ')' | '#' => break,
            c if c.is_whitespace() => out.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    Some(out)
}

fn call(words: &[String]) -> Option<Alternative> {
    let mut rest = words.iter().map(String::as_str).skip(1).peekable();
    let link = |rest: &mut dyn Iterator<Item = &str>| -> Option<Link> {
        let (link, name, path) = (rest.next()?, rest.next()?, rest.next()?);
        let plain = |path: &str| {
            path.len() > 1
                && path.starts_with('/')
                && path
                    .split('/')
                    .skip(1)
                    .all(|p| !p.is_empty() && p != "." && p != "..")
        };
        (plain(link)
            && plain(path)
            && !name.is_empty()
            && !name.contains('/')
            && !name.starts_with('.'))
        .then(|| Link {
            link: link.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
        })
    };
    while rest
        .peek()
        .is_some_and(|w| matches!(*w, "--quiet" | "--force" | "--skip-auto"))
    {
        rest.next();
    }
    if rest.next()? != "--install" {
        return None;
    }
    let master = link(&mut rest)?;
    let priority = rest.next()?.parse().ok()?;
    let mut slaves = Vec::new();
    while let Some(word) = rest.next() {
        match word {
            "--slave" => slaves.push(link(&mut rest)?),
            "--quiet" | "--force" => {}
            _ => return None,
        }
    }
    Some(Alternative {
        master,
        priority,
        slaves,
    })
}

pub(super) fn add(tree: &mut Tree, parts: &[Part]) {
    let mut best: BTreeMap<String, Alternative> = BTreeMap::new();
    for part in parts {
        for alternative in part
            .deb
            .info("postinst")
            .iter()
            .flat_map(|script| parse(script))
        {
            if !exists(tree, &alternative.master.path) {
                continue;
            }
            let known = best.get(&alternative.master.name);
            if known.is_none_or(|k| alternative.priority > k.priority) {
                best.insert(alternative.master.name.clone(), alternative);
            }
        }
    }
    for alternative in best.into_values() {
        for link in std::iter::once(&alternative.master).chain(&alternative.slaves) {
            if exists(tree, &link.path) && !exists(tree, &link.link) {
                let place = merged(&link.link);
                tree.add_link(&place, &format!("/etc/alternatives/{}", link.name));
                tree.add_link(&format!("etc/alternatives/{}", link.name), &link.path);
            }
        }
    }
}

/// A path in the tree, where the top directories lie in `/usr`.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split_once('/') {
        Some(("bin" | "sbin" | "lib" | "lib32" | "lib64", _)) => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

fn exists(tree: &Tree, path: &str) -> bool {
    tree.contains(&merged(path))
}

#[cfg(test)]
mod tests {
    use super::super::tests::part_with;
    use super::*;
    use crate::assemble::Content;
    use proptest::prelude::*;

    const MAWK: &str = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\tupdate-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n\t    --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\\n\t    --slave /usr/bin/nawk nawk /usr/bin/mawk\nfi\n";

    #[test]
    fn finds_literal_calls() {
        let found = parse(MAWK);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].priority, found[0].slaves.len()), (5, 2));
        for script in [
            "update-alternatives --install /usr/bin/$x x /usr/bin/y 1",
            "update-alternatives --install /usr/bin/../x x /usr/bin/y 1",
            "update-alternatives --install x x /usr/bin/y 1",
            "update-alternatives --install /usr/bin/x ../x /usr/bin/y 1",
            "update-alternatives --remove awk /usr/bin/mawk",
            "echo update-alternatives --install /usr/bin/x x /usr/bin/y 1",
            "update-alternatives --install /usr/bin/x x /usr/bin/y one",
        ] {
            assert_eq!(parse(script), [], "{script}");
        }
        let quoted = "[ -x /y ] && update-alternatives --quiet --install '/usr/bin/x' \"x\" /usr/bin/y -10 || true";
        assert_eq!(parse(quoted)[0].priority, -10);
    }

    #[test]
    fn the_highest_priority_wins() {
        let gawk = MAWK.replace("mawk", "gawk").replace(" 5 ", " 10 ");
        let missing = MAWK.replace("mawk", "none").replace(" 5 ", " 99 ");
        let parts = [
            part_with("a", "", &["usr/bin/gawk=!"], &[("postinst", &gawk)]),
            part_with(
                "m",
                "",
                &["usr/bin/mawk=!", "usr/bin/nawk=own"],
                &[("postinst", MAWK)],
            ),
            part_with("n", "", &[], &[("postinst", &missing)]),
        ];
        let mut tree = super::super::merge::merge(&parts).unwrap();
        add(&mut tree, &parts);
        let target = |path: &str| match &tree.get(path).unwrap().content {
            Content::Symlink(target) => String::from_utf8(target.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target("usr/bin/awk"), "/etc/alternatives/awk");
        assert_eq!(target("etc/alternatives/awk"), "/usr/bin/gawk");
        assert!(
            !tree.contains("etc/alternatives/nawk")
                && !tree.contains("usr/share/man/man1/awk.1.gz")
        );
    }

    proptest! {
        #[test]
        fn never_panics(script in "(update-alternatives|--install|--slave| |\n|\\\\\n|/usr/bin/x|[a-z0-9'\"$;]|\\PC){0,30}") {
            let _ = parse(&script);
        }
    }
}
