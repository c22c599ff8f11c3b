//! Mounts and hooks.

use hako_spec::runtime::{Config, Hook, Hooks, Mount};

use super::Act::{Each, When};
use super::{Entry, Wrong, words};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "mounts-remove-all",
        "",
        "Remove all mounts",
        &["mounts"],
        When(|config| config.mounts.clear()),
    ),
    Entry::new(
        "mounts-remove",
        "PATH",
        "Remove the mounts at a path",
        &["mounts"],
        Each(|config, value| {
            config.mounts.retain(|it| it.destination != value);
            Ok(())
        }),
    ),
    Entry::new(
        "mounts-add",
        "JSON",
        r#"Add a mount: {"destination":…,"type":…,"source":…,"options":[…]}"#,
        &["mounts"],
        Each(|config, value| {
            config.mounts.push(words::json(value)?);
            Ok(())
        }),
    ),
    Entry::new(
        "mount",
        "KEY=VALUE,…",
        "Add a mount as podman and docker spell it: type=bind,src=/data,dst=/data,ro",
        &["mounts"],
        Each(|config, value| {
            config.mounts.push(mount(value)?);
            Ok(())
        }),
    ),
];

/// The two options for a kind of hooks.
macro_rules! hooks {
    ($($json:literal $field:ident $remove:literal $add:literal $help:literal)*) => {
        &[$(
            Entry::new(
                $remove,
                "",
                concat!("Remove all ", $json, " hooks"),
                &[concat!("hooks.", $json)],
                When(|config| config.hooks.iter_mut().for_each(|it| it.$field.clear())),
            ),
            Entry::new(
                $add,
                "JSON",
                $help,
                &[concat!("hooks.", $json)],
                Each(|config, value| {
                    let hook: Hook = words::json(value)?;
                    hooks(config).$field.push(hook);
                    Ok(())
                }),
            ),
        )*]
    };
}

pub(super) const HOOKS: &[Entry] = hooks! {
    "prestart" prestart "hooks-prestart-remove-all" "hooks-prestart-add"
        r#"Add a prestart hook: {"path":…,"args":[…],"env":[…],"timeout":…}"#
    "createRuntime" create_runtime "hooks-create-runtime-remove-all" "hooks-create-runtime-add"
        "Add a createRuntime hook, in the same form"
    "createContainer" create_container "hooks-create-container-remove-all" "hooks-create-container-add"
        "Add a createContainer hook, in the same form"
    "startContainer" start_container "hooks-start-container-remove-all" "hooks-start-container-add"
        "Add a startContainer hook, in the same form"
    "poststart" poststart "hooks-poststart-remove-all" "hooks-poststart-add"
        "Add a poststart hook, in the same form"
    "poststop" poststop "hooks-poststop-remove-all" "hooks-poststop-add"
        "Add a poststop hook, in the same form"
};

fn hooks(config: &mut Config) -> &mut Hooks {
    config.hooks.get_or_insert_default()
}

/// `type=bind,src=/a,dst=/b,ro`: the keys that podman and docker know; every
/// other word is an option of the mount.
fn mount(text: &str) -> Result<Mount, Wrong> {
    let mut kind = None;
    let mut source = None;
    let mut destination = None;
    let mut recursive = true;
    let mut options = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let truth = || value.map_or(Ok(true), words::truth);
        let wanted = || {
            value
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| format!("{key} lacks its value"))
        };
        match key {
            "type" => kind = Some(wanted()?),
            "src" | "source" => source = Some(wanted()?),
            "dst" | "destination" | "target" => destination = Some(wanted()?),
            "ro" | "readonly" => options.push(if truth()? { "ro" } else { "rw" }.to_owned()),
            "rw" => options.push(if truth()? { "rw" } else { "ro" }.to_owned()),
            "bind-nonrecursive" => recursive = !truth()?,
            "bind-propagation" => options.push(wanted()?),
            "tmpfs-size" => options.push(format!("size={}", wanted()?)),
            "tmpfs-mode" => options.push(format!("mode={}", wanted()?)),
            _ => options.push(word.to_owned()),
        }
    }
    let kind = kind.ok_or("lacks a type: type=bind, type=tmpfs, …")?;
    let destination = destination.ok_or("lacks a destination: dst=/path")?;
    if kind == "volume" {
        return Err("volumes are an engine's: use type=bind".into());
    }
    if kind == "bind" {
        if source.is_none() {
            return Err("lacks a source: src=/path".into());
        }
        if !options.iter().any(|it| it == "bind" || it == "rbind") {
            let option = if recursive { "rbind" } else { "bind" };
            options.insert(0, option.into());
        }
    }
    Ok(Mount {
        destination,
        source: Some(source.unwrap_or_else(|| kind.clone())),
        kind: Some(kind),
        options,
        ..Mount::default()
    })
}
