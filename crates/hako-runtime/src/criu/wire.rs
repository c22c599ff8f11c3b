//! The form of CRIU's messages: protocol buffers, as far as a runtime needs
//! them (numbers, texts and messages within messages).

/// A message that is being written: its fields, one after the other.
#[derive(Debug, Default, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// Adds a number; a negative one as the 64 bits that it is.
    pub fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// Adds a switch, when it is on.
    pub fn switch(self, field: u32, on: bool) -> Self {
        match on {
            true => self.number(field, 1),
            false => self,
        }
    }

    /// Adds a text.
    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Adds a text, if there is one.
    pub fn maybe(self, field: u32, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(field, text),
            None => self,
        }
    }

    /// Adds a message within this one.
    pub fn within(self, field: u32, inner: &Message) -> Self {
        self.bytes(field, &inner.0)
    }

    /// The message as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, or a switch.
    Number(i64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers; `None` when it is not one.
pub fn read(mut rest: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)? as i64),
            1 => Value::Bytes(take(&mut rest, 8)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, len)?)
            }
            5 => Value::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        fields.push((tag >> 3, value));
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::default().text(1, "/a").number(2, -1);
        let message = Message::default()
            .number(1, 300)
            .switch(2, false)
            .switch(3, true)
            .within(44, &inner)
            .maybe(5, None);
        let fields = read(message.as_bytes()).unwrap();
        let expected = [
            (1, Value::Number(300)),
            (3, Value::Number(1)),
            (44, Value::Bytes(inner.as_bytes())),
        ];
        assert_eq!(fields, expected);
        let inside = read(inner.as_bytes()).unwrap();
        assert_eq!(inside, [(1, Value::Bytes(b"/a")), (2, Value::Number(-1))]);
        // The example of the format's own documentation.
        assert_eq!(Message::default().number(1, 150).as_bytes(), [8, 0x96, 1]);
    }

    #[test]
    fn nonsense_is_none() {
        for bytes in [
            &[8][..],
            &[8, 0x80],
            &[0x0a, 5, 1],
            &[0x0b],
            &[0xff; 20],
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
