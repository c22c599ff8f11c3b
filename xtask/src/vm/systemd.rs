//! A guest whose first process is systemd, with as little else as it takes: no
//! device manager, no journal, and one service, which runs the tests.

use std::path::Path;

use anyhow::Result;

use crate::vm::guest::{RUN, VERB};
use crate::vm::tree::Tree;

/// Crates whose tests run there.
pub(crate) const CRATES: [&str; 1] = ["hako-runtime"];
/// Packages that the guest has beyond those of every guest.
pub(crate) const PACKAGES: [&str; 3] = ["dbus-bin", "dbus-daemon", "systemd"];
/// Programs outside of the usual places.
pub(crate) const PROGRAMS: [&str; 1] = [INIT];
/// The first process.
pub(crate) const INIT: &str = "/lib/systemd/systemd";
/// Its arguments.
pub(crate) const ARGUMENTS: [&str; 3] = [
    "--unit=hako-tests.service",
    "--log-target=console",
    "--show-status=no",
];

/// Tests that cannot run with systemd's cgroups: suite, start of the name, and why.
pub(crate) const LEFT_OUT: [(&str, &str, &str); 4] = [
    (
        "hako-runtime::it",
        "lifecycle::a_cgroup_in_use_is_nobodys",
        "is about cgroups by their paths; systemd::booted has the like",
    ),
    (
        "hako-runtime::it",
        "lifecycle::a_cgroup_that_was_there_stays",
        "is about cgroups by their paths, which somebody else makes",
    ),
    (
        "hako-runtime::it",
        "unified::a_parent_with_processes",
        "is about cgroups by their paths; a scope is in a slice",
    ),
    (
        "hako-runtime::it",
        "under::",
        "needs podman, docker, containerd and buildah, of which the guest has no copy",
    ),
];

/// Configuration that the bus reads.
const BUS: [&str; 2] = [
    "/usr/share/dbus-1/system.conf",
    "/usr/share/dbus-1/system.d/org.freedesktop.systemd1.conf",
];

/// The files, but for [`PACKAGES`] and [`PROGRAMS`].
pub(crate) fn files(tree: &mut Tree, environment: &[(String, String)]) -> Result<()> {
    for path in BUS {
        tree.host(Path::new(path))?;
    }
    tree.text("etc/machine-id", "68616b6f68616b6f68616b6f68616b6f\n");
    tree.text("etc/os-release", "ID=hako-vm\n");
    tree.text(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nmessagebus:x:100:100::/nonexistent:/bin/false\n\
         nobody:x:65534:65534::/nonexistent:/bin/false\n",
    );
    tree.text(
        "etc/group",
        "root:x:0:\nmessagebus:x:100:\nnogroup:x:65534:\n",
    );
    // Without what the packages' own units depend on.
    tree.text(
        "etc/systemd/system/dbus.socket",
        "[Unit]\nDefaultDependencies=no\n\
         [Socket]\nListenStream=/run/dbus/system_bus_socket\n",
    );
    tree.text(
        "etc/systemd/system/dbus.service",
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n\
         [Service]\nType=notify\nNotifyAccess=main\nExecStart=/usr/bin/dbus-daemon --system \
         --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only\n",
    );
    let mut service = format!(
        "[Unit]\nDefaultDependencies=no\nWants=dbus.service\nAfter=dbus.service\n\
         SuccessAction=poweroff-immediate\nFailureAction=poweroff-immediate\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nOOMPolicy=continue\n\
         StandardOutput=kmsg\nStandardError=kmsg\nExecStart=/xtask {VERB} {RUN}\n"
    );
    for (name, value) in environment {
        service.push_str(&format!("Environment=\"{name}={value}\"\n"));
    }
    tree.text("etc/systemd/system/hako-tests.service", service);
    Ok(())
}
