//! What the user may do here.

use std::fs;

/// Whether this process has root's user id.
pub(crate) fn is_root() -> bool {
    effective_uid() == Some(0)
}

fn effective_uid() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What an unprivileged user lacks for containers on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rootless {
    /// Nothing.
    Ready,
    /// Containers run, but with a single user id; the sentence says why.
    SingleUid(String),
    /// Containers cannot run; the sentence says what to do.
    Impossible(String),
}

/// Looks at what rootless containers need.
pub(crate) fn rootless() -> Rootless {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).exists())
    };
    judge(
        &read("/proc/sys/user/max_user_namespaces"),
        &read("/proc/sys/kernel/unprivileged_userns_clone"),
        &user(&read("/etc/passwd"), effective_uid()),
        &read("/etc/subuid"),
        on_path("newuidmap") && on_path("newgidmap"),
    )
}

fn user(passwd: &str, uid: Option<u32>) -> String {
    let uid = uid.map_or_else(String::new, |uid| uid.to_string());
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2) == Some(&uid.as_str()));
    line.and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or(uid)
}

fn judge(limit: &str, allowed: &str, user: &str, subuid: &str, newuidmap: bool) -> Rootless {
    if limit.trim() == "0" || allowed.trim() == "0" {
        return Rootless::Impossible(
            "this machine lets only root make user namespaces: run the command with sudo, or \
             allow them with 'sudo sysctl user.max_user_namespaces=10000 \
             kernel.unprivileged_userns_clone=1'"
                .to_owned(),
        );
    }
    if !subuid
        .lines()
        .any(|line| line.split(':').next() == Some(user))
    {
        return Rootless::SingleUid(format!(
            "{user} has no line in /etc/subuid, so containers have one user id; more come with \
             'sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}'"
        ));
    }
    if !newuidmap {
        return Rootless::SingleUid(
            "newuidmap is missing, so containers have one user id; more come with \
             'sudo apt-get install uidmap'"
                .to_owned(),
        );
    }
    Rootless::Ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_has_its_sentence() {
        let subuid = "root:1:2\nann:100000:65536\n";
        assert_eq!(judge("100\n", "1\n", "ann", subuid, true), Rootless::Ready);
        assert_eq!(judge("100\n", "", "ann", subuid, true), Rootless::Ready);
        assert!(matches!(
            judge("0\n", "", "ann", subuid, true),
            Rootless::Impossible(_)
        ));
        assert!(matches!(
            judge("9\n", "0\n", "ann", subuid, true),
            Rootless::Impossible(_)
        ));
        assert!(matches!(
            judge("9\n", "", "an", subuid, true),
            Rootless::SingleUid(_)
        ));
        assert!(matches!(
            judge("9\n", "", "ann", subuid, false),
            Rootless::SingleUid(_)
        ));
    }

    #[test]
    fn users_are_found_by_id() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user(passwd, Some(1000)), "ann");
        assert_eq!(user(passwd, Some(1001)), "1001");
    }
}
