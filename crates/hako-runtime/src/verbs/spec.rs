//! `spec`: a config.json to start from.

use std::io::Write as _;

use hako_spec::runtime::{Config, NamespaceKind};
use serde_json::Value;

use super::no_more;
use crate::cli::Args;
use crate::error::{Context, Result};

pub(super) fn run(args: &Args) -> Result<u8> {
    no_more(args, 0)?;
    let dir = args.path("bundle").unwrap_or_else(|| ".".into());
    // A file that is named may be replaced, as crun has it.
    let path = dir.join(args.get("file").unwrap_or("config.json"));
    let named = args.has("file");
    let user = args.has("rootless-spec").then(|| {
        let uid = rustix::process::geteuid().as_raw();
        (uid, rustix::process::getegid().as_raw())
    });
    let text = document(user, on_version_two())?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(!named)
        .create(named)
        .truncate(named)
        .open(&path)
        .context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())
        .context(|| path.display().to_string())?;
    Ok(0)
}

/// The text of the file, with the members of objects in alphabetical order; for
/// a user with these ids, or for root.
fn document(user: Option<(u32, u32)>, version_two: bool) -> Result<String> {
    let mut config = Config::template();
    if let Some(linux) = &mut config.linux
        && !version_two
    {
        // As runc: with version 1 a container sees where its cgroups are on the host.
        let stays = |kind| kind != NamespaceKind::Cgroup;
        linux.namespaces.retain(|it| stays(it.kind));
    }
    if let Some((uid, gid)) = user {
        config.make_rootless(uid, gid);
    }
    // Through text: to_value would bring a second writer of all types.
    let config: Value = serde_json::from_slice(&serde_json::to_vec(&config)?)?;
    Ok(format!("{config:#}\n"))
}

/// Whether the host has cgroup version 2 alone.
fn on_version_two() -> bool {
    hako_cgroup::Host::detect().is_ok_and(|host| host.mode() == Some(hako_cgroup::Mode::V2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others start from this file: it changes on purpose alone.
    #[test]
    fn the_text_stays_as_it_is() {
        let plain = include_str!("spec/plain.json");
        assert_eq!(document(None, false).unwrap(), plain);
        let rootless = include_str!("spec/rootless.json");
        assert_eq!(document(Some((0, 0)), false).unwrap(), rootless);
        let cgroup = "      {\n        \"type\": \"cgroup\"\n      },\n";
        let with = document(None, true).unwrap();
        assert_eq!(with.replacen(cgroup, "", 1), plain);
        assert_ne!(with, plain);
    }
}
