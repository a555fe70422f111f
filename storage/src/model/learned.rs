//! Fields of an object that were unknown when the first blocks were stored: an earlier version kept
//! them under their keys among the unknown fields (`extra`), where they stay and are given back
//! from; the typed field is filled from there when such a block is read.
//!
//! The name of such a field may have been some chain's own before it got a meaning, so a value of
//! another form is no reason to refuse a block or to call a part damaged: it is kept as it came.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::json::{Odd, Scalar};
use super::scalar::ScalarSeed;
use crate::codec::{DecodeError, Input};

/// An object with such fields. Their bytes are not among the object's: they follow in the versions
/// of the codec that know them.
pub trait Learned {
    /// Whether any of them was given, were it as `null`.
    fn has_learned(&self) -> bool;
    /// Fills those that stand among the unknown fields.
    fn learn(&mut self);
    /// Appends their bytes.
    fn put_learned(&self, out: &mut Vec<u8>);
    /// Reads their bytes.
    fn take_learned(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError>;
}

/// The typed value, and the original where it is not canonical or of another form.
pub(super) fn value_of<T: Scalar>(value: &Value) -> (Option<T>, Odd) {
    let seed = ScalarSeed::<T>::told();
    seed.deserialize(value).unwrap_or_else(|_| (None, Some(value.clone())))
}
