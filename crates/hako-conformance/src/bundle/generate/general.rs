//! The container as a whole: version, names, root file system, annotations, and
//! the two options that change several fields.

use hako_spec::runtime::{Config, DeviceRule, Root};

use super::Act::{Bool, Each, One, When};
use super::{Entry, capabilities, words};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "oci-version",
        "VERSION",
        "Version of the runtime specification",
        &["ociVersion"],
        One(|config, value| {
            config.oci_version = value.into();
            Ok(())
        }),
    ),
    Entry::new(
        "hostname",
        "NAME",
        "Host name",
        &["hostname"],
        One(|config, value| {
            config.hostname = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "domainname",
        "NAME",
        "NIS domain name",
        &["domainname"],
        One(|config, value| {
            config.domainname = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "label",
        "KEY=VALUE",
        "Add an annotation",
        &["annotations"],
        Each(|config, value| {
            let (key, value) = words::pair(value)?;
            config.annotations.insert(key, value);
            Ok(())
        }),
    ),
    Entry::new(
        "rootfs-path",
        "PATH",
        "Root file system, absolute or relative to the bundle",
        &["root.path"],
        One(|config, value| {
            root(config).path = value.into();
            Ok(())
        }),
    ),
    Entry::new(
        "rootfs-readonly",
        "",
        "Whether the root file system is read-only inside",
        &["root.readonly"],
        Bool(|config, value| root(config).readonly = value),
    ),
    Entry::new(
        "privileged",
        "",
        "All capabilities and devices; no seccomp filter, labels, masked or read-only paths",
        &[
            "process.capabilities",
            "process.noNewPrivileges",
            "linux.resources.devices",
        ],
        When(privileged),
    ),
];

fn root(config: &mut Config) -> &mut Root {
    config.root.get_or_insert_with(|| Root {
        path: "rootfs".into(),
        ..Root::default()
    })
}

/// As the manual of oci-runtime-tool promises. What the template has and
/// upstream's has not, which would stand in the way, is taken back, too.
fn privileged(config: &mut Config) {
    capabilities::all(config);
    let process = super::process::of(config);
    process.selinux_label = None;
    process.apparmor_profile = None;
    process.no_new_privileges = false;
    let linux = config.linux.get_or_insert_default();
    linux.seccomp = None;
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    linux.resources.get_or_insert_default().devices = vec![DeviceRule {
        allow: true,
        access: Some("rwm".into()),
        ..DeviceRule::default()
    }];
}
