//! Reading netlink datagrams (netlink(7), `include/uapi/linux/netlink.h`).
//!
//! What the kernel sends is trusted no further than its length: every access
//! is checked, every length that does not fit ends the iteration with
//! [`Malformed`], and nothing here allocates.

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// A datagram whose lengths contradict its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a netlink reply is malformed: {0}")]
pub struct Malformed(pub &'static str);

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`: what the payload is.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: the number of the request it answers.
    pub seq: u32,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

/// One attribute (`struct nlattr`) of a message or of a nested attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without the flag bits for nested and byte order.
    pub kind: u16,
    /// Its value, without padding.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a `u32` in the machine's byte order; none when it is not
    /// four bytes.
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value as a `u32` in network byte order (nftables).
    pub fn u32_be(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// The value as an IPv4 address; none when it is not four bytes.
    pub fn ipv4(&self) -> Option<std::net::Ipv4Addr> {
        <[u8; 4]>::try_from(self.value).ok().map(Into::into)
    }

    /// The value as text up to its NUL; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|b| *b == 0);
        let text = self.value.get(..end.unwrap_or(self.value.len()));
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    /// The attributes nested in it.
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.value)
    }
}

/// Iterator over the messages of a datagram; see [`messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

/// The messages of one datagram. After the first malformed one there are no
/// more.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages(datagram)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((header, _)) = rest.split_first_chunk::<HEADER>() else {
            return Some(Err(Malformed("it ends inside a message header")));
        };
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(payload) = rest.get(HEADER..length) else {
            return Some(Err(Malformed("a message is longer than the datagram")));
        };
        self.0 = rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            seq: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        }))
    }
}

/// Iterator over attributes; see [`attributes`].
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

/// The attributes that fill `bytes`. After the first malformed one there are
/// no more.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((&[l0, l1, k0, k1], _)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Malformed("it ends inside an attribute header")));
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = rest.get(4..length) else {
            return Some(Err(Malformed("an attribute is longer than its message")));
        };
        self.0 = rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Attribute {
            // NLA_TYPE_MASK: the two top bits are NLA_F_NESTED and
            // NLA_F_NET_BYTEORDER.
            kind: u16::from_ne_bytes([k0, k1]) & 0x3fff,
            value,
        }))
    }
}

/// Splits a fixed header of `N` bytes off a payload.
pub fn fixed<const N: usize>(payload: &[u8]) -> Result<(&[u8; N], Attributes<'_>), Malformed> {
    let short = Malformed("a message is shorter than its fixed part");
    let (head, rest) = payload.split_first_chunk::<N>().ok_or(short)?;
    Ok((head, attributes(rest)))
}

/// The errno of an `NLMSG_ERROR` payload, 0 for an acknowledgement.
pub fn errno(payload: &[u8]) -> Result<i32, Malformed> {
    let (code, _) = fixed::<4>(payload)?;
    Ok(i32::from_ne_bytes(*code).saturating_neg().max(0))
}

/// Messages and attributes start at multiples of four bytes.
pub(crate) fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Walks everything that can be read of a datagram.
    fn walk(bytes: &[u8]) -> usize {
        let mut seen = 0;
        for message in messages(bytes) {
            let Ok(message) = message else { break };
            let _ = errno(message.payload);
            for attribute in attributes(message.payload).map_while(Result::ok) {
                seen += 1 + attribute.text().len();
                seen += attribute.nested().count();
            }
        }
        seen
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    #[test]
    fn two_messages_with_padding_between() {
        let mut bytes = message(2, &[1, 2, 3, 4, 5]);
        bytes.extend(message(3, &[]));
        let read: Vec<_> = messages(&bytes).map(|m| m.unwrap()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].payload), (2, &[1, 2, 3, 4, 5][..]));
        assert_eq!((read[1].kind, read[1].payload), (3, &[][..]));
    }

    #[test]
    fn lengths_that_lie_end_the_iteration() {
        for length in [0u32, 15, 17, u32::MAX] {
            let mut bytes = message(2, &[]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = messages(&bytes).collect();
            assert_eq!(read.len(), 1, "{length}");
            assert!(read[0].is_err(), "{length}");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = vec![0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = attributes(&bytes).collect();
            assert_eq!(read.len(), 1, "{length}");
            assert!(read[0].is_err(), "{length}");
        }
    }

    #[test]
    fn errno_is_positive_and_zero_is_an_acknowledgement() {
        assert_eq!(errno(&(-17i32).to_ne_bytes()), Ok(17));
        assert_eq!(errno(&0i32.to_ne_bytes()), Ok(0));
        assert_eq!(errno(&i32::MIN.to_ne_bytes()), Ok(i32::MAX));
        assert!(errno(&[1, 2]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            walk(&bytes);
        }

        #[test]
        fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            walk(&message(16, &payload));
        }
    }
}
