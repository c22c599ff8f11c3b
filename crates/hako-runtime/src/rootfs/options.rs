//! Mount options: the words of a mount's `options` (config.md, "Linux mount
//! options") to attribute bits, propagation and file-system data.

use hako_sys::mount_attr::attr;

/// Propagation types of mount(2).
pub mod propagation {
    /// Forward and receive.
    pub const SHARED: u64 = 1 << 20;
    /// Receive only.
    pub const SLAVE: u64 = 1 << 19;
    /// Neither.
    pub const PRIVATE: u64 = 1 << 18;
    /// Neither, and no bind mounts of it.
    pub const UNBINDABLE: u64 = 1 << 17;
}

/// What the options of one mount ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    /// `bind` or `rbind`.
    pub bind: bool,
    /// `rbind`: with everything below.
    pub recursive_bind: bool,
    /// Attributes to set on the mount.
    pub set: u64,
    /// Attributes to clear on the mount.
    pub clear: u64,
    /// Attributes to set on the mount and all below (`rro`, …).
    pub recursive_set: u64,
    /// Attributes to clear on the mount and all below (`rrw`, …).
    pub recursive_clear: u64,
    /// Propagation type and whether it is for all below, in order.
    pub propagation: Vec<(u64, bool)>,
    /// Copy what the image has at the destination into a new tmpfs.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// The mapping that stands behind it, as crun's callers write it:
    /// `idmap=uids=0-1-10#10-11-10;gids=0-100-10`.
    pub mapping: Option<String>,
    /// Do not follow a link at the source.
    pub source_nofollow: bool,
    /// Change the mount that is at the destination.
    pub remount: bool,
    /// Superblock words such as `sync` that fsconfig(2) takes as flags.
    pub superblock: Vec<&'static str>,
    /// The file system's own options: key, or key and value.
    pub data: Vec<(String, Option<String>)>,
}

