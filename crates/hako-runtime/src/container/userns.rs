//! Id mappings of a new user namespace (config-linux.md, "User namespace
//! mappings"): written directly by a privileged runtime, by newuidmap(1) and
//! newgidmap(1) for everybody else.

use std::fmt::Write as _;
use std::process::Command;

use hako_spec::runtime::{IdMapping, Linux};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::error::{Context, Error, Result};
use crate::proc::Proc;

/// Writes the mappings of `linux` for the new user namespace of `pid`.
pub fn map(proc: &Proc, pid: i32, linux: &Linux) -> Result<()> {
    if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
        return Err(Error::new(
            "a new user namespace needs linux.uidMappings and linux.gidMappings",
        ));
    }
    write(proc, pid, "uid_map", "newuidmap", &linux.uid_mappings)?;
    let own_gid = getegid().as_raw();
    let single =
        matches!(linux.gid_mappings.as_slice(), [m] if m.size == 1 && m.host_id == own_gid);
    if !geteuid().is_root() && single {
        // user_namespaces(7): without CAP_SETGID in the parent namespace,
        // setgroups must be denied before gid_map can be written.
        proc.write(&format!("{pid}/setgroups"), b"deny")
            .context(|| "deny setgroups")?;
    }
    write(proc, pid, "gid_map", "newgidmap", &linux.gid_mappings)
}

fn write(proc: &Proc, pid: i32, file: &str, helper: &str, map: &[IdMapping]) -> Result<()> {
    let mut text = String::new();
    for m in map {
        let _ = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size);
    }
    match proc.write(&format!("{pid}/{file}"), text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) if !geteuid().is_root() => {
            by_helper(helper, pid, map).context(|| format!("write {file}"))
        }
        Err(e) => Err(Error::from(e).within(format!("write {file} ({})", text.trim_end()))),
    }
}

fn by_helper(helper: &str, pid: i32, map: &[IdMapping]) -> Result<()> {
    let mut command = Command::new(helper);
    command.arg(pid.to_string());
    for m in map {
        command.args([m.container_id, m.host_id, m.size].map(|n| n.to_string()));
    }
    let out = command.output().context(|| {
        format!("run {helper} (from the uidmap package), which an unprivileged user needs")
    })?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(Error::new(format!("{helper}: {}", said.trim_end())));
    }
    Ok(())
}
