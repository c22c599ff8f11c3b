//! Lines of /proc/self/mountinfo (proc_pid_mountinfo(5)).

use crate::check::{Stop, fails};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Its own options.
    pub(crate) options: Vec<String>,
    /// `shared:1`, `master:2`, `unbindable`.
    pub(crate) propagation: Vec<String>,
    /// The file system's type.
    pub(crate) kind: String,
    /// The file system's options.
    pub(crate) superblock: Vec<String>,
}

impl Mounted {
    /// The topmost mount at a place.
    pub(crate) fn find(mountinfo: &str, place: &str) -> Option<Mounted> {
        mountinfo.lines().rev().find_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(4);
            if fields.next()? != place {
                return None;
            }
            let words = |text: &str| text.split(',').map(str::to_owned).collect();
            let options = words(fields.next()?);
            let mut system = system.split(' ');
            Some(Mounted {
                options,
                propagation: fields.map(str::to_owned).collect(),
                kind: system.next()?.to_owned(),
                superblock: words(system.nth(1)?),
            })
        })
    }

    /// The topmost mount at a place, which has to be there.
    pub(crate) fn at(mountinfo: &str, place: &str) -> Result<Mounted, Stop> {
        match Mounted::find(mountinfo, place) {
            Some(mounted) => Ok(mounted),
            None => fails(format!("nothing is mounted at {place}")),
        }
    }

    /// Whether it has an option, its own or the file system's.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|it| it == option)
    }

    /// Whether a word of its propagation begins so.
    pub(crate) fn spreads(&self, word: &str) -> bool {
        self.propagation.iter().any(|it| it.starts_with(word))
    }
}

/// Where something is mounted, in the order of mounting.
pub(crate) fn places(mountinfo: &str) -> impl DoubleEndedIterator<Item = &str> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost() {
        let text = "1 0 0:1 / / rw shared:1 master:2 - ext4 /dev/x rw,errors=ro\n\
                    2 1 0:2 / /tmp rw,noexec - tmpfs tmpfs rw\n\
                    3 2 0:3 /a /tmp ro,relatime unbindable - tmpfs tmp rw,sync,size=4k\n";
        let root = Mounted::at(text, "/").unwrap();
        assert_eq!(root.propagation, ["shared:1", "master:2"]);
        assert!(root.spreads("master:") && root.kind == "ext4");
        let tmp = Mounted::at(text, "/tmp").unwrap();
        assert!(tmp.has("ro") && !tmp.has("noexec") && tmp.spreads("unbindable"));
        assert_eq!(tmp.superblock, ["rw", "sync", "size=4k"]);
        Mounted::at(text, "/tm").unwrap_err();
        assert_eq!(Mounted::find(text, "/tm"), None);
        assert!(places(text).eq(["/", "/tmp", "/tmp"]));
    }
}
