//! Who the process is: capabilities, groups, user, umask (config.md, "User",
//! "capabilities"; capabilities(7)).

use hako_spec::runtime::{Capabilities, Process, User};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Context, Error, Result};
use crate::log;

pub use hako_spec::runtime::capability::NAMES;

/// The five sets, as the kernel can grant them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Sets {
    /// Reads the configuration. Names that the kernel lacks, and capabilities
    /// that the runtime does not have, are left out with a warning: "Any value
    /// which cannot be mapped … or cannot be granted otherwise MUST be logged
    /// as a warning".
    pub fn of(process: &Process) -> Result<Self> {
        let none = Capabilities::default();
        let caps = process.capabilities.as_ref().unwrap_or(&none);
        let own = capabilities(None)
            .context(|| "read capabilities")?
            .permitted;
        let mut left_out = Vec::new();
        let mut set = |names: &[String]| {
            let mut set = CapabilitySet::empty();
            for name in names {
                let bit = NAMES.iter().position(|n| n == name).map(|at| 1u64 << at);
                match bit.map(CapabilitySet::from_bits_retain) {
                    Some(bit) if own.contains(bit) => set |= bit,
                    _ if left_out.contains(name) => {}
                    _ => left_out.push(name.clone()),
                }
            }
            set
        };
        let asked = Sets {
            bounding: set(&caps.bounding),
            effective: set(&caps.effective),
            permitted: set(&caps.permitted),
            inheritable: set(&caps.inheritable),
            ambient: set(&caps.ambient),
        };
        let sets = asked.consistent();
        if !sets.grant(asked, process.user.uid) {
            let lost = asked.ambient.difference(sets.ambient).bits();
            for (at, name) in NAMES.iter().enumerate() {
                if lost & 1 << at != 0 {
                    log::warn(&format!(
                        "can't raise ambient capability {name}: it is not both permitted and \
                         inheritable"
                    ));
                }
            }
            if (Sets {
                ambient: asked.ambient,
                ..sets
            }) != asked
            {
                log::warn(
                    "capabilities that cannot be granted: effective ones must be permitted, \
                     inheritable ones in the bounding set",
                );
            }
        }
        if !left_out.is_empty() {
            log::warn(&format!(
                "capabilities that cannot be granted: {}",
                left_out.join(", ")
            ));
        }
        Ok(sets)
    }

    /// Whether a program of user `uid` has all that is `asked`. Root's programs
    /// have the bounding set whatever is ambient (capabilities(7), "Capabilities
    /// and execution of programs by root"); buildah asks for both.
    fn grant(self, asked: Self, uid: u32) -> bool {
        let ambient = match uid {
            0 if self.bounding.contains(asked.ambient) => asked.ambient,
            _ => self.ambient,
        };
        Sets { ambient, ..self } == asked
    }

    /// As far as the kernel takes them (capabilities(7)).
    fn consistent(self) -> Self {
        let inheritable = self.inheritable & self.bounding;
        Sets {
            effective: self.effective & self.permitted,
            inheritable,
            ambient: self.ambient & self.permitted & inheritable,
            ..self
        }
    }
}

/// Gives the process the additional groups of `user`, before a seccomp filter
/// could answer in the kernel's place. In a user namespace of one id
/// setgroups(2) is denied for good (user_namespaces(7)): who has the capability
/// and is refused is in one. Then no group can be set, and none must be asked for.
pub fn groups(user: &User) -> Result<()> {
    let groups: Vec<Gid> = user
        .additional_gids
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    let denied = |e: &Errno| {
        *e == Errno::PERM
            && capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::SETGID))
    };
    match set_thread_groups(&groups) {
        Err(e) if denied(&e) && groups.is_empty() => Ok(()),
        Err(e) if denied(&e) => Err(Error::new("this user namespace forbids additional groups")),
        other => other.map_err(Error::from),
    }
    .context(|| format!("set groups {:?}", user.additional_gids))
}

/// Becomes `user` with the capabilities `sets`; the groups are set already.
pub fn assume(user: &User, sets: &Sets) -> Result<()> {
    drop_bounding(sets.bounding)?;
    let old = capabilities(None).context(|| "read capabilities")?;
    if user.uid != 0 {
        set_keep_capabilities(true).context(|| "keep capabilities")?;
    }
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid)
        .map_err(|e| unmapped(e, "gid", user.gid))
        .context(|| format!("set gid {}", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid)
        .map_err(|e| unmapped(e, "uid", user.uid))
        .context(|| format!("set uid {}", user.uid))?;
    // As a user without capabilities in its permitted set there is nothing to
    // give up and nothing that capset could change.
    if old.permitted.is_empty() && sets.permitted.is_empty() {
        return Ok(());
    }
    let sets_ = CapabilitySets {
        effective: sets.effective,
        permitted: sets.permitted,
        inheritable: sets.inheritable,
    };
    set_capabilities(None, sets_).context(|| "set capabilities")?;
    clear_ambient_capability_set().context(|| "clear ambient capabilities")?;
    for bit in sets.ambient.iter() {
        configure_capability_in_ambient_set(bit, true)
            .context(|| format!("raise ambient capability {bit:?}"))?;
    }
    Ok(())
}

fn unmapped(e: Errno, what: &str, id: u32) -> Error {
    match e {
        Errno::INVAL => Error::new(format!("{what} {id} is not mapped in the user namespace")),
        e => e.into(),
    }
}

fn drop_bounding(keep: CapabilitySet) -> Result<()> {
    for at in 0..64 {
        let bit = CapabilitySet::from_bits_retain(1 << at);
        if keep.contains(bit) {
            continue;
        }
        match remove_capability_from_bounding_set(bit) {
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => return Ok(()),
            // Without CAP_SETPCAP in this namespace there is none to drop for
            // anybody who could use it.
            Err(Errno::PERM) if capabilities(None)?.permitted.is_empty() => return Ok(()),
            other => other.context(|| format!("drop capability {at} from the bounding set"))?,
        }
    }
    Ok(())
}

/// Sets the file creation mask: the configured one or 0022.
pub fn umask(user: &User) {
    rustix::process::umask(Mode::from_raw_mode(user.umask.unwrap_or(0o022) & 0o777));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_programs_need_no_ambient_set() {
        let some = CapabilitySet::KILL | CapabilitySet::CHOWN;
        let asked = Sets {
            bounding: some,
            effective: some,
            permitted: some,
            inheritable: CapabilitySet::empty(),
            ambient: some,
        };
        let sets = asked.consistent();
        assert!(sets.ambient.is_empty());
        assert!(sets.grant(asked, 0) && !sets.grant(asked, 1000));
        let more = CapabilitySet::SYS_ADMIN;
        let beyond = Sets {
            ambient: more,
            ..asked
        };
        assert!(!beyond.consistent().grant(beyond, 0));
        let beyond = Sets {
            effective: some | more,
            ..asked
        };
        assert!(!beyond.consistent().grant(beyond, 0));
    }

    #[test]
    fn names_follow_the_kernel() {
        assert_eq!(NAMES.len(), 41);
        let bit = |name: &str| {
            let at = NAMES.iter().position(|n| *n == name).unwrap();
            CapabilitySet::from_bits_retain(1 << at)
        };
        assert_eq!(bit("CAP_SYS_ADMIN"), CapabilitySet::SYS_ADMIN);
        assert_eq!(
            bit("CAP_CHECKPOINT_RESTORE"),
            CapabilitySet::CHECKPOINT_RESTORE
        );
        assert_eq!(bit("CAP_MKNOD"), CapabilitySet::MKNOD);
    }
}
