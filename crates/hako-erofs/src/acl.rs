//! POSIX access control lists, as far as the kernel looks into them when they
//! are set: it checks them, and one for access changes the permission bits
//! (kernel fs/posix_acl.c; acl(5)).

/// The only version of the xattr's format (include/uapi/linux/posix_acl_xattr.h).
const VERSION: u32 = 2;
/// The id of an entry that needs none.
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// A list that the kernel would take.
pub(crate) struct Acl(Vec<(u16, u16, u32)>);

impl Acl {
    /// Reads an xattr's value; `Ok(None)` for an empty list, which removes one,
    /// and an error for what the kernel refuses.
    pub(crate) fn parse(value: &[u8]) -> Result<Option<Self>, Invalid> {
        if value.is_empty() {
            return Ok(None);
        }
        let (head, rest) = value.split_first_chunk::<4>().ok_or(Invalid)?;
        let (entries, odd) = rest.as_chunks::<8>();
        if u32::from_le_bytes(*head) != VERSION || !odd.is_empty() {
            return Err(Invalid);
        }
        let entries: Vec<_> = entries
            .iter()
            .map(|[a, b, c, d, id @ ..]| {
                let tag = u16::from_le_bytes([*a, *b]);
                let id = if matches!(tag, USER | GROUP) {
                    u32::from_le_bytes(*id)
                } else {
                    NO_ID
                };
                (tag, u16::from_le_bytes([*c, *d]), id)
            })
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        check(&entries)?;
        Ok(Some(Self(entries)))
    }

    /// The permission bits that the list stands for.
    pub(crate) fn mode(&self) -> u32 {
        let perm = |wanted: u16| {
            let found = self.0.iter().find(|(tag, ..)| *tag == wanted);
            found.map(|(_, perm, _)| u32::from(*perm))
        };
        let group = perm(MASK).or(perm(GROUP_OBJ)).unwrap_or(0);
        perm(USER_OBJ).unwrap_or(0) << 6 | group << 3 | perm(OTHER).unwrap_or(0)
    }

    /// Whether it says no more than permission bits do.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |tag| matches!(tag, USER_OBJ | GROUP_OBJ | OTHER);
        self.0.iter().all(|(tag, ..)| plain(*tag))
    }

    /// The xattr's value as the kernel shows it.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for (tag, perm, id) in &self.0 {
            out.extend(tag.to_le_bytes());
            out.extend(perm.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    }
}

/// A list that the kernel would not take.
#[derive(Debug)]
pub(crate) struct Invalid;

/// Owner, users, group, groups, mask, others, in this order; the mask may be
/// missing if there are no further users and groups.
fn check(entries: &[(u16, u16, u32)]) -> Result<(), Invalid> {
    let (mut expected, mut needs_mask) = (USER_OBJ, false);
    for (tag, perm, id) in entries {
        let named = matches!(*tag, USER | GROUP);
        if perm & !7 != 0 || (named && *id == NO_ID) {
            return Err(Invalid);
        }
        needs_mask |= named;
        expected = match (*tag, expected) {
            (USER_OBJ, USER_OBJ) | (USER, USER) => USER,
            (GROUP_OBJ, USER) | (GROUP, GROUP) => GROUP,
            (MASK, GROUP) => OTHER,
            (OTHER, OTHER) => 0,
            (OTHER, GROUP) if !needs_mask => 0,
            _ => return Err(Invalid),
        };
    }
    if expected == 0 { Ok(()) } else { Err(Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        Acl(entries.to_vec()).value()
    }

    #[test]
    fn lists_become_permission_bits() {
        let plain = [
            (USER_OBJ, 6, NO_ID),
            (GROUP_OBJ, 4, NO_ID),
            (OTHER, 1, NO_ID),
        ];
        let acl = Acl::parse(&value(&plain)).unwrap().unwrap();
        assert!(acl.is_plain());
        assert_eq!(acl.mode(), 0o641);
        let more = [
            (USER_OBJ, 7, 99),
            (USER, 6, 1000),
            (GROUP_OBJ, 4, NO_ID),
            (MASK, 5, NO_ID),
            (OTHER, 0, NO_ID),
        ];
        let acl = Acl::parse(&value(&more)).unwrap().unwrap();
        assert!(!acl.is_plain());
        assert_eq!(acl.mode(), 0o750);
        assert_eq!(acl.0[0].2, NO_ID, "an id without meaning is dropped");
    }

    #[test]
    fn invalid_lists_are_told() {
        assert!(Acl::parse(b"").unwrap().is_none());
        assert!(Acl::parse(&2u32.to_le_bytes()).unwrap().is_none());
        for bad in [
            b"x".to_vec(),
            value(&[(USER_OBJ, 6, NO_ID)]),
            value(&[(USER_OBJ, 8, 0), (GROUP_OBJ, 4, 0), (OTHER, 1, 0)]),
            value(&[(GROUP_OBJ, 4, 0), (USER_OBJ, 6, 0), (OTHER, 1, 0)]),
            value(&[
                (USER_OBJ, 6, 0),
                (USER, 6, 1),
                (GROUP_OBJ, 4, 0),
                (OTHER, 1, 0),
            ]),
            [&3u32.to_le_bytes()[..], &[0; 8]].concat(),
        ] {
            assert!(Acl::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
