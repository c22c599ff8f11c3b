//! `update`: other limits for a container that runs.

use hako_spec::runtime::{Resources, Status, validate};
use serde_json::{Map, Value};

use super::{Global, document, load, no_more};
use crate::cli::Args;
use crate::container::{pids, scope};
use crate::error::{Context, Error, Result};
use crate::log;

/// What a flag's value is.
#[derive(Clone, Copy)]
enum Kind {
    /// A number.
    Number,
    /// A size in bytes, with an optional unit; -1 is no limit.
    Size,
    /// A list of processors or nodes.
    Text,
}

/// Flag, section and field of the resources.
const FLAGS: [(&str, &str, &str, Kind); 14] = [
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Size),
    ("memory-reservation", "memory", "reservation", Kind::Size),
    ("memory-swap", "memory", "swap", Kind::Size),
    ("pids-limit", "pids", "limit", Kind::Number),
];

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let container = load(global, args)?;
    // From a file, all other flags are ignored (as runc).
    let resources = match args.get("resources") {
        Some(file) => {
            let mut resources = read(file)?;
            pids::translate(&container.saved.oci_version, &mut resources);
            resources
        }
        None => flags(args)?,
    };
    if let Some(problem) = validate::resources(&resources).first() {
        return Err(Error::new(problem.to_string()));
    }
    // In the order that config-linux.md has for them.
    let schemata = ["l3-cache-schema", "mem-bw-schema"];
    let schemata = schemata.iter().filter_map(|flag| args.get(flag));
    let schemata: Vec<&str> = schemata.filter(|line| !line.is_empty()).collect();
    if !schemata.is_empty() && container.saved.rdt.is_none() {
        return Err(Error::new(format!(
            "container {} has no resctrl group: its configuration has no linux.intelRdt",
            container.saved.id
        )));
    }
    if args.has("kernel-memory") || args.has("kernel-memory-tcp") {
        log::warn("limits of kernel memory are ignored: kernels no longer have them");
    }
    if container.status() == Status::Stopped {
        return Err(container.not_running());
    }
    let cgroup = container.saved.cgroup();
    if let Some(scope) = &container.saved.scope {
        scope::update(scope, &cgroup, &resources).context(|| "update")?;
    }
    cgroup.update(&resources).context(|| "update")?;
    if let Some(groups) = &container.saved.rdt {
        groups.update(&schemata).context(|| "update")?;
    }
    Ok(0)
}

fn read(file: &str) -> Result<Resources> {
    document(file)
        .and_then(|bytes| Ok(Resources::from_slice(&bytes)?))
        .context(|| format!("--resources {file}"))
}

/// The flags as the document that they stand for.
fn flags(args: &Args) -> Result<Resources> {
    let mut document = Map::new();
    for (flag, section, field, kind) in FLAGS {
        // An empty value is none at all: callers pass every flag.
        let Some(text) = args.get(flag).filter(|text| !text.is_empty()) else {
            continue;
        };
        let wrong = || Error::new(format!("--{flag}: {text:?} is no valid value"));
        let value = match kind {
            Kind::Text => text.into(),
            Kind::Number => text.parse::<i64>().map_err(|_| wrong())?.into(),
            Kind::Size if text == "-1" => (-1).into(),
            Kind::Size => size(text).ok_or_else(wrong)?.into(),
        };
        let section = document
            .entry(section)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(section) = section {
            section.insert(field.to_owned(), value);
        }
    }
    // What does not fit its field (a negative period) is an error that names it.
    Ok(Resources::from_slice(&serde_json::to_vec(&document)?)?)
}

/// Bytes, as docker and runc take them: a number, with a fraction if need be,
/// and a unit of 1024 (`b`, `k`, `m`, `g`, `t`, `p`, also `kb`, `KiB`).
fn size(text: &str) -> Option<i64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    let bytes = number.parse::<f64>().ok()? * scale as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1k", Some(1024)),
            ("32M", Some(32 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("2 gb", Some(2 << 30)),
            ("1tb", Some(1 << 40)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775807k", None),
            ("99999999999999999999", None),
            ("", None),
            ("-1", None),
            ("-5", None),
            ("m", None),
            ("1x", None),
            ("1.2.3", None),
            ("1e3", None),
            ("inf", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
