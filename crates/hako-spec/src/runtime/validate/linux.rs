//! The rules of config-linux.md.

use super::process::{is_number_list, number_list_len};
use super::{Problems, unique};
use crate::runtime::{
    Device, DeviceKind, IntelRdt, Linux, MemoryPolicy, MemoryPolicyMode, NamespaceKind, Resources,
    Seccomp, SeccompAction, SeccompArg,
};

pub(super) fn check(found: &mut Problems, linux: &Linux) {
    namespaces(found, linux);
    let mappings = "config-linux.md \"User namespace mappings\"";
    found.mappings("linux.uidMappings", &linux.uid_mappings);
    found.mappings("linux.gidMappings", &linux.gid_mappings);
    if linux.uid_mappings.is_empty() != linux.gid_mappings.is_empty() {
        found.add(
            "linux",
            "has one of uidMappings and gidMappings without the other",
            mappings,
        );
    }
    devices(found, linux);
    net_devices(found, linux);
    if let Some(part) = &linux.resources {
        resources(found, part, "linux.resources");
    }
    if let Some(path) = &linux.cgroups_path {
        found.path_text(
            "linux.cgroupsPath",
            path,
            "config-linux.md \"Cgroups Path\"",
        );
    }
    if let Some(part) = &linux.seccomp {
        seccomp(found, part);
    }
    if let Some(mode) = linux.rootfs_propagation.as_deref() {
        let plain = mode.strip_prefix('r').unwrap_or(mode);
        if !matches!(plain, "shared" | "slave" | "private" | "unbindable") {
            let message = format!("unknown propagation {mode:?}");
            let section = "config-linux.md \"Rootfs Mount Propagation\"";
            found.add("linux.rootfsPropagation", message, section);
        }
    }
    for (name, list, section) in [
        (
            "maskedPaths",
            &linux.masked_paths,
            "config-linux.md \"Masked Paths\"",
        ),
        (
            "readonlyPaths",
            &linux.readonly_paths,
            "config-linux.md \"Readonly Paths\"",
        ),
    ] {
        for (place, path) in list.iter().enumerate() {
            found.absolute(&format!("linux.{name}[{place}]"), path, section);
        }
    }
    for name in linux.sysctl.keys() {
        let clean = !name.is_empty()
            && name.bytes().all(|c| c.is_ascii_graphic())
            && name.split(['.', '/']).all(|part| !part.is_empty());
        if !clean {
            let section = "config-linux.md \"Sysctl\"";
            found.add(
                format!("linux.sysctl[{name:?}]"),
                "is not a parameter's name",
                section,
            );
        }
    }
    if let Some(part) = &linux.intel_rdt {
        intel_rdt(found, part);
    }
    if let Some(part) = &linux.memory_policy {
        memory_policy(found, part);
    }
    if linux
        .personality
        .as_ref()
        .is_some_and(|personality| !personality.flags.is_empty())
    {
        let section = "config-linux.md \"Personality\"";
        found.add("linux.personality.flags", "no flags are supported", section);
    }
}

fn namespaces(found: &mut Problems, linux: &Linux) {
    let section = "config-linux.md \"Namespaces\"";
    for (place, namespace) in linux.namespaces.iter().enumerate() {
        if let Some(path) = &namespace.path {
            found.absolute(&format!("linux.namespaces[{place}].path"), path, section);
        }
    }
    let kinds = linux
        .namespaces
        .iter()
        .map(|namespace| namespace.kind.as_str());
    unique(
        found,
        kinds,
        |place| format!("linux.namespaces[{place}].type"),
        section,
    );
    let has = |kind| linux.namespace(kind).is_some();
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if mapped && !has(NamespaceKind::User) {
        let section = "config-linux.md \"User namespace mappings\"";
        found.add("linux", "has id mappings without a user namespace", section);
    }
    let section = "config-linux.md \"Offset for Time Namespace\"";
    if !linux.time_offsets.is_empty() && !has(NamespaceKind::Time) {
        found.add(
            "linux.timeOffsets",
            "is given without a time namespace",
            section,
        );
    }
    for (clock, offset) in &linux.time_offsets {
        let path = format!("linux.timeOffsets[{clock:?}]");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            found.add(path.as_str(), "is not a clock that has an offset", section);
        }
        if offset.nanosecs >= 1_000_000_000 {
            found.add(format!("{path}.nanosecs"), "is not below 10^9", section);
        }
    }
}

