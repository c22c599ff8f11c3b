//! Writing netlink requests: several messages in one buffer, one send.

use super::parse::{HEADER, align};

/// `NLM_F_*` of `include/uapi/linux/netlink.h`.
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const REPLACE: u16 = 0x100;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// Flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// Requests that travel in one datagram. The kernel works through them in
/// order and, for the route family, goes on after one that fails.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Appends a message: `header` is the family's fixed struct, `fill` adds
    /// its attributes. The sequence number is its place in the batch; the
    /// socket adds its base when it sends.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        fill(&mut Body(&mut self.bytes));
        let length = (self.bytes.len() - start) as u32;
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes.resize(align(self.bytes.len()), 0);
        self.count += 1;
        self
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// The datagram, with `base` added to each sequence number.
    pub(crate) fn numbered(mut self, base: u32) -> Vec<u8> {
        let mut start = 0;
        let mut seq = base;
        while let Some(header) = self.bytes.get_mut(start..start + HEADER) {
            let [l0, l1, l2, l3, _, _, _, _, number @ .., _, _, _, _] = header else {
                break;
            };
            number.copy_from_slice(&seq.to_ne_bytes());
            start += align(u32::from_ne_bytes([*l0, *l1, *l2, *l3]) as usize);
            seq = seq.wrapping_add(1);
        }
        self.bytes
    }
}

/// The attributes of a message under construction.
#[derive(Debug)]
pub(crate) struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    /// An attribute with these bytes.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |bytes| bytes.extend(value))
    }

    /// An attribute with a `u32` in the machine's byte order.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// An attribute with a `u32` in network byte order, as nftables wants.
    pub(crate) fn u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// An attribute with text and its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |bytes| {
            bytes.extend(value.as_bytes());
            bytes.push(0);
        })
    }

    /// An attribute that holds what `fill` adds.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) -> &mut Self {
        self.attribute(kind | NESTED, |bytes| fill(&mut Body(bytes)))
    }

    /// Bytes without an attribute header (`VETH_INFO_PEER` starts with a
    /// struct).
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self.0);
        // Names and comments are bounded by their owners, so no attribute
        // comes near 64 KiB; the kernel refuses a length that lies.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.0.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.0.resize(align(self.0.len()), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{attributes, messages};
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut batch = Batch::default();
        batch.message(16, flag::ACK, &[7; 16], |body| {
            body.text(3, "eth0").nest(18, |info| {
                info.text(1, "veth").u32(2, 9);
            });
        });
        batch.message(20, 0, &[8; 8], |body| {
            body.put(1, &[10, 89, 0, 2]);
        });
        assert_eq!(batch.len(), 2);
        let bytes = batch.numbered(41);
        let read: Vec<_> = messages(&bytes).map(|m| m.unwrap()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].flags, read[0].seq), (16, 5, 41));
        assert_eq!((read[1].kind, read[1].flags, read[1].seq), (20, 1, 42));
        let first: Vec<_> = attributes(&read[0].payload[16..])
            .map(|a| a.unwrap())
            .collect();
        assert_eq!(first[0].text(), "eth0");
        let nested: Vec<_> = first[1].nested().map(|a| a.unwrap()).collect();
        assert_eq!(nested[0].text(), "veth");
        assert_eq!(nested[1].u32(), Some(9));
    }
}
