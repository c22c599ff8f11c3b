//! A crate uses only crates that stand above it in the workspace's order.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{cargo, output};

/// A member of the workspace and the members that it uses.
struct Member {
    name: String,
    description: String,
    uses: Vec<String>,
}

pub(super) fn check() -> Result<Vec<String>> {
    let text = output(&mut cargo([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("output of cargo metadata")?;
    let order = strings(&metadata["metadata"]["hako"]["order"]);
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let members: Vec<Member> = packages.iter().map(member).collect();
    Ok(findings(&order, &members))
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    values
        .iter()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn member(package: &Value) -> Member {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let dependencies = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    Member {
        name: text(&package["name"]),
        description: text(&package["description"]),
        // Of all kinds: a test that needs a lower crate belongs there.
        uses: dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn findings(order: &[String], members: &[Member]) -> Vec<String> {
    let place = |name: &str| order.iter().position(|other| other == name);
    let mut findings = Vec::new();
    for member in members {
        let name = &member.name;
        if member.description.is_empty() {
            findings.push(format!("{name}: Cargo.toml has no description"));
        }
        let Some(own) = place(name) else {
            findings.push(format!(
                "{name}: is not in workspace.metadata.hako.order (Cargo.toml)"
            ));
            continue;
        };
        for used in &member.uses {
            match place(used) {
                Some(other) if other < own => {}
                _ => findings.push(format!(
                    "{name}: uses {used}, which does not stand above it"
                )),
            }
        }
    }
    let gone = order
        .iter()
        .filter(|name| !members.iter().any(|member| member.name == **name));
    findings.extend(gone.map(|name| format!("{name}: is in the order, but not in the workspace")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(order: &[&str], members: &[(&str, &[&str])]) -> Vec<String> {
        let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
        let members: Vec<Member> = members
            .iter()
            .map(|(name, uses)| Member {
                name: (*name).to_owned(),
                description: "one line".to_owned(),
                uses: uses.iter().map(|name| (*name).to_owned()).collect(),
            })
            .collect();
        findings(&order, &members)
    }

    #[test]
    fn only_upwards() {
        assert!(
            found(
                &["a", "b", "c"],
                &[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])]
            )
            .is_empty()
        );
        assert_eq!(
            found(&["a", "b"], &[("a", &["b"]), ("b", &[])]),
            ["a: uses b, which does not stand above it"]
        );
        assert_eq!(found(&["a"], &[("a", &["a"])]).len(), 1);
        assert_eq!(
            found(&["a"], &[("a", &[]), ("b", &["a"])]),
            ["b: is not in workspace.metadata.hako.order (Cargo.toml)"]
        );
        assert_eq!(
            found(&["a", "b"], &[("a", &[])]),
            ["b: is in the order, but not in the workspace"]
        );
    }
}