fn devices(found: &mut Problems, linux: &Linux) {
    let section = "config-linux.md \"Devices\"";
    for (place, device) in linux.devices.iter().enumerate() {
        let path = format!("linux.devices[{place}]");
        found.absolute(&format!("{path}.path"), &device.path, section);
        match device.kind {
            DeviceKind::All => {
                found.add(
                    format!("{path}.type"),
                    "\"a\" stands in cgroup rules alone",
                    section,
                );
            }
            DeviceKind::Fifo => {}
            _ => match (device.major, device.minor) {
                (Some(0), Some(0)) | (None, _) | (_, None) => {
                    found.add(path.as_str(), "lacks major and minor numbers", section);
                }
                (Some(major), Some(minor)) if major < 0 || minor < 0 => {
                    found.add(path.as_str(), "has a negative device number", section);
                }
                _ => {}
            },
        }
    }
    for (place, device) in linux.devices.iter().enumerate() {
        let other = linux
            .devices
            .iter()
            .take(place)
            .find(|other| other.path == device.path);
        let node = |device: &Device| (device.kind, device.major, device.minor);
        if other.is_some_and(|other| node(other) != node(device)) {
            let message = format!("{} comes twice with different nodes", device.path);
            found.add(format!("linux.devices[{place}].path"), message, section);
        }
    }
}

/// A network device's name, as the kernel's dev_valid_name has it.
fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 16
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|c| c == b'/' || c == b':' || c == 0 || c.is_ascii_whitespace())
}

fn net_devices(found: &mut Problems, linux: &Linux) {
    let section = "config-linux.md \"Network Devices\"";
    if linux.net_devices.is_empty() {
        return;
    }
    if linux.namespace(NamespaceKind::Network).is_none() {
        found.add(
            "linux.netDevices",
            "is given without a network namespace",
            section,
        );
    }
    for (host, device) in &linux.net_devices {
        let path = format!("linux.netDevices[{host:?}]");
        if !is_interface(host) {
            found.add(path.as_str(), "is not an interface name", section);
        }
        if device
            .name
            .as_deref()
            .is_some_and(|name| !is_interface(name))
        {
            found.add(format!("{path}.name"), "is not an interface name", section);
        }
    }
    let inside = linux
        .net_devices
        .iter()
        .map(|(host, device)| device.name.as_ref().unwrap_or(host));
    let fixed = inside.filter(|name| !name.contains("%d"));
    unique(found, fixed, |_| "linux.netDevices".into(), section);
}

pub(super) fn resources(found: &mut Problems, resources: &Resources, path: &str) {
    device_rules(found, resources, path);
    memory(found, resources, path);
    cpu(found, resources, path);
    block_io(found, resources, path);
    for (place, limit) in resources.hugepage_limits.iter().enumerate() {
        if !is_page_size(&limit.page_size) {
            let path = format!("{path}.hugepageLimits[{place}].pageSize");
            let message = format!("{:?} is not a size such as 2MB", limit.page_size);
            found.add(path, message, "config-linux.md \"Huge page limits\"");
        }
    }
    if resources
        .pids
        .as_ref()
        .and_then(|pids| pids.limit)
        .is_some_and(|limit| limit < -1)
    {
        found.add(
            format!("{path}.pids.limit"),
            "is below -1",
            "config-linux.md \"PIDs\"",
        );
    }
    for (device, limit) in &resources.rdma {
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            let path = format!("{path}.rdma[{device:?}]");
            found.add(path, "has neither limit", "config-linux.md \"RDMA\"");
        }
    }
    let unified = "config-linux.md \"Unified\"";
    for file in resources.unified.keys() {
        if file.is_empty() || file.contains(['/', '\0']) || !file.contains('.') {
            found.add(
                format!("{path}.unified[{file:?}]"),
                "is not a cgroup file's name",
                unified,
            );
        }
    }
}

fn device_rules(found: &mut Problems, resources: &Resources, path: &str) {
    let section = "config-linux.md \"Allowed Device list\"";
    for (place, rule) in resources.devices.iter().enumerate() {
        let path = format!("{path}.devices[{place}]");
        if matches!(rule.kind, Some(DeviceKind::Fifo | DeviceKind::Unbuffered)) {
            found.add(format!("{path}.type"), "is none of a, b and c", section);
        }
        if rule
            .access
            .as_deref()
            .is_some_and(|access| !access.bytes().all(|c| b"rwm".contains(&c)))
        {
            found.add(
                format!("{path}.access"),
                "has letters other than r, w and m",
                section,
            );
        }
        // -1 is how Docker and podman write "all".
        for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
            if number.is_some_and(|number| number < -1) {
                found.add(format!("{path}.{name}"), "is negative", section);
            }
        }
    }
}

fn memory(found: &mut Problems, resources: &Resources, path: &str) {
    let section = "config-linux.md \"Memory\"";
    let Some(memory) = &resources.memory else {
        return;
    };
    for (name, value) in [
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ] {
        if value.is_some_and(|value| value < -1) {
            found.add(format!("{path}.memory.{name}"), "is below -1", section);
        }
    }
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit, memory.swap)
        && swap < limit
    {
        let message = "is below the memory limit, which it includes";
        found.add(format!("{path}.memory.swap"), message, section);
    }
    if memory.swappiness.is_some_and(|value| value > 100) {
        found.add(format!("{path}.memory.swappiness"), "is above 100", section);
    }
}

