//! The user of a container's process: names are looked up in the container's
//! own `/etc/passwd` and `/etc/group` (image-spec config.md "User",
//! conversion.md), read through handles that cannot leave its root.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};

use hako_spec::runtime::User;
use hako_sys::id_map::is_mapped;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{At, Error, Result};

/// Longest passwd or group file that is read.
const MAX: u64 = 4 << 20;

/// Largest id: as Docker, what fits a signed 32-bit number, so that nothing
/// wraps around to root (CVE-2024-40635).
const MAX_ID: u32 = i32::MAX as u32;

/// A user with home directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) user: User,
    pub(crate) home: Option<String>,
}

/// Finds `text` (`user[:group]`, empty for root) and `more` groups in the root
/// file system `root`.
pub(crate) fn find(root: BorrowedFd<'_>, text: &str, more: &[String]) -> Result<Found> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    let mut found = resolve(&passwd, &group, text, more)?;
    let own = |name: &str| {
        let path = format!("/proc/self/{name}");
        std::fs::read_to_string(&path).at("read", path)
    };
    possible(&found.user, &own("uid_map")?, &own("gid_map")?)?;
    // user_namespaces(7): an unprivileged user with one id alone cannot set
    // groups. The image's memberships are of no use there, since no file has
    // such a group; what somebody asks for is refused.
    if own("setgroups")?.trim() == "deny" {
        if !more.is_empty() {
            return Err(Error::Unsupported(format!(
                "additional groups are not to be had: {ADVICE}"
            )));
        }
        found.user.additional_gids.clear();
    }
    Ok(found)
}

/// What a user without subordinate ids has to do for more ids than one.
const ADVICE: &str = "this user has one id only; with the package uidmap, as root run 'usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER' with 65536 ids that are nobody's";

/// Refuses ids that this user namespace does not have.
fn possible(user: &User, uids: &str, gids: &str) -> Result<()> {
    let single = |map: &str| !is_mapped(map, 1);
    let groups = std::iter::once(&user.gid).chain(&user.additional_gids);
    let ids = std::iter::once(("user id", user.uid, uids));
    for (what, id, map) in ids.chain(groups.map(|gid| ("group id", *gid, gids))) {
        // Of one id alone no group is set but the first.
        let later = what == "group id" && id != user.gid;
        if is_mapped(map, id) || (later && single(map)) {
            continue;
        }
        let why = match single(map) {
            true => format!("not to be had: {ADVICE}; or use --user 0"),
            false => "this user has not so many ids in /etc/subuid and /etc/subgid".to_owned(),
        };
        return Err(Error::invalid(what, &id.to_string(), why));
    }
    Ok(())
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let fd = match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
        other => other.at("open the container's", path)?,
    };
    let meta = rustix::fs::fstat(&fd).at("look at the container's", path)?;
    if !FileType::from_raw_mode(meta.st_mode).is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(MAX)
        .read_to_end(&mut bytes)
        .at("read the container's", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_line(line: &str) -> Option<Passwd<'_>> {
    let mut f = line.split(':');
    let name = f.next()?;
    let uid = f.nth(1)?.parse().ok()?;
    let gid = f.next()?.parse().ok()?;
    let home = f.nth(1).unwrap_or_default();
    Some(Passwd {
        name,
        uid,
        gid,
        home,
    })
}

fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut f = line.split(':');
    let name = f.next()?;
    let gid = f.nth(1)?.parse().ok()?;
    Some((name, gid, f.next().unwrap_or_default()))
}

/// An id written as a number; `None` for a name.
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(Error::invalid(
            "user or group id",
            text,
            format!("it is above {MAX_ID}"),
        )),
    }
}

