//! Ids and names of containers.

use crate::error::{At, Error, Result};

/// 64 hexadecimal digits of randomness, as every engine names containers.
pub fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(std::io::Error::from)
        .doing("get random bytes")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

const FIRST: &[&str] = &[
    "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "crisp",
    "dapper", "eager", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden",
    "grand", "happy", "hardy", "jolly", "keen", "kind", "lively", "lucid", "lucky", "mellow",
    "merry", "modest", "neat", "nimble", "noble", "plain", "polite", "prime", "proud", "quick",
    "quiet", "ready", "robust", "serene", "sharp", "silent", "smart", "snug", "solid", "spry",
    "steady", "sunny", "swift", "tidy", "trusty", "vivid", "warm", "wise", "witty", "zesty",
];

const SECOND: &[&str] = &[
    "acorn", "alder", "anvil", "apple", "badger", "barge", "basket", "beech", "birch", "bridge",
    "brook", "cabin", "candle", "canoe", "cedar", "chest", "clover", "comet", "crane", "crate",
    "creek", "dune", "falcon", "fern", "ferry", "finch", "fjord", "forge", "fox", "garden",
    "harbor", "hazel", "heron", "island", "kettle", "lantern", "lark", "ledger", "lemon", "linden",
    "maple", "meadow", "otter", "owl", "parcel", "pebble", "pine", "plum", "poplar", "quay",
    "raven", "reef", "river", "rowan", "sparrow", "spruce", "stork", "trunk", "willow", "wren",
];

/// A name for a container whose user gave none; the end of the id makes it
/// unique enough that nobody needs to try again.
pub(crate) fn name_of(id: &str) -> String {
    let byte = |at: usize| {
        id.get(at..at + 4)
            .and_then(|h| usize::from_str_radix(h, 16).ok())
            .unwrap_or(0)
    };
    let pick = |list: &[&'static str], n: usize| list.get(n % list.len()).copied().unwrap_or("box");
    let tail = id.get(60..).unwrap_or_default();
    format!("{}_{}_{tail}", pick(FIRST, byte(0)), pick(SECOND, byte(4)))
}

/// Checks a name that a user chose: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as Docker.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::invalid(
        "container name",
        name,
        "it starts with a letter or digit and has letters, digits, _ . - alone, at most 255",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let id = random_id().unwrap();
        assert_eq!(id.len(), 64);
        check_name(&name_of(&id)).unwrap();
        for bad in ["", "-a", "a/b", "a b", ".", &"a".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
