//! Names in the archive: cleaned, and told apart from whiteouts; and the names
//! of xattrs.

use crate::error::quote;
use crate::{Error, Limits};

/// Prefix of a whiteout's name (image-spec layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Name of an opaque whiteout (same, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept in the root of its branches, and old images still have.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// What a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// The root directory.
    Root,
    /// `base` in the directory `parent` (empty for the root).
    Entry {
        /// Clean path.
        parent: &'a [u8],
        /// One component.
        base: &'a [u8],
    },
    /// Deletion of `base` in the directory `parent`.
    Whiteout {
        /// Clean path.
        parent: &'a [u8],
        /// One component, without the prefix.
        base: &'a [u8],
    },
    /// Deletion of everything in the directory `parent`.
    Opaque {
        /// Clean path.
        parent: &'a [u8],
    },
    /// To be left out.
    Aufs,
}

/// A path relative to the root, without empty, `.` and `..` components. An
/// absolute path is taken as relative; `..` is removed together with the
/// component before it, as text, and an error if there is none.
///
/// # Errors
/// [`Error::Escapes`], [`Error::Limit`].
pub fn clean(path: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(Error::Escapes { path: quote(path) });
                }
            }
            _ => parts.push(part),
        }
    }
    let clean = parts.join(&b'/');
    bound(&clean, limits)?;
    Ok(clean)
}

/// Checks a clean path's length and depth.
///
/// # Errors
/// [`Error::Limit`].
pub fn bound(clean: &[u8], limits: &Limits) -> Result<(), Error> {
    let depth = clean.split(|b| *b == b'/').count();
    for (what, value, limit) in [
        ("bytes of a path", clean.len(), limits.path),
        ("depth of a path", depth, limits.depth),
    ] {
        if value > limit {
            return Err(Error::Limit {
                path: quote(clean),
                what,
                limit: limit as u64,
            });
        }
    }
    Ok(())
}

/// Tells what a clean path asks for.
///
/// # Errors
/// [`Error::Name`] for names that only look like whiteouts.
pub fn classify(clean: &[u8]) -> Result<Name<'_>, Error> {
    if clean.is_empty() {
        return Ok(Name::Root);
    }
    let invalid = |reason| Error::Name {
        path: quote(clean),
        reason,
    };
    let first = clean.split(|b| *b == b'/').next().unwrap_or_default();
    if AUFS.contains(&first) {
        return Ok(Name::Aufs);
    }
    let (parent, base) = split(clean);
    if parent
        .split(|b| *b == b'/')
        .any(|part| part.starts_with(WHITEOUT))
    {
        return Err(invalid("a whiteout is no directory"));
    }
    if base == OPAQUE {
        return Ok(Name::Opaque { parent });
    }
    let Some(hidden) = base.strip_prefix(WHITEOUT) else {
        return Ok(Name::Entry { parent, base });
    };
    match hidden {
        b"" | b"." | b".." => Err(invalid("a whiteout has to name what it deletes")),
        _ if hidden.starts_with(WHITEOUT) => Err(invalid("a whiteout cannot be deleted")),
        _ => Ok(Name::Whiteout {
            parent,
            base: hidden,
        }),
    }
}

/// Parent and last component of a clean path.
#[must_use]
pub fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|b| *b == b'/') {
        Some(at) => {
            let (parent, rest) = clean.split_at(at);
            (parent, rest.get(1..).unwrap_or_default())
        }
        None => (b"", clean),
    }
}

/// `base` in `parent`, both clean.
#[must_use]
pub fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        base.to_vec()
    } else {
        [parent, b"/", base].concat()
    }
}

/// Whether an archive, or a layer below, may set the xattr `name`. Overlayfs's
/// own would redirect or hide files of other layers; SELinux labels are the
/// host's.
#[must_use]
pub fn wanted(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && name != b"security.selinux"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attack_01_names_are_cleaned_or_refused() {
        let limits = Limits::default();
        for (raw, expected) in [
            (&b"./a//b/./c"[..], &b"a/b/c"[..]),
            (b"/etc/passwd", b"etc/passwd"),
            (b"a/../b", b"b"),
            (b"./", b""),
            (b"a/..", b""),
            (b"...", b"..."),
        ] {
            assert_eq!(clean(raw, &limits).unwrap(), expected);
        }
        for raw in [
            &b".."[..],
            b"../x",
            b"/../x",
            b"a/../../x",
            b"./../x",
            b"//..//x",
        ] {
            assert!(matches!(clean(raw, &limits), Err(Error::Escapes { .. })));
        }
    }

    #[test]
    fn attack_04_whiteout_names_are_told_from_abuse() {
        let entry = Name::Whiteout {
            parent: b"a",
            base: b"b",
        };
        assert_eq!(classify(b"a/.wh.b").unwrap(), entry);
        assert_eq!(
            classify(b"a/.wh..wh..opq").unwrap(),
            Name::Opaque { parent: b"a" }
        );
        assert_eq!(
            classify(b".wh..b").unwrap(),
            Name::Whiteout {
                parent: b"",
                base: b".b"
            }
        );
        assert_eq!(
            classify(b".wh....").unwrap(),
            Name::Whiteout {
                parent: b"",
                base: b"..."
            }
        );
        assert_eq!(
            classify(b".whx").unwrap(),
            Name::Entry {
                parent: b"",
                base: b".whx"
            }
        );
        assert_eq!(classify(b".wh..wh.plnk/1.2").unwrap(), Name::Aufs);
        for bad in [
            &b".wh."[..],
            b"a/.wh.",
            b".wh..",
            b".wh...",
            b"a/.wh.b/c",
            b".wh..wh.x",
            b"a/.wh..wh.plnk",
            b".wh..wh..opq/x",
            b".wh..wh.",
        ] {
            assert!(
                matches!(classify(bad), Err(Error::Name { .. })),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn attack_06_long_and_deep_names_are_refused() {
        let limits = Limits::default();
        assert!(matches!(
            clean(&[b'a'; 4096], &limits),
            Err(Error::Limit { limit: 4095, .. })
        ));
        let deep = b"a/".repeat(513);
        assert!(matches!(
            clean(&deep, &limits),
            Err(Error::Limit { limit: 512, .. })
        ));
    }

    proptest! {
        #[test]
        fn clean_names_stay_inside(raw in "[a./]{0,40}") {
            if let Ok(clean) = clean(raw.as_bytes(), &Limits::default()) {
                let bad: [&[u8]; 3] = [b"", b".", b".."];
                prop_assert!(clean.is_empty() || clean.split(|b| *b == b'/').all(|p| !bad.contains(&p)));
            }
        }
    }
}
