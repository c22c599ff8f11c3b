use super::*;
use crate::index::parse_record;
use crate::version;
use proptest::prelude::*;

/// Packages in memory: `name version more-fields`.
struct Memory(Vec<Rc<Candidate>>);

fn candidate(text: &str) -> Rc<Candidate> {
    let (head, more) = text.split_once('\n').unwrap_or((text, ""));
    let (name, version) = head.split_once(' ').unwrap();
    let record = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {name}.deb\nSize: 1\nSHA256: {}\n{more}\n",
        "00".repeat(32)
    );
    Rc::new(Candidate {
        package: parse_record(&record).unwrap(),
        origin: 0,
    })
}

impl Memory {
    fn new(all: &[&str]) -> Self {
        Self(all.iter().map(|text| candidate(text)).collect())
    }

    fn solve(&self, wanted: &[&str]) -> Result<Vec<String>, String> {
        let goals: Vec<Goal> = wanted
            .iter()
            .map(|name| Goal {
                wanted: (*name).to_owned(),
                options: self.packages(name).unwrap(),
            })
            .collect();
        let found = resolve(self, &goals, "amd64").map_err(|e| e.to_string())?;
        Ok(found
            .iter()
            .map(|c| format!("{} {}", c.package.name, c.package.version))
            .collect())
    }
}

impl Universe for Memory {
    fn packages(&self, name: &str) -> Result<Vec<Rc<Candidate>>> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|c| c.package.name == name)
            .cloned()
            .collect();
        found.sort_by(|a, b| {
            version::compare(b.package.version.as_str(), a.package.version.as_str())
        });
        Ok(found)
    }

    fn providers(&self, name: &str) -> Result<Vec<Rc<Candidate>>> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|c| c.package.provides.iter().any(|(n, _)| n == name))
            .cloned()
            .collect();
        found.sort_by(|a, b| {
            (a.package.priority, &a.package.name).cmp(&(b.package.priority, &b.package.name))
        });
        Ok(found)
    }
}

#[test]
fn follows_dependencies_with_the_highest_version() {
    let m = Memory::new(&[
        "a 1\nDepends: b (>= 1), c",
        "b 1",
        "b 2",
        "b 3",
        "c 1\nPre-Depends: d | e\nRecommends: z",
        "d 1",
        "e 1",
    ]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "b 3", "c 1", "d 1"]);
    assert_eq!(m.solve(&["e", "a"]).unwrap(), ["a 1", "b 3", "c 1", "e 1"]);
    let limited = Memory::new(&["a 1\nDepends: b (<< 3)", "b 1", "b 2", "b 3"]);
    assert_eq!(limited.solve(&["a"]).unwrap(), ["a 1", "b 2"]);
}

#[test]
fn cycles_and_virtual_packages() {
    let m = Memory::new(&[
        "a 1\nDepends: b",
        "b 1\nDepends: a, v",
        "zawk 1\nProvides: v\nPriority: required",
        "gawk 1\nProvides: v\nPriority: optional",
    ]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "b 1", "zawk 1"]);
    assert_eq!(m.solve(&["a", "gawk"]).unwrap(), ["a 1", "b 1", "gawk 1"]);
    // A version is satisfied only by a provider that has one (Policy 7.5).
    let m = Memory::new(&[
        "a 1\nDepends: v (>= 2)",
        "x 1\nProvides: v",
        "y 1\nProvides: v (= 1)",
        "z 1\nProvides: v (= 3)",
    ]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "z 1"]);
}

#[test]
fn conflicts_lead_to_the_next_possibility() {
    let m = Memory::new(&["a 1\nDepends: b | c", "b 1\nConflicts: d", "c 1", "d 1"]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "b 1"]);
    assert_eq!(m.solve(&["a", "d"]).unwrap(), ["a 1", "c 1", "d 1"]);
    // Found only deep below: b's dependency cannot be had, so back to c.
    let m = Memory::new(&[
        "a 1\nDepends: b | c",
        "b 1\nDepends: e",
        "e 1\nDepends: nothing",
        "c 1",
    ]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "c 1"]);
    // Breaks of an old version; the new one is fine.
    let m = Memory::new(&["a 1\nBreaks: b (<< 2)\nDepends: b", "b 1", "b 2"]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "b 2"]);
    // A package may conflict with what it provides: at most one provider.
    let m = Memory::new(&[
        "m1 1\nProvides: mta\nConflicts: mta",
        "m2 1\nProvides: mta\nConflicts: mta",
    ]);
    assert_eq!(m.solve(&["m1"]).unwrap(), ["m1 1"]);
    assert!(m.solve(&["m1", "m2"]).unwrap_err().contains("conflicts"));
}