/// The pure part of [`find`].
pub(crate) fn resolve(passwd: &str, group: &str, text: &str, more: &[String]) -> Result<Found> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let id = number(user)?;
    let entry = passwd
        .lines()
        .filter_map(passwd_line)
        .find(|p| p.name == user)
        .or_else(|| {
            passwd
                .lines()
                .filter_map(passwd_line)
                .find(|p| Some(p.uid) == id)
        });
    let (uid, gid) = match (&entry, id) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(id)) => (id, 0),
        (None, None) => {
            return Err(Error::invalid(
                "user",
                user,
                "no such user in the image's /etc/passwd",
            ));
        }
    };
    if uid > MAX_ID || gid > MAX_ID {
        return Err(Error::invalid(
            "user",
            user,
            format!("its ids are above {MAX_ID}"),
        ));
    }
    let find_group = |text: &str| -> Result<u32> {
        let named = group
            .lines()
            .filter_map(group_line)
            .find(|(name, ..)| *name == text);
        match (named, number(text)?) {
            (Some((_, gid, _)), _) if gid <= MAX_ID => Ok(gid),
            (None, Some(gid)) => Ok(gid),
            _ => Err(Error::invalid(
                "group",
                text,
                "no such group in the image's /etc/group",
            )),
        }
    };
    let mut out = User {
        uid,
        gid,
        ..User::default()
    };
    match wanted_group {
        // A group by name or number: it alone.
        Some(text) => out.gid = find_group(text)?,
        // The groups whose member the user is.
        None => {
            if let Some(entry) = &entry {
                let member = |members: &str| members.split(',').any(|m| m == entry.name);
                for (_, id, members) in group.lines().filter_map(group_line) {
                    if member(members) && id <= MAX_ID && !out.additional_gids.contains(&id) {
                        out.additional_gids.push(id);
                    }
                }
            }
        }
    }
    for text in more {
        let id = find_group(text)?;
        if !out.additional_gids.contains(&id) {
            out.additional_gids.push(id);
        }
    }
    let home = entry
        .map(|e| e.home.to_owned())
        .filter(|h| h.starts_with('/'));
    Ok(Found { user: out, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:\nbad line\nbig:x:4294967295:0::/:\n7:x:70:70::/seven:";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:root,web\nssl:x:5:web\n";

    fn get(text: &str) -> Result<(u32, u32, Vec<u32>, Option<String>)> {
        let f = resolve(PASSWD, GROUP, text, &[])?;
        Ok((f.user.uid, f.user.gid, f.user.additional_gids, f.home))
    }

    #[test]
    fn names_and_numbers() {
        let home = |h: &str| Some(h.to_owned());
        assert_eq!(get("").unwrap(), (0, 0, vec![4], home("/root")));
        assert_eq!(get("web").unwrap(), (33, 33, vec![4, 5], home("/var/www")));
        assert_eq!(get("33").unwrap(), (33, 33, vec![4, 5], home("/var/www")));
        assert_eq!(get("1000").unwrap(), (1000, 0, vec![], None));
        assert_eq!(get("web:adm").unwrap(), (33, 4, vec![], home("/var/www")));
        assert_eq!(get("5:6").unwrap(), (5, 6, vec![], None));
        // A name that is a number comes before the number.
        assert_eq!(get("7").unwrap(), (70, 70, vec![], home("/seven")));
    }

    #[test]
    fn refusals() {
        for bad in [
            "nobody-here",
            "4294967295",
            "2147483648",
            "99999999999",
            "big",
            "web:nogroup",
            "-1",
        ] {
            assert!(get(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_of_a_user_namespace() {
        let one = "         0       1001          1\n";
        let many = "0 1001 1\n1 100000 65536\n";
        let all = "0 0 4294967295\n";
        let user = |uid, gid, more: &[u32]| User {
            uid,
            gid,
            additional_gids: more.to_vec(),
            ..User::default()
        };
        for (user, map, good) in [
            (user(0, 0, &[4]), one, true),
            (user(1, 0, &[]), one, false),
            (user(0, 1, &[]), one, false),
            (user(33, 33, &[4]), many, true),
            (user(33, 33, &[70_000]), many, false),
            (user(70_000, 0, &[]), many, false),
            (user(70_000, 70_000, &[70_001]), all, true),
        ] {
            assert_eq!(possible(&user, map, map).is_ok(), good, "{user:?} {map}");
        }
    }

    #[test]
    fn more_groups() {
        let f = resolve(PASSWD, GROUP, "1000", &["adm".to_owned(), "9".to_owned()]).unwrap();
        assert_eq!(f.user.additional_gids, [4, 9]);
    }
}
