//! Values of unit properties, in the types that systemd takes them.

use super::wire::Writer;

/// A property of a unit: its name and value.
pub type Property = (String, Value);

/// A value within a variant.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`; the largest is infinity.
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    String(String),
    /// `as`
    Strings(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`, as of `DeviceAllow`.
    Pairs(Vec<(String, String)>),
}

impl Value {
    /// Its type (D-Bus Specification, "Type System").
    #[must_use]
    pub fn signature(&self) -> &'static str {
        match self {
            Self::Byte(_) => "y",
            Self::Bool(_) => "b",
            Self::Int16(_) => "n",
            Self::Uint16(_) => "q",
            Self::Int32(_) => "i",
            Self::Uint32(_) => "u",
            Self::Int64(_) => "x",
            Self::Uint64(_) => "t",
            Self::Double(_) => "d",
            Self::String(_) => "s",
            Self::Strings(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Byte(v) => w.number([*v]),
            Self::Bool(v) => w.u32(u32::from(*v)),
            Self::Int16(v) => w.number(v.to_ne_bytes()),
            Self::Uint16(v) => w.number(v.to_ne_bytes()),
            Self::Int32(v) => w.number(v.to_ne_bytes()),
            Self::Uint32(v) => w.u32(*v),
            Self::Int64(v) => w.number(v.to_ne_bytes()),
            Self::Uint64(v) => w.number(v.to_ne_bytes()),
            Self::Double(v) => w.number(v.to_ne_bytes()),
            Self::String(v) => w.string(v),
            Self::Strings(list) => w.array(4, |w| list.iter().for_each(|v| w.string(v))),
            Self::Bytes(list) => w.array(1, |w| w.bytes.extend_from_slice(list)),
            Self::Numbers(list) => w.array(4, |w| list.iter().for_each(|v| w.u32(*v))),
            Self::Pairs(list) => w.array(8, |w| {
                for (a, b) in list {
                    w.align(8);
                    w.string(a);
                    w.string(b);
                }
            }),
        }
    }
}

/// An array of properties, `a(sv)`.
pub(super) fn properties(w: &mut Writer, list: &[Property]) {
    w.array(8, |w| {
        for (name, value) in list {
            w.align(8);
            w.string(name);
            w.signature(value.signature());
            value.write(w);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::wire::Reader;
    use super::*;

    #[test]
    fn every_type_is_as_long_as_a_reader_thinks() {
        let text = || "x".to_owned();
        let all = [
            Value::Byte(1),
            Value::Bool(true),
            Value::Int16(-2),
            Value::Uint16(3),
            Value::Int32(-4),
            Value::Uint32(5),
            Value::Int64(-6),
            Value::Uint64(u64::MAX),
            Value::Double(0.5),
            Value::String(text()),
            Value::Strings(vec![text(), text()]),
            Value::Bytes(vec![1, 2, 3]),
            Value::Numbers(vec![1]),
            Value::Pairs(vec![(text(), text()), (text(), text())]),
        ];
        let list: Vec<Property> = all.into_iter().map(|v| ("Name".to_owned(), v)).collect();
        let mut w = Writer::default();
        properties(&mut w, &list);
        let mut r = Reader::new(&w.bytes);
        assert_eq!(r.u32().unwrap() as usize, w.bytes.len() - 8);
        for (name, value) in &list {
            r.align(8).unwrap();
            assert_eq!(r.string().unwrap(), name);
            let signature = r.signature().unwrap();
            assert_eq!(signature, value.signature());
            r.skip(signature).unwrap();
        }
        assert!(r.is_empty());
    }
}
