//! What can stand in a field: plain values, lists, maps, sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;

use super::{Seed, at, duplicate};
use crate::{Map, Value, strict};

/// What can stand in a field of an object.
pub trait Field: Sized + Serialize {
    /// Reads the value.
    ///
    /// # Errors
    /// Those of the format, and a wrong type or value, prefixed with the path.
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;

    /// Whether the value equals an absent field and need not be written.
    fn is_absent(&self) -> bool {
        false
    }

    /// The value as an optional field: an empty string counts as absent, as
    /// Go's `omitempty` has it, which most writers of these documents use.
    fn into_option(self) -> Option<Self> {
        Some(self)
    }
}

macro_rules! plain_fields {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(from)
            }
            fn is_absent(&self) -> bool {
                *self == <$kind>::default()
            }
        }
    )*};
}
plain_fields!(bool, i32, i64, u16, u32, u64);

impl Field for String {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::Deserialize::deserialize(from)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
    fn into_option(self) -> Option<Self> {
        if self.is_empty() { None } else { Some(self) }
    }
}

impl Field for Value {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        strict::value(from)
    }
    fn is_absent(&self) -> bool {
        self.is_null()
    }
}

impl<T: Field> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(T::read(from)?.into_option())
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Field> Visitor<'de> for List<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                loop {
                    match seq.next_element_seed(Seed::<T>(PhantomData)) {
                        Ok(Some(item)) => list.push(item),
                        Ok(None) => return Ok(list),
                        Err(error) => return Err(at(&format!("[{}]", list.len()), &error)),
                    }
                }
            }
        }
        from.deserialize_seq(List(PhantomData))
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Field> Visitor<'de> for Entries<T> {
            type Value = BTreeMap<String, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = match map.next_value_seed(Seed::<T>(PhantomData)) {
                        Ok(value) => value,
                        Err(error) => return Err(at(&format!("[{key:?}]"), &error)),
                    };
                    if entries.contains_key(&key) {
                        return Err(duplicate(&key));
                    }
                    entries.insert(key, value);
                }
                Ok(entries)
            }
        }
        from.deserialize_map(Entries(PhantomData))
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// A set that JSON writes as an object of empty objects, as Go's
/// `map[string]struct{}` does (image-spec config.md, `ExposedPorts`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeySet(pub BTreeSet<String>);

impl Field for KeySet {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::<String, Value>::read(from)?;
        Ok(KeySet(entries.into_keys().collect()))
    }
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for KeySet {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for key in &self.0 {
            map.serialize_entry(key, &Map::new())?;
        }
        map.end()
    }
}