#[test]
fn architecture_qualifiers() {
    let m = Memory::new(&[
        "a 1\nDepends: p:any, q:amd64",
        "p 1",
        "q 1",
        "b 1\nDepends: p:arm64",
    ]);
    assert_eq!(m.solve(&["a"]).unwrap(), ["a 1", "p 1", "q 1"]);
    assert!(
        m.solve(&["b"])
            .unwrap_err()
            .contains("the image is of amd64")
    );
}

#[test]
fn obstacles_are_named() {
    let m = Memory::new(&[
        "bash 5\nDepends: x (>= 2)",
        "x 1.9",
        "y 1\nDepends: z | w",
        "k 1\nDepends: v (>= 2)",
        "l 1\nProvides: v",
    ]);
    for (wanted, text) in [
        ("bash", "bash 5 depends on x (>= 2) but 1.9 is to be had"),
        (
            "y",
            "y 1 depends on z | w but w is not to be had, z is not to be had",
        ),
        (
            "none",
            "none is asked for, whose dependencies cannot be satisfied",
        ),
        (
            "k",
            "k 1 depends on v (>= 2) but one provided by l is to be had",
        ),
    ] {
        assert_eq!(m.solve(&[wanted]).unwrap_err(), text);
    }
}

#[test]
fn a_hard_search_ends() {
    // Every pair of siblings conflicts, and the last needs all first ones.
    let mut all: Vec<String> = vec!["root 1\nDepends: a0 | b0".to_owned()];
    for i in 0..40 {
        let next = if i == 39 {
            "nothing".to_owned()
        } else {
            format!("a{} | b{}", i + 1, i + 1)
        };
        all.push(format!("a{i} 1\nDepends: {next}"));
        all.push(format!("b{i} 1\nDepends: {next}"));
    }
    let texts: Vec<&str> = all.iter().map(String::as_str).collect();
    let error = Memory::new(&texts).solve(&["root"]).unwrap_err();
    assert!(
        error.contains("given up") && error.contains("nothing is not to be had"),
        "{error}"
    );
}

proptest! {
    /// Whatever is found satisfies every dependency and hurts no conflict;
    /// and small universes are searched completely (brute force agrees).
    #[test]
    fn answers_are_right(
        edges in proptest::collection::vec((0usize..6, 0usize..6, 0usize..6), 0..8),
        conflicts in proptest::collection::vec((0usize..6, 0usize..6), 0..5),
    ) {
        let mut all: Vec<String> = Vec::new();
        for i in 0..6 {
            let depends: Vec<String> = edges.iter().filter(|e| e.0 == i).map(|e| format!("p{} | p{}", e.1, e.2)).collect();
            let excluded: Vec<String> = conflicts.iter().filter(|c| c.0 == i && c.1 != i).map(|c| format!("p{}", c.1)).collect();
            all.push(format!("p{i} 1\nDepends: {}\nConflicts: {}", depends.join(", "), excluded.join(", ")));
        }
        let texts: Vec<&str> = all.iter().map(String::as_str).collect();
        let fits = |set: u32| {
            let has = |i: usize| set & (1 << i) != 0;
            edges.iter().all(|e| !has(e.0) || has(e.1) || has(e.2))
                && conflicts.iter().all(|c| c.0 == c.1 || !(has(c.0) && has(c.1)))
        };
        let possible = (0u32..64).any(|set| set & 1 != 0 && fits(set));
        match Memory::new(&texts).solve(&["p0"]) {
            Ok(found) => {
                let set = found.iter().fold(0u32, |set, name| set | 1 << (name.as_bytes()[1] - b'0'));
                prop_assert!(fits(set), "{:?}", found);
            }
            Err(error) => prop_assert!(!possible, "{}", error),
        }
    }
}
