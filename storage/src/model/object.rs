//! One list of fields per JSON-RPC object gives its struct, its reader, its writer and its bytes.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::exact::Exact;
use super::json::Extra;

/// A JSON-RPC object that is kept without loss.
///
/// *Links* are the fields that only repeat where the object stands (its block's hash, its
/// position): they are compared when it is read and given back when it is written, not stored.
pub trait Object: Default {
    /// The fields that repeat where the object stands.
    type Links: Default;
    /// Reads one entry; `false` when the key is unknown.
    fn read_entry<'de, A: MapAccess<'de>>(
        &mut self,
        links: &mut Self::Links,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;
    /// Writes the entries that the provider gave, comma-separated, without braces.
    fn write_entries(&self, links: &Self::Links, out: &mut String);
    /// The first link that was given and differs from `expected`.
    fn differing(&self, claimed: &Self::Links, expected: &Self::Links) -> Option<&'static str>;
    /// Keeps the links that differ as odd fields instead of refusing them.
    fn keep_differing(&mut self, claimed: &Self::Links, expected: &Self::Links);
    /// Which fields were given in canonical form.
    fn present_mut(&mut self) -> &mut u32;
    /// Whether the field of a key was.
    fn is_given(&self, key: &str) -> bool;
    /// The unknown and odd fields.
    fn extra_mut(&mut self) -> &mut Extra;
}

/// An object as read, with the links that it claims.
#[derive(Debug, Default)]
pub struct Linked<T: Object> {
    /// The object.
    pub value: T,
    /// Where it says that it stands.
    pub links: T::Links,
}

impl<'de, T: Object> serde::Deserialize<'de> for Linked<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<T> {
    type Value = Linked<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON-RPC object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Linked<T>, A::Error> {
        let mut read = Linked { value: T::default(), links: T::Links::default() };
        let mut has_odd = false;
        while let Some(Key(key)) = map.next_key()? {
            let before = *read.value.present_mut();
            if read.value.read_entry(&mut read.links, &key, &mut map)? {
                has_odd |= before == *read.value.present_mut();
            } else {
                keep(read.value.extra_mut(), &key, map.next_value()?);
            }
        }
        if has_odd {
            forget_stale(&mut read.value);
        }
        Ok(read)
    }
}

/// A key; only one that is written with escapes has a text of its own.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key<'de>, D::Error> {
        from.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

/// Keeps an unknown field.
pub(super) fn keep(extra: &mut Extra, key: &str, Exact(value): Exact) {
    put(extra, key, value);
}

/// Keeps the original of an odd field.
pub(super) fn put(extra: &mut Extra, key: &str, value: Value) {
    extra.get_or_insert_default().insert(key.to_owned(), value);
}

/// Forgets the odd originals of keys that came again in their canonical form: the last one counts.
pub(super) fn forget_stale<T: Object>(object: &mut T) {
    let Some(mut kept) = object.extra_mut().take() else { return };
    kept.retain(|key, _| !object.is_given(key));
    if !kept.is_empty() {
        *object.extra_mut() = Some(kept);
    }
}

/// Forgets a kept field; whether it was there.
pub(super) fn forget(extra: &mut Extra, key: &str) -> bool {
    let Some(map) = extra else { return false };
    let was_there = map.remove(key).is_some();
    if map.is_empty() {
        *extra = None;
    }
    was_there
}

/// Reads the kept fields again into an object that came from a table's row: a known key whose
/// value did not fit its column gets its exact value back.
struct Again<'a, T>(&'a mut T);

impl<T: Object> Again<'_, T> {
    fn read<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut links = T::Links::default();
        while let Some(key) = map.next_key::<String>()? {
            if !self.0.read_entry(&mut links, &key, &mut map)? {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de, T: Object> Visitor<'de> for Again<'_, T> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("kept fields")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.read(map)
    }
}

impl<'de, T: Object> DeserializeSeed<'de> for Again<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

/// Gives `object` the `extra` text that was stored beside its columns.
pub fn restore_extra<T: Object>(object: &mut T, text: &str) -> Result<(), serde_json::Error> {
    let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    let present = *object.present_mut();
    // The text is read, not the parsed map: lists are read from their raw text.
    let mut reader = serde_json::Deserializer::from_str(text);
    Again(object).deserialize(&mut reader)?;
    *object.present_mut() = present;
    *object.extra_mut() = Some(Box::new(kept));
    Ok(())
}

