//! The macros that declare objects and enumerations of names.

/// Whether a field is required in the document / always written.
macro_rules! mark {
    (required: required) => {
        true
    };
    (always: required) => {
        true
    };
    (always: always) => {
        true
    };
    ($any:ident: $($mark:ident)?) => {
        false
    };
}

macro_rules! read_field {
    ($map:expr, $slot:expr, required) => {
        $crate::object::required($map, $slot)
    };
    ($map:expr, $slot:expr, $($mark:ident)?) => {
        $crate::object::value($map, $slot)
    };
}

/// Declares a JSON object; see the head of `object`.
///
/// ```text
/// object! {
///     /// Limits of the memory controller.
///     pub struct Memory {
///         /// Bytes, -1 for no limit.
///         pub limit: Option<i64> = "limit",
///         /// …
///         pub kind: String = "type" required,
///     }
/// }
/// ```
macro_rules! object {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_doc:meta])*
                pub $field:ident: $kind:ty = $json:literal $($mark:ident)?,
            )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                pub $field: $kind,
            )*
            /// Fields that are not known here; they are written back as they were.
            pub extra: $crate::Map,
        }

        impl $crate::object::Object for $name {
            const FIELDS: &'static [&'static str] = &[$($json),*];
            const REQUIRED: u64 = {
                let mut required = 0u64;
                let mut _bit = 1u64;
                $(
                    if mark!(required: $($mark)?) {
                        required |= _bit;
                    }
                    _bit <<= 1;
                )*
                required
            };
            fn set<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                index: usize,
                map: &mut A,
            ) -> Result<(), A::Error> {
                let mut _at = 0;
                $(
                    if index == _at {
                        return read_field!(map, &mut self.$field, $($mark)?);
                    }
                    _at += 1;
                )*
                Ok(())
            }
            fn extra(&mut self) -> &mut $crate::Map {
                &mut self.extra
            }
        }

        impl $crate::object::Field for $name {
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::object::read(from)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::object::read(from)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = to.serialize_map(None)?;
                $(
                    if mark!(always: $($mark)?) || !$crate::object::Field::is_absent(&self.$field) {
                        map.serialize_entry($json, &self.$field)?;
                    }
                )*
                $crate::object::write_extra(&mut map, &self.extra)?;
                map.end()
            }
        }
    )*};
}

/// Declares an enumeration of names; the first is the default.
///
/// A name that is none of them is an error that says which, never a panic and
/// never silently another one.
macro_rules! names {
    ($(
        $(#[$doc:meta])*
        pub enum $name:ident($what:literal) {
            $(
                $(#[$variant_doc:meta])*
                $variant:ident = $text:literal,
            )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(
                $(#[$variant_doc])*
                $variant,
            )*
        }

        impl $name {
            /// All of them, in the order of the specification.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The name as it stands in documents.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;
            fn from_str(text: &str) -> Result<Self, $crate::Error> {
                match Self::ALL.iter().find(|known| known.as_str() == text) {
                    Some(known) => Ok(*known),
                    None => Err($crate::Error::UnknownName {
                        what: $what,
                        text: $crate::error::shorten(text),
                    }),
                }
            }
        }

        text_field!($name);
    )*};
}

/// Makes a type that has `FromStr` and `Display` a field, written as a string.
macro_rules! text_field {
    ($name:ty) => {
        impl $crate::object::Field for $name {
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::object::text::<$name, D>(from)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::object::text::<$name, D>(from)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}