fn cpu(found: &mut Problems, resources: &Resources, path: &str) {
    let section = "config-linux.md \"CPU\"";
    let Some(cpu) = &resources.cpu else { return };
    for (name, list) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if list.as_deref().is_some_and(|list| !is_number_list(list)) {
            let message = "is not a list of numbers and ranges";
            found.add(format!("{path}.cpu.{name}"), message, section);
        }
    }
    if let (Some(burst), Some(quota @ 1..)) = (cpu.burst, cpu.quota)
        && burst > quota.unsigned_abs()
    {
        found.add(
            format!("{path}.cpu.burst"),
            "is larger than the quota",
            section,
        );
    }
    if cpu.idle.is_some_and(|idle| !(0..=1).contains(&idle)) {
        found.add(format!("{path}.cpu.idle"), "is neither 0 nor 1", section);
    }
}

fn block_io(found: &mut Problems, resources: &Resources, path: &str) {
    let section = "config-linux.md \"Block IO\"";
    let Some(block_io) = &resources.block_io else {
        return;
    };
    for (place, device) in block_io.weight_device.iter().enumerate() {
        if device.weight.is_none() && device.leaf_weight.is_none() {
            let path = format!("{path}.blockIO.weightDevice[{place}]");
            found.add(path, "has neither weight nor leafWeight", section);
        }
    }
}

/// `<size><unit-prefix>B`, such as `64KB`.
fn is_page_size(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    number.parse::<u64>().is_ok_and(|size| size > 0) && matches!(unit, "KB" | "MB" | "GB" | "TB")
}

fn seccomp(found: &mut Problems, seccomp: &Seccomp) {
    let section = "config-linux.md \"Seccomp\"";
    let path = "linux.seccomp";
    if seccomp.listener_metadata.is_some() && seccomp.listener_path.is_none() {
        let message = "is given without a listenerPath";
        found.add(format!("{path}.listenerMetadata"), message, section);
    }
    let errno = |found: &mut Problems, action: SeccompAction, errno: Option<u32>, path: String| {
        if errno.is_some() && !action.takes_errno() {
            found.add(path, format!("{action} takes no errno"), section);
        }
    };
    let default = format!("{path}.defaultErrnoRet");
    errno(
        found,
        seccomp.default_action,
        seccomp.default_errno_ret,
        default,
    );
    for (place, rule) in seccomp.syscalls.iter().enumerate() {
        let path = format!("{path}.syscalls[{place}]");
        if rule.names.is_empty() {
            found.add(format!("{path}.names"), "has no entry", section);
        }
        errno(
            found,
            rule.action,
            rule.errno_ret,
            format!("{path}.errnoRet"),
        );
        for (place, SeccompArg { index, .. }) in rule.args.iter().enumerate() {
            if *index > 5 {
                let message = format!("{index} is above 5, the last argument");
                found.add(format!("{path}.args[{place}].index"), message, section);
            }
        }
    }
}

fn intel_rdt(found: &mut Problems, rdt: &IntelRdt) {
    let section = "config-linux.md \"IntelRdt\"";
    let path = "linux.intelRdt";
    if let Some(name) = &rdt.clos_id {
        // It becomes a directory below resctrl's root, or is the root itself.
        let sound = name == "/" || (!name.contains(['/', '\0']) && name != "." && name != "..");
        if !sound {
            found.add(
                format!("{path}.closID"),
                "is not a directory's name",
                section,
            );
        }
    }
    if rdt
        .mem_bw_schema
        .as_deref()
        .is_some_and(|line| !line.starts_with("MB:"))
    {
        found.add(
            format!("{path}.memBwSchema"),
            "does not start with MB:",
            section,
        );
    }
    let lines = [
        (format!("{path}.memBwSchema"), rdt.mem_bw_schema.as_deref()),
        (
            format!("{path}.l3CacheSchema"),
            rdt.l3_cache_schema.as_deref(),
        ),
    ];
    let schemata = rdt.schemata.iter().enumerate();
    let all = schemata.map(|(place, line)| (format!("{path}.schemata[{place}]"), Some(&**line)));
    for (path, line) in lines.into_iter().chain(all) {
        if line.is_some_and(|line| line.contains('\n')) {
            found.add(path, "has a line break", section);
        }
    }
}

fn memory_policy(found: &mut Problems, policy: &MemoryPolicy) {
    let section = "config-linux.md \"Memory policy\"";
    let Some(mode) = policy.mode else {
        let message = "is missing: invalid memory policy mode";
        found.add("linux.memoryPolicy.mode", message, section);
        return;
    };
    let nodes = policy.nodes.as_deref();
    let message = match (mode, nodes.map(number_list_len)) {
        (_, Some(None)) => {
            "invalid memory policy node: it is not a list of numbers and ranges".to_owned()
        }
        (MemoryPolicyMode::Default | MemoryPolicyMode::Local, Some(Some(count))) => {
            format!("must be absent: {mode} mode requires 0 nodes but got {count}")
        }
        (
            MemoryPolicyMode::Bind
            | MemoryPolicyMode::Interleave
            | MemoryPolicyMode::WeightedInterleave
            | MemoryPolicyMode::PreferredMany,
            None,
        ) => format!("is needed with {mode}"),
        _ => return,
    };
    found.add("linux.memoryPolicy.nodes", message, section);
}