/// Writes `"key":value` of a canonical field, after a comma when it is not the first.
pub(super) fn write_key(key: &str, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(key);
    out.push_str("\":");
}

/// Writes the unknown and odd fields.
pub(super) fn write_extra(extra: &Extra, out: &mut String) {
    for (key, value) in extra.iter().flat_map(|map| map.iter()) {
        write_key(key, out);
        out.push_str(&value.to_string());
    }
}

/// Declares an object: `stored` fields are kept, `linked` ones only compared and given back.
/// `learned` ones are stored too, and were unknown to earlier versions: see [`super::learned`].
///
/// A field `as told` is in no root and no hash: a form of it that cannot be understood is kept as
/// it came, and a link `as told` is only compared where it is canonical. All other fields enter a
/// proof or say where the object stands: such a form of them is an error.
macro_rules! json_object {
    (@read $ty:ty, $map:ident) => { <$ty as $crate::model::json::JsonField>::read($map)? };
    (@read $ty:ty, $map:ident, $told:ident) => {
        <$ty as $crate::model::json::JsonField>::read_told($map)?
    };
    (@odd $odd:ident, $key:literal) => { $odd($key) };
    (@odd $odd:ident, $key:literal, $told:ident) => { false };
    (
        $(#[$meta:meta])* $name:ident, $keys:ident, $links:ident,
        stored { $( $(#[$doc:meta])* $field:ident: $ty:ty = $key:literal $(as $told:ident)?, )* }
        $( learned { $( $(#[$ndoc:meta])* $nfield:ident: $nty:ty = $nkey:literal, )* } )?
        linked {
            $( $(#[$ldoc:meta])* $lfield:ident: $lty:ty = $lkey:literal $(as $ltold:ident)?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $ty, )*
            $( $( $(#[$ndoc])* pub $nfield: Option<$nty>, )* )?
            /// Which fields the provider gave: bit `n` is variant `n` of the key enum.
            pub present: u32,
            /// Unknown fields, and originals of odd ones.
            pub extra: $crate::model::json::Extra,
        }

        /// The known keys in order; the discriminant is the bit in `present`.
        #[expect(non_camel_case_types, reason = "named after the fields")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $keys {
            $( #[doc = $key] $field, )*
            $( $( #[doc = $nkey] $nfield, )* )?
            $( #[doc = $lkey] $lfield, )*
        }

        /// Where the object stands.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $links { $( $(#[$ldoc])* pub $lfield: $lty, )* }

        impl $name {
            /// The names of the known fields in JSON.
            pub const NAMES: &'static [&'static str] =
                &[$( $key, )* $( $( $nkey, )* )? $( $lkey, )*];

            /// Whether the provider gave this field.
            pub fn has(&self, key: $keys) -> bool {
                self.present & (1 << key as u8) != 0
            }

            /// Says that the provider gave this field in its canonical form.
            pub fn set(&mut self, key: $keys) {
                self.present |= 1 << key as u8;
            }

            /// Says that a field has another value than the one that was given, so that the
            /// original of that one is forgotten.
            pub fn corrected(&mut self, key: $keys) {
                let Some(name) = $name::NAMES.get(key as usize) else { return };
                if $crate::model::object::forget(&mut self.extra, name) {
                    self.set(key);
                }
            }

            /// Says that a field holds what follows from other fields: it is served, whether the
            /// provider gave it or not.
            pub fn derived(&mut self, key: $keys) {
                self.corrected(key);
                self.set(key);
            }

            /// Whether the provider left this field out.
            pub fn lacks(&self, key: $keys) -> bool {
                let name = $name::NAMES.get(key as usize).copied().unwrap_or_default();
                !self.has(key) && !self.extra.as_ref().is_some_and(|extra| extra.contains_key(name))
            }

            fn mark(&mut self, key: $keys, text: &str, odd: $crate::model::json::Odd) {
                // Of a key that came twice the last one counts: see `forget_stale`.
                match odd {
                    None => self.set(key),
                    Some(value) => {
                        self.present &= !(1 << key as u8);
                        $crate::model::object::put(&mut self.extra, text, value);
                    }
                }
            }
        }

        $( impl $crate::model::learned::Learned for $name {
            fn has_learned(&self) -> bool {
                false $( || self.$nfield.is_some() || self.has($keys::$nfield) )*
            }

            fn learn(&mut self) {
                let Some(extra) = &self.extra else { return };
                $( if self.$nfield.is_none()
                    && let Some(value) = extra.get($nkey)
                {
                    self.$nfield = $crate::model::learned::value_of::<$nty>(value).0;
                } )*
            }

            fn put_learned(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Wire::put(&self.$nfield, out); )*
            }

            fn take_learned(
                &mut self,
                input: &mut $crate::codec::Input<'_>,
            ) -> Result<(), $crate::codec::DecodeError> {
                $( self.$nfield = $crate::codec::Wire::take(input)?; )*
                Ok(())
            }
        } )?

        impl $crate::model::object::Object for $name {
            type Links = $links;

            fn read_entry<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                #[allow(unused_variables, reason = "some objects have no links")]
                links: &mut $links,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $( $key => {
                        let (value, odd) = json_object!(@read $ty, map $(, $told)?);
                        self.$field = value;
                        self.mark($keys::$field, $key, odd);
                    } )*
                    $( $( $nkey => {
                        let value: serde_json::Value = map.next_value()?;
                        let (value, odd) = $crate::model::learned::value_of::<$nty>(&value);
                        self.$nfield = value;
                        self.mark($keys::$nfield, $nkey, odd);
                    } )* )?
                    $( $lkey => {
                        let (value, odd) = json_object!(@read $lty, map $(, $ltold)?);
                        links.$lfield = value;
                        self.mark($keys::$lfield, $lkey, odd);
                    } )*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn write_entries(
                &self,
                #[allow(unused_variables, reason = "some objects have no links")]
                links: &$links,
                out: &mut String,
            ) {
                use $crate::model::json::JsonField;
                use $crate::model::object::{write_extra, write_key};
                $( if self.has($keys::$field) {
                    write_key($key, out);
                    self.$field.write(out);
                } )*
                $( $( if self.has($keys::$nfield) {
                    write_key($nkey, out);
                    self.$nfield.write(out);
                } )* )?
                $( if self.has($keys::$lfield) {
                    write_key($lkey, out);
                    links.$lfield.write(out);
                } )*
                write_extra(&self.extra, out);
            }

            fn differing(
                &self,
                #[allow(unused_variables, reason = "some objects have no links")]
                claimed: &$links,
                #[allow(unused_variables, reason = "some objects have no links")]
                expected: &$links,
            ) -> Option<&'static str> {
                let odd =
                    |key: &str| self.extra.as_ref().is_some_and(|extra| extra.contains_key(key));
                $( if (self.has($keys::$lfield) || json_object!(@odd odd, $lkey $(, $ltold)?))
                    && claimed.$lfield != expected.$lfield
                {
                    return Some($lkey);
                } )*
                let _no_links = odd;
                None
            }

            fn keep_differing(
                &mut self,
                #[allow(unused_variables, reason = "some objects have no links")]
                claimed: &$links,
                #[allow(unused_variables, reason = "some objects have no links")]
                expected: &$links,
            ) {
                $( if self.has($keys::$lfield) && claimed.$lfield != expected.$lfield {
                    let mut text = String::new();
                    $crate::model::json::JsonField::write(&claimed.$lfield, &mut text);
                    let odd = $crate::model::json::parse_value(&text).ok();
                    self.mark($keys::$lfield, $lkey, odd);
                } )*
            }

            fn present_mut(&mut self) -> &mut u32 {
                &mut self.present
            }

            fn is_given(&self, key: &str) -> bool {
                match key {
                    $( $key => self.has($keys::$field), )*
                    $( $lkey => self.has($keys::$lfield), )*
                    _ => false,
                }
            }

            fn extra_mut(&mut self) -> &mut $crate::model::json::Extra {
                &mut self.extra
            }
        }

        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Wire::put(&self.$field, out); )*
                $crate::codec::Wire::put(&u64::from(self.present), out);
                $crate::codec::Wire::put(&self.extra, out);
            }
            fn take(
                input: &mut $crate::codec::Input<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name {
                    $( $field: <$ty as $crate::codec::Wire>::take(input)?, )*
                    $( $( $nfield: None, )* )?
                    present: input.take_u32()?,
                    extra: $crate::codec::Wire::take(input)?,
                })
            }
        }
    };
}
pub(super) use json_object;
