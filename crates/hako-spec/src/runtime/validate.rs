//! What the specification demands of a `config.json` by itself.
//!
//! Nothing here looks at the machine: whether paths exist, whether a
//! capability can be granted or a controller is there is the runtime's to see.
//! A document that breaks a "SHOULD" alone is no problem. The rules are those
//! for Linux containers.

mod linux;
mod process;

use std::collections::BTreeSet;
use std::fmt;

use super::{Config, Hook, Hooks, IdMapping, Mount};

pub use process::RLIMITS;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the document: `process.rlimits[1].type`.
    pub path: String,
    /// What is wrong, a sentence without a full stop.
    pub message: String,
    /// Where the rule stands: file and section of the runtime specification.
    pub section: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.message, self.section)
    }
}

/// What the configuration is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To create the container: `process` may be absent.
    Create,
    /// To start it: `process` is needed (config.md "Process").
    Start,
}

/// Checks a configuration; an empty list means that all rules hold.
#[must_use]
pub fn config(config: &Config, purpose: Purpose) -> Vec<Problem> {
    let mut found = Problems::default();
    version(&mut found, &config.oci_version);
    match &config.root {
        None => found.add("root", "is missing", "config.md \"Root\""),
        Some(root) => found.path_text("root.path", &root.path, "config.md \"Root\""),
    }
    match &config.process {
        None if purpose == Purpose::Start => {
            found.add("process", "is missing", "config.md \"Process\"");
        }
        None => {}
        Some(process) => process::check(&mut found, process, "process"),
    }
    mounts(&mut found, &config.mounts);
    if let Some(hooks) = &config.hooks {
        all_hooks(&mut found, hooks);
    }
    if config.annotations.contains_key("") {
        found.add(
            "annotations",
            "has an empty key",
            "config.md \"Annotations\"",
        );
    }
    host_names(&mut found, config);
    if let Some(part) = &config.linux {
        linux::check(&mut found, part);
    }
    found.list
}

/// Checks a process by itself, as exec gets it.
#[must_use]
pub fn process(process: &super::Process) -> Vec<Problem> {
    let mut found = Problems::default();
    process::check(&mut found, process, "process");
    found.list
}

/// Checks resources by themselves, as update gets them.
#[must_use]
pub fn resources(resources: &super::Resources) -> Vec<Problem> {
    let mut found = Problems::default();
    linux::resources(&mut found, resources, "resources");
    found.list
}

/// The list in the making.
#[derive(Default)]
struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>, section: &'static str) {
        self.list.push(Problem {
            path: path.into(),
            message: message.into(),
            section,
        });
    }

    /// A text that goes to the kernel as a path.
    fn path_text(&mut self, path: &str, text: &str, section: &'static str) {
        if text.is_empty() {
            self.add(path, "is empty", section);
        } else if text.contains('\0') {
            self.add(path, "has a NUL character", section);
        }
    }

    /// A path that must be absolute.
    fn absolute(&mut self, path: &str, text: &str, section: &'static str) {
        self.path_text(path, text, section);
        if !text.is_empty() && !text.starts_with('/') {
            self.add(path, format!("{text:?} is not an absolute path"), section);
        }
    }

    /// Texts that go to the kernel as an argument vector or environment.
    fn no_nul(&mut self, path: &str, texts: &[String], section: &'static str) {
        for (place, text) in texts.iter().enumerate() {
            if text.contains('\0') {
                self.add(format!("{path}[{place}]"), "has a NUL character", section);
            }
        }
    }

    /// An environment: POSIX wants `NAME=value` with a name.
    fn environment(&mut self, path: &str, entries: &[String], section: &'static str) {
        self.no_nul(path, entries, section);
        for (place, entry) in entries.iter().enumerate() {
            match entry.find('=') {
                None => self.add(
                    format!("{path}[{place}]"),
                    format!("{entry:?} has no ="),
                    section,
                ),
                Some(0) => {
                    self.add(
                        format!("{path}[{place}]"),
                        format!("{entry:?} has no name"),
                        section,
                    );
                }
                Some(_) => {}
            }
        }
    }

    /// A list of ids to ids: ranges must not be empty, overflow or overlap.
    fn mappings(&mut self, path: &str, mappings: &[IdMapping]) {
        let section = "config-linux.md \"User namespace mappings\"";
        for (place, mapping) in mappings.iter().enumerate() {
            let path = format!("{path}[{place}]");
            if mapping.size == 0 {
                self.add(format!("{path}.size"), "is 0", section);
            }
            for (name, first) in [
                ("containerID", mapping.container_id),
                ("hostID", mapping.host_id),
            ] {
                // 2^32-1 is no id: (uid_t)-1 means "unchanged" to the kernel.
                if u64::from(first) + u64::from(mapping.size) > u64::from(u32::MAX) {
                    self.add(
                        format!("{path}.{name}"),
                        "the range ends beyond all ids",
                        section,
                    );
                }
            }
            let overlaps = |first: fn(&IdMapping) -> u32| {
                mappings.iter().take(place).any(|other| {
                    u64::from(first(other)) < u64::from(first(mapping)) + u64::from(mapping.size)
                        && u64::from(first(mapping))
                            < u64::from(first(other)) + u64::from(other.size)
                })
            };
            if overlaps(|mapping| mapping.container_id) || overlaps(|mapping| mapping.host_id) {
                self.add(path, "overlaps an earlier mapping", section);
            }
        }
    }
}