enum Word {
    Set(u64),
    Clear(u64),
    RecursiveSet(u64),
    RecursiveClear(u64),
    Atime(u64),
    NotStrict,
    RecursiveAtime(u64),
    RecursiveNotStrict,
    Propagation(u64, bool),
    Superblock(&'static str),
    NotSuperblock(&'static str),
    Remount,
    Nothing,
    Bind(bool),
    CopyUp,
    IdMap(bool),
    SourceNoFollow,
}

fn word(option: &str) -> Option<Word> {
    use Word::*;
    use propagation as p;
    Some(match option {
        // Versions of inodes are each file system's own affair by now, and no
        // flag that fsconfig(2) would take.
        "defaults" | "loud" | "silent" | "norelatime" | "rnorelatime" | "iversion"
        | "noiversion" => Nothing,
        "remount" => Remount,
        "bind" => Bind(false),
        "rbind" => Bind(true),
        "ro" => Set(attr::RDONLY),
        "rw" => Clear(attr::RDONLY),
        "nosuid" => Set(attr::NOSUID),
        "suid" => Clear(attr::NOSUID),
        "nodev" => Set(attr::NODEV),
        "dev" => Clear(attr::NODEV),
        "noexec" => Set(attr::NOEXEC),
        "exec" => Clear(attr::NOEXEC),
        "nosymfollow" => Set(attr::NOSYMFOLLOW),
        "symfollow" => Clear(attr::NOSYMFOLLOW),
        "nodiratime" => Set(attr::NODIRATIME),
        "diratime" => Clear(attr::NODIRATIME),
        "noatime" => Atime(attr::NOATIME),
        "relatime" | "atime" => Atime(attr::RELATIME),
        "strictatime" => Atime(attr::STRICTATIME),
        "nostrictatime" => NotStrict,
        "rro" => RecursiveSet(attr::RDONLY),
        "rrw" => RecursiveClear(attr::RDONLY),
        "rnosuid" => RecursiveSet(attr::NOSUID),
        "rsuid" => RecursiveClear(attr::NOSUID),
        "rnodev" => RecursiveSet(attr::NODEV),
        "rdev" => RecursiveClear(attr::NODEV),
        "rnoexec" => RecursiveSet(attr::NOEXEC),
        "rexec" => RecursiveClear(attr::NOEXEC),
        "rnosymfollow" => RecursiveSet(attr::NOSYMFOLLOW),
        "rsymfollow" => RecursiveClear(attr::NOSYMFOLLOW),
        "rnodiratime" => RecursiveSet(attr::NODIRATIME),
        "rdiratime" => RecursiveClear(attr::NODIRATIME),
        "rnoatime" => RecursiveAtime(attr::NOATIME),
        "rrelatime" | "ratime" => RecursiveAtime(attr::RELATIME),
        "rstrictatime" => RecursiveAtime(attr::STRICTATIME),
        "rnostrictatime" => RecursiveNotStrict,
        "private" => Propagation(p::PRIVATE, false),
        "rprivate" => Propagation(p::PRIVATE, true),
        "shared" => Propagation(p::SHARED, false),
        "rshared" => Propagation(p::SHARED, true),
        "slave" => Propagation(p::SLAVE, false),
        "rslave" => Propagation(p::SLAVE, true),
        "unbindable" => Propagation(p::UNBINDABLE, false),
        "runbindable" => Propagation(p::UNBINDABLE, true),
        "sync" => Superblock("sync"),
        "dirsync" => Superblock("dirsync"),
        "mand" => Superblock("mand"),
        "lazytime" => Superblock("lazytime"),
        "async" => NotSuperblock("sync"),
        "nomand" => NotSuperblock("mand"),
        "nolazytime" => NotSuperblock("lazytime"),
        "tmpcopyup" => CopyUp,
        "idmap" => IdMap(false),
        "ridmap" => IdMap(true),
        "src-nofollow" => SourceNoFollow,
        _ => return None,
    })
}

/// Reads the option words of one mount. Words that are nobody's are the file
/// system's, which refuses those it does not know.
pub fn parse(words: &[String]) -> Options {
    let mut o = Options::default();
    for text in words
        .iter()
        .flat_map(|w| w.split(','))
        .filter(|w| !w.is_empty())
    {
        match word(text) {
            Some(Word::Nothing) => {}
            Some(Word::Bind(recursive)) => {
                o.bind = true;
                o.recursive_bind |= recursive;
            }
            Some(Word::Set(bits)) => {
                o.set |= bits;
                o.clear &= !bits;
            }
            Some(Word::Clear(bits)) => {
                o.clear |= bits;
                o.set &= !bits;
            }
            Some(Word::RecursiveSet(bits)) => {
                o.recursive_set |= bits;
                o.recursive_clear &= !bits;
            }
            Some(Word::RecursiveClear(bits)) => {
                o.recursive_clear |= bits;
                o.recursive_set &= !bits;
            }
            Some(Word::Atime(bits)) => {
                o.clear |= attr::ATIME;
                o.set = o.set & !attr::ATIME | bits;
            }
            // The kernel's own choice: relative.
            Some(Word::NotStrict) => o.set &= !attr::STRICTATIME,
            Some(Word::RecursiveNotStrict) => o.recursive_set &= !attr::STRICTATIME,
            Some(Word::RecursiveAtime(bits)) => {
                o.recursive_clear |= attr::ATIME;
                o.recursive_set = o.recursive_set & !attr::ATIME | bits;
            }
            Some(Word::Propagation(kind, recursive)) => o.propagation.push((kind, recursive)),
            Some(Word::Superblock(flag)) => o.superblock.push(flag),
            Some(Word::NotSuperblock(flag)) => o.superblock.retain(|f| *f != flag),
            Some(Word::Remount) => o.remount = true,
            Some(Word::CopyUp) => o.copy_up = true,
            Some(Word::IdMap(recursive)) => o.idmap = Some(recursive),
            Some(Word::SourceNoFollow) => o.source_nofollow = true,
            None => o.data.push(match text.split_once('=') {
                Some((key @ ("idmap" | "ridmap"), value)) => {
                    o.idmap = Some(key == "ridmap");
                    o.mapping = Some(value.to_owned());
                    continue;
                }
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (text.to_owned(), None),
            }),
        }
    }
    o
}

/// Every option word that [`parse`] knows, for `features`.
pub const KNOWN: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Options {
        parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn later_words_win() {
        let o = of(&["ro", "rw", "nosuid", "noatime", "strictatime"]);
        assert_eq!(o.set, attr::NOSUID | attr::STRICTATIME);
        assert_eq!(o.clear, attr::RDONLY | attr::ATIME);
    }

    #[test]
    fn words_undo_others() {
        let o = of(&["sync", "lazytime", "dirsync", "async", "nolazytime"]);
        assert_eq!(o.superblock, ["dirsync"]);
        let o = of(&["strictatime", "nostrictatime"]);
        assert_eq!((o.set, o.clear), (attr::RELATIME, attr::ATIME));
        let o = of(&["noatime", "nostrictatime", "rnoatime", "rnostrictatime"]);
        assert_eq!((o.set, o.recursive_set), (attr::NOATIME, attr::NOATIME));
    }

    #[test]
    fn unknown_words_are_data() {
        let o = of(&["size=65536k", "newinstance", "mode=755", "ro"]);
        let size = ("size".to_owned(), Some("65536k".to_owned()));
        assert_eq!(o.data.first(), Some(&size));
        assert_eq!(o.data.get(1), Some(&("newinstance".to_owned(), None)));
    }

    #[test]
    fn known_words_are_known() {
        for known in KNOWN {
            assert!(word(known).is_some(), "{known}");
        }
        assert!(KNOWN.is_sorted());
    }
}
