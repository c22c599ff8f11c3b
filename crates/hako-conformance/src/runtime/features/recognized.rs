//! "Hooks" and "Mount Options": what is listed has to be known.

use serde_json::{Value, json};

use super::names;
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "features.hooks",
        "features.md#hooks",
        "The hooks that are listed are invoked.",
        hooks,
    ),
    Check::must(
        "features.mount-options",
        "features.md#mount-options",
        "The mount options that are listed are recognized.",
        mount_options,
    ),
    Check::must(
        "features.mount-options-general",
        "features.md#mount-options",
        "No mount option that is listed belongs to one type of file system.",
        |bench| {
            let own = [
                "size",
                "mode",
                "uid",
                "gid",
                "nr_inodes",
                "lowerdir",
                "upperdir",
                "workdir",
            ];
            let all = names(bench, "/mountOptions")?;
            let bad: Vec<_> = all
                .iter()
                .filter(|name| name.contains('=') || own.contains(&name.as_str()))
                .collect();
            demand(bad.is_empty(), || format!("of file systems: {bad:?}"))
        },
    )
    .should(),
];

fn hooks(bench: &Bench) -> Verdict {
    let mut silent = Vec::new();
    for kind in names(bench, "/hooks")? {
        let trial = Trial::new(bench, &[])?;
        let (inside, outside) = match kind.as_str() {
            "startContainer" => ("/tmp/ran".to_owned(), trial.rootfs().join("tmp/ran")),
            _ => {
                let path = trial.beside("ran");
                (path.to_string_lossy().into_owned(), path)
            }
        };
        let trial = trial.hook(&kind, &[Step::Append(inside, "ran".into())]);
        trial.live()?;
        if !outside.exists() {
            silent.push(kind);
        }
        trial.passed()?;
    }
    demand(silent.is_empty(), || format!("not invoked: {silent:?}"))
}

/// Options that need more than a mount which has them.
fn mount(option: &str, trial: &Trial<'_>) -> Option<Value> {
    let source = trial.rootfs().join("etc").to_string_lossy().into_owned();
    Some(match option {
        // With mappings of their own.
        "idmap" | "ridmap" => return None,
        "bind" | "rbind" => json!({
            "destination": "/tmp", "type": "none", "source": source, "options": [option],
        }),
        "remount" => json!({
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["remount", "nosuid", "noexec", "nodev"],
        }),
        name if name.contains("nofollow")
            || name.contains("symlink") && name.starts_with("copy") =>
        {
            json!({
                "destination": "/tmp", "type": "none", "source": source,
                "options": ["bind", option],
            })
        }
        _ => json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [option],
        }),
    })
}

/// Whether a container with these options can be made, each at a mount of its
/// own.
fn taken(bench: &Bench, options: &[String]) -> Result<bool, Stop> {
    let trial = Trial::new(bench, &[])?;
    let mut mounts = Vec::new();
    for (n, option) in options.iter().enumerate() {
        let Some(mut mount) = mount(option, &trial) else {
            continue;
        };
        if mount["destination"] == "/tmp" {
            mount["destination"] = json!(format!("/tmp/{n}"));
        }
        mounts.push(mount);
    }
    let trial = trial.edit(|config| {
        if let Some(all) = config["mounts"].as_array_mut() {
            all.extend(mounts);
        }
    });
    let done = trial.try_create()?;
    trial.passed()?;
    Ok(done.is_ok())
}

fn mount_options(bench: &Bench) -> Verdict {
    bench.works()?;
    let all = names(bench, "/mountOptions")?;
    if taken(bench, &all)? {
        return Ok(());
    }
    let mut refused = Vec::new();
    for option in all {
        if !taken(bench, std::slice::from_ref(&option))? {
            refused.push(option);
        }
    }
    demand(refused.is_empty(), || format!("refused: {refused:?}"))
}
