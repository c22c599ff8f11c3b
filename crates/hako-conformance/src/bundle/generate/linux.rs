//! What is Linux's alone: namespaces, mappings, devices, parameters, paths,
//! labels and classes.

use hako_spec::runtime::{
    Config, Device, DeviceKind, IdMapping, IntelRdt, Linux, Namespace, NamespaceKind, NetDevice,
    Personality, PersonalityDomain, TimeOffset,
};

use super::Act::{Each, One, When};
use super::{Entry, Wrong, words};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "linux-namespace-remove-all",
        "",
        "Remove all namespaces: the container has the runtime's",
        &["linux.namespaces"],
        When(|config| of(config).namespaces.clear()),
    ),
    Entry::new(
        "linux-uidmappings",
        "HOST:CONTAINER:SIZE",
        "Add a mapping of users, and a user namespace",
        &["linux.uidMappings", "linux.namespaces"],
        Each(|config, value| {
            let mapping = mapping(value)?;
            new_user_namespace(config);
            of(config).uid_mappings.push(mapping);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-gidmappings",
        "HOST:CONTAINER:SIZE",
        "Add a mapping of groups, and a user namespace",
        &["linux.gidMappings", "linux.namespaces"],
        Each(|config, value| {
            let mapping = mapping(value)?;
            new_user_namespace(config);
            of(config).gid_mappings.push(mapping);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-namespace-add",
        "TYPE[:PATH]",
        "Add or replace a namespace: a new one, or the one at PATH",
        &["linux.namespaces"],
        Each(|config, value| {
            let (kind, path) = match value.split_once(':') {
                Some((kind, path)) => (kind, words::text(path)?),
                None => (value, None),
            };
            put(config, words::named(kind, "", NamespaceKind::ALL)?, path);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-namespace-remove",
        "TYPE",
        "Remove a namespace",
        &["linux.namespaces"],
        Each(|config, value| {
            let kind = words::named(value, "", NamespaceKind::ALL)?;
            of(config).namespaces.retain(|it| it.kind != kind);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-time-offset",
        "CLOCK:SECONDS[:NANOSECONDS]",
        "Offset of a clock, monotonic or boottime, and a time namespace",
        &["linux.timeOffsets", "linux.namespaces"],
        Each(time_offset),
    ),
    Entry::new(
        "linux-device-remove-all",
        "",
        "Remove all devices beside the default ones",
        &["linux.devices"],
        When(|config| of(config).devices.clear()),
    ),
    Entry::new(
        "linux-device-add",
        "TYPE:MAJOR:MINOR:PATH[:OPTION…]",
        "Add or replace a device: c:10:229:/dev/fuse:fileMode=0666:uid=0:gid=0",
        &["linux.devices"],
        Each(|config, value| {
            let device = device(value)?;
            words::put(&mut of(config).devices, |it| it.path.clone(), device);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-device-remove",
        "PATH",
        "Remove a device",
        &["linux.devices"],
        Each(|config, value| {
            of(config).devices.retain(|it| it.path != value);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-net-device-add",
        "NAME[:NAME-INSIDE]",
        "Move a network device of the host into the container",
        &["linux.netDevices"],
        Each(|config, value| {
            let (host, name) = match value.split_once(':') {
                Some((host, name)) => (host, words::text(name)?),
                None => (value, None),
            };
            let device = NetDevice {
                name,
                ..NetDevice::default()
            };
            of(config).net_devices.insert(host.into(), device);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-sysctl",
        "NAME=VALUE",
        "Set a kernel parameter",
        &["linux.sysctl"],
        Each(|config, value| {
            let (name, value) = words::pair(value)?;
            of(config).sysctl.insert(name, value);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-masked-paths",
        "PATH",
        "Add a path that cannot be read inside",
        &["linux.maskedPaths"],
        Each(|config, value| {
            words::put(&mut of(config).masked_paths, String::clone, value.into());
            Ok(())
        }),
    ),
    Entry::new(
        "linux-readonly-paths",
        "PATH",
        "Add a path that cannot be written inside",
        &["linux.readonlyPaths"],
        Each(|config, value| {
            words::put(&mut of(config).readonly_paths, String::clone, value.into());
            Ok(())
        }),
    ),
    Entry::new(
        "linux-rootfs-propagation",
        "MODE",
        "Mount propagation of the root: (r)shared, (r)slave, (r)private, (r)unbindable",
        &["linux.rootfsPropagation"],
        One(|config, value| {
            of(config).rootfs_propagation = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-mount-label",
        "LABEL",
        "SELinux label of the mounts",
        &["linux.mountLabel"],
        One(|config, value| {
            of(config).mount_label = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-personality",
        "DOMAIN",
        "Execution domain, LINUX or LINUX32",
        &["linux.personality"],
        One(|config, value| {
            of(config).personality = Some(Personality {
                domain: words::named(value, "", PersonalityDomain::ALL)?,
                ..Personality::default()
            });
            Ok(())
        }),
    ),
    Entry::new(
        "linux-intelRdt-closid",
        "NAME",
        "Class of service: the group in resctrl",
        &["linux.intelRdt.closID"],
        One(|config, value| {
            rdt(config).clos_id = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-intelRdt-l3CacheSchema",
        "SCHEMA",
        "Line for the L3 cache",
        &["linux.intelRdt.l3CacheSchema"],
        One(|config, value| {
            rdt(config).l3_cache_schema = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-intelRdt-memBwSchema",
        "SCHEMA",
        "Line for the memory bandwidth",
        &["linux.intelRdt.memBwSchema"],
        One(|config, value| {
            rdt(config).mem_bw_schema = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-intelRdt-schemata",
        "LINE",
        "Add a line to the group's schemata",
        &["linux.intelRdt.schemata"],
        Each(|config, value| {
            rdt(config).schemata.push(value.into());
            Ok(())
        }),
    ),
];

/// Linux's part, which a template may lack.
pub(super) fn of(config: &mut Config) -> &mut Linux {
    config.linux.get_or_insert_default()
}

fn rdt(config: &mut Config) -> &mut IntelRdt {
    of(config).intel_rdt.get_or_insert_default()
}

fn put(config: &mut Config, kind: NamespaceKind, path: Option<String>) {
    let namespace = Namespace {
        kind,
        path,
        ..Namespace::default()
    };
    words::put(&mut of(config).namespaces, |it| it.kind, namespace);
}

/// Mappings are for a namespace that the runtime makes.
fn new_user_namespace(config: &mut Config) {
    put(config, NamespaceKind::User, None);
}

fn mapping(text: &str) -> Result<IdMapping, Wrong> {
    let [host, container, size] = words::parts(text, "HOST:CONTAINER:SIZE")?;
    Ok(IdMapping {
        host_id: words::decimal(host)?,
        container_id: words::decimal(container)?,
        size: words::decimal(size)?,
        ..IdMapping::default()
    })
}

fn time_offset(config: &mut Config, text: &str) -> Result<(), Wrong> {
    let mut parts = text.split(':');
    let (clock, secs, nanosecs) = (parts.next(), parts.next(), parts.next());
    let (Some(clock), Some(secs), None) = (clock, secs, parts.next()) else {
        return Err("is not of the form CLOCK:SECONDS[:NANOSECONDS]".into());
    };
    let offset = TimeOffset {
        secs: words::decimal(secs)?,
        nanosecs: nanosecs.map_or(Ok(0), words::decimal)?,
        ..TimeOffset::default()
    };
    if of(config).namespace(NamespaceKind::Time).is_none() {
        put(config, NamespaceKind::Time, None);
    }
    of(config).time_offsets.insert(clock.into(), offset);
    Ok(())
}

fn device(text: &str) -> Result<Device, Wrong> {
    let mut parts = text.split(':');
    let mut part = || {
        parts
            .next()
            .ok_or("is not of the form TYPE:MAJOR:MINOR:PATH[:OPTION…]")
    };
    let kind: DeviceKind = words::named(part()?, "", DeviceKind::ALL)?;
    let (major, minor) = (words::decimal(part()?)?, words::decimal(part()?)?);
    let is_fifo = kind == DeviceKind::Fifo;
    let mut device = Device {
        kind,
        major: Some(major).filter(|_| !is_fifo),
        minor: Some(minor).filter(|_| !is_fifo),
        path: part()?.into(),
        ..Device::default()
    };
    for option in parts {
        match option.split_once('=') {
            // With a leading 0 it is octal, as modes are written.
            Some(("fileMode", mode)) => device.file_mode = Some(words::number(mode)?),
            Some(("uid", uid)) => device.uid = Some(words::decimal(uid)?),
            Some(("gid", gid)) => device.gid = Some(words::decimal(gid)?),
            _ => return Err(format!("{option:?} is none of fileMode=, uid= and gid=")),
        }
    }
    Ok(device)
}
