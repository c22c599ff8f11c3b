//! AppArmor profiles and SELinux labels (config.md, "apparmorProfile",
//! "selinuxLabel"; config-linux.md, "Mount Label").
//!
//! They take effect at the next execve(2), which is the sealed stub's; the
//! program that it executes stays in them. AppArmor does not look at the stub, a
//! file in memory; for SELinux it gets the label of the container's files.

use std::os::fd::BorrowedFd;
use std::path::Path;

use hako_spec::runtime::{Linux, Process};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::proc::Proc;

/// The profile that is none.
const UNCONFINED: &str = "unconfined";

fn named(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|t| !t.is_empty())
}

/// Refuses what this host, whose sysfs is at `sys`, cannot enforce: a container
/// must not lack what it was promised.
pub fn check(process: &Process, linux: Option<&Linux>, sys: &Path) -> Result<()> {
    let apparmor = || {
        let on = std::fs::read(sys.join("module/apparmor/parameters/enabled"));
        on.is_ok_and(|text| text.starts_with(b"Y"))
    };
    if named(&process.apparmor_profile).is_some_and(|p| p != UNCONFINED) && !apparmor() {
        return Err(Error::new(
            "process.apparmorProfile is set, but AppArmor is not enabled on this host",
        ));
    }
    let selinux = || sys.join("fs/selinux/enforce").exists();
    let fields = [
        ("process.selinuxLabel", named(&process.selinux_label)),
        (
            "linux.mountLabel",
            linux.and_then(|l| named(&l.mount_label)),
        ),
    ];
    for (field, value) in fields {
        if value.is_some() && !selinux() {
            return Err(Error::new(format!(
                "{field} is set, an SELinux label, but SELinux is not enabled on this host"
            )));
        }
    }
    Ok(())
}

/// Whether [`apply`] has anything to do.
pub fn is_asked(process: &Process) -> bool {
    named(&process.apparmor_profile).is_some() || named(&process.selinux_label).is_some()
}

/// Makes this process execute its next program in the profile and with the
/// label of `process`. Its children would, too, until they execute one.
pub fn apply(proc: &Proc, process: &Process) -> Result<()> {
    if let Some(profile) = named(&process.apparmor_profile) {
        apparmor(proc, profile)
            .context(|| format!("process.apparmorProfile {profile:?} (is it loaded?)"))?;
    }
    if let Some(label) = named(&process.selinux_label) {
        proc.write("self/attr/exec", label.as_bytes())
            .context(|| format!("process.selinuxLabel {label:?}"))?;
    }
    Ok(())
}

fn apparmor(proc: &Proc, profile: &str) -> Result<()> {
    // Before Linux 5.8, and where AppArmor is the only module, it is the one
    // without a directory of its own.
    let path = match proc.has("self/attr/apparmor/exec") {
        true => "self/attr/apparmor/exec",
        false => "self/attr/exec",
    };
    match proc.write(path, format!("exec {profile}").as_bytes()) {
        // The host has none to be unconfined by.
        Err(Errno::INVAL | Errno::NOENT) if profile == UNCONFINED => Ok(()),
        other => Ok(other?),
    }
}

/// Gives keys that this process makes the label of `process`, or with `None`
/// the usual one again.
pub fn label_keys(proc: &Proc, label: Option<&Process>) -> Result<()> {
    let label = label.map_or(Some(""), |process| named(&process.selinux_label));
    let Some(label) = label else { return Ok(()) };
    match proc.write("self/attr/keycreate", label.as_bytes()) {
        // A kernel without labels of keys.
        Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        other => other.context(|| "label the session keyring"),
    }
}

/// Gives the stub the label of the container's own files, so that it may be
/// executed as one of them. What a refusal means is told by execve(2).
pub fn label_stub(stub: BorrowedFd<'_>, process: &Process, linux: Option<&Linux>) {
    let own = linux.and_then(|l| named(&l.mount_label));
    if let (Some(_), Some(label)) = (named(&process.selinux_label), own) {
        let value = [label.as_bytes(), b"\0"].concat();
        let _ = rustix::fs::fsetxattr(stub, "security.selinux", &value, XattrFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(profile: &str, label: &str) -> Process {
        Process {
            apparmor_profile: Some(profile.to_owned()),
            selinux_label: Some(label.to_owned()),
            ..Process::default()
        }
    }

    /// A procfs of plain files.
    fn procfs(files: &[&str]) -> (tempfile::TempDir, Proc) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join("self/attr").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let proc = Proc::fake(dir.path());
        (dir, proc)
    }

    #[test]
    fn written_where_the_kernel_reads_it() {
        let (dir, proc) = procfs(&["exec", "apparmor/exec", "keycreate"]);
        let read = |name: &str| std::fs::read_to_string(dir.path().join("self/attr").join(name));
        let p = process("hako-default", "system_u:system_r:container_t:s0:c1,c2");
        apply(&proc, &p).unwrap();
        label_keys(&proc, Some(&p)).unwrap();
        assert_eq!(read("apparmor/exec").unwrap(), "exec hako-default");
        assert_eq!(read("exec").unwrap(), p.selinux_label.clone().unwrap());
        assert_eq!(read("keycreate").unwrap(), p.selinux_label.unwrap());
    }

    #[test]
    fn an_old_kernel_has_one_file() {
        let (dir, proc) = procfs(&["exec"]);
        apply(&proc, &process("p", "")).unwrap();
        let text = std::fs::read_to_string(dir.path().join("self/attr/exec"));
        assert_eq!(text.unwrap(), "exec p");
    }

    #[test]
    fn what_cannot_be_applied_names_its_field() {
        let (_dir, proc) = procfs(&[]);
        let said = |p| apply(&proc, &p).unwrap_err().to_string();
        assert!(said(process("p", "")).starts_with("process.apparmorProfile \"p\""));
        assert!(said(process("", "l")).starts_with("process.selinuxLabel \"l\""));
        apply(&proc, &process("unconfined", "")).unwrap();
        apply(&proc, &process("", "")).unwrap();
        label_keys(&proc, Some(&process("", "l"))).unwrap();
    }

    #[test]
    fn a_host_without_the_module_is_told_apart() {
        let sys = tempfile::tempdir().unwrap();
        let at = |name: &str| sys.path().join(name);
        let said =
            |p: &Process, l: Option<&Linux>| check(p, l, sys.path()).map_err(|e| e.to_string());
        let mounts = Linux {
            mount_label: Some("l".to_owned()),
            ..Linux::default()
        };
        let none = Process::default();
        let is = |r: std::result::Result<(), String>, field: &str| {
            let text = r.unwrap_err();
            assert!(
                text.starts_with(field) && text.contains("not enabled"),
                "{text}"
            );
        };
        is(said(&process("p", ""), None), "process.apparmorProfile");
        is(said(&process("", "l"), None), "process.selinuxLabel");
        is(said(&none, Some(&mounts)), "linux.mountLabel");
        said(&process("unconfined", ""), None).unwrap();
        std::fs::create_dir_all(at("module/apparmor/parameters")).unwrap();
        std::fs::create_dir_all(at("fs/selinux")).unwrap();
        std::fs::write(at("module/apparmor/parameters/enabled"), "N\n").unwrap();
        is(said(&process("p", ""), None), "process.apparmorProfile");
        std::fs::write(at("module/apparmor/parameters/enabled"), "Y\n").unwrap();
        std::fs::write(at("fs/selinux/enforce"), "1").unwrap();
        said(&process("p", "l"), Some(&mounts)).unwrap();
    }
}