fn version(found: &mut Problems, text: &str) {
    let section = "config.md \"Specification version\"";
    match semver(text) {
        None => found.add(
            "ociVersion",
            format!("{text:?} is not a semantic version"),
            section,
        ),
        Some(major) if major != 1 => {
            found.add(
                "ociVersion",
                format!("{text:?} is not a version 1"),
                section,
            );
        }
        Some(_) => {}
    }
}

/// The major number of a semantic version (semver.org 2.0.0), or nothing.
fn semver(text: &str) -> Option<u64> {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    let number = |part: &str| {
        let plain = part.bytes().all(|c| c.is_ascii_digit()) && !part.is_empty();
        (plain && (part == "0" || !part.starts_with('0'))).then(|| part.parse::<u64>().ok())?
    };
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let pre_word = |part: &str| {
        let digits = part.bytes().all(|c| c.is_ascii_digit());
        word(part) && (!digits || part == "0" || !part.starts_with('0'))
    };
    if build.is_some_and(|build| !build.split('.').all(word))
        || pre.is_some_and(|pre| !pre.split('.').all(pre_word))
    {
        return None;
    }
    let mut parts = core.split('.').map(number);
    let major = parts.next()??;
    parts.next()??;
    parts.next()??;
    parts.next().is_none().then_some(major)
}

fn mounts(found: &mut Problems, mounts: &[Mount]) {
    let section = "config.md \"Mounts\"";
    for (place, mount) in mounts.iter().enumerate() {
        let path = format!("mounts[{place}]");
        // A relative destination is deprecated, not wrong.
        found.path_text(&format!("{path}.destination"), &mount.destination, section);
        for (name, text) in [("type", &mount.kind), ("source", &mount.source)] {
            if let Some(text) = text {
                found.path_text(&format!("{path}.{name}"), text, section);
            }
        }
        found.no_nul(&format!("{path}.options"), &mount.options, section);
        let posix = "config.md \"POSIX-platform Mounts\"";
        match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
            (true, false) => found.add(path.as_str(), "has gidMappings without uidMappings", posix),
            (false, true) => found.add(path.as_str(), "has uidMappings without gidMappings", posix),
            _ => {}
        }
        found.mappings(&format!("{path}.uidMappings"), &mount.uid_mappings);
        found.mappings(&format!("{path}.gidMappings"), &mount.gid_mappings);
    }
}

fn all_hooks(found: &mut Problems, hooks: &Hooks) {
    for (name, list) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for (place, one) in list.iter().enumerate() {
            hook(found, one, &format!("hooks.{name}[{place}]"));
        }
    }
}

fn hook(found: &mut Problems, hook: &Hook, path: &str) {
    let section = "config.md \"POSIX-platform Hooks\"";
    found.absolute(&format!("{path}.path"), &hook.path, section);
    found.no_nul(&format!("{path}.args"), &hook.args, section);
    found.environment(&format!("{path}.env"), &hook.env, section);
    if hook.timeout.is_some_and(|timeout| timeout <= 0) {
        found.add(format!("{path}.timeout"), "is not greater than 0", section);
    }
}

fn host_names(found: &mut Problems, config: &Config) {
    for (name, text, section) in [
        ("hostname", &config.hostname, "config.md \"Hostname\""),
        ("domainname", &config.domainname, "config.md \"Domainname\""),
    ] {
        let Some(text) = text else { continue };
        // sethostname(2): at most HOST_NAME_MAX, 64 bytes.
        if text.len() > 64 {
            found.add(name, "is longer than 64 bytes", section);
        }
    }
}

/// Adds a problem for each text that comes twice.
fn unique<'a, T: Ord + fmt::Display + 'a>(
    found: &mut Problems,
    items: impl Iterator<Item = T>,
    path: impl Fn(usize) -> String,
    section: &'static str,
) {
    let mut seen = BTreeSet::new();
    for (place, item) in items.enumerate() {
        let text = item.to_string();
        if !seen.insert(item) {
            found.add(path(place), format!("{text} comes twice"), section);
        }
    }
}

#[cfg(test)]
mod tests;
