//! Integers, bytes, options and lists as bytes.

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};

use crate::model::{AccessListItem, Authorization, Topics};

/// Items of a list for which room is made before they are read.
const RESERVED_MAX: usize = 1 << 10;

/// A value with a binary form.
pub trait Wire: Sized {
    /// Appends the bytes.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the bytes.
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError>;
}

/// Why bytes are no block.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("codec version {version} is not known; this program knows up to {}", super::VERSION)]
    Version {
        /// What the frame says.
        version: u8,
    },
    /// Ended inside a value.
    #[error("the bytes end inside a value")]
    Short,
    /// More bytes than values.
    #[error("{bytes} bytes follow the last value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number outside of its type.
    #[error("the number does not fit its type")]
    Number,
    /// An option or truth value that is neither 0 nor 1.
    #[error("the tag byte {tag} is neither 0 nor 1")]
    Tag {
        /// What was read.
        tag: u8,
    },
    /// A text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Text,
    /// A log with more topics than there are.
    #[error("a log has {count} topics")]
    Topics {
        /// What was read.
        count: usize,
    },
    /// Kept fields that are no JSON object.
    #[error("kept fields are no JSON object")]
    Extra(#[source] serde_json::Error),
}

/// Bytes being read. Byte strings that are taken out of them share their memory.
pub struct Input<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads from the start.
    pub fn new(whole: &'a Bytes) -> Input<'a> {
        Input { whole, rest: whole }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take_bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A piece that shares the memory of the whole.
    fn take_shared(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let from = self.whole.len() - self.rest.len();
        self.take_bytes(count)?;
        Ok(self.whole.slice(from..from + count))
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_byte(&mut self) -> Result<u8, DecodeError> {
        self.take_array::<1>().map(|[byte]| byte)
    }

    fn take_length(&mut self) -> Result<usize, DecodeError> {
        let length = usize::try_from(u64::take(self)?).map_err(|_| DecodeError::Number)?;
        // Every item is a byte at least: a longer list cannot be whole, and reserves nothing.
        if length > self.rest.len() {
            return Err(DecodeError::Short);
        }
        Ok(length)
    }

    /// A 32-bit number.
    pub fn take_u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(u64::take(self)?).map_err(|_| DecodeError::Number)
    }
}

/// LEB128: seven bits a byte, low bits first.
impl Wire for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push((rest as u8 & 0x7f) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut value = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = input.take_byte()?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return Err(DecodeError::Number);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Number)
    }
}

/// LEB128.
impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push((rest as u8 & 0x7f) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = input.take_byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return Err(DecodeError::Number);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Number)
    }
}

impl<const N: usize> Wire for FixedBytes<N> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_slice());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.take_array().map(FixedBytes)
    }
}

impl Wire for Address {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        FixedBytes::take(input).map(Address)
    }
}

/// A length byte and the big-endian bytes without leading zeros.
impl Wire for U256 {
    fn put(&self, out: &mut Vec<u8>) {
        let bytes = self.to_be_bytes::<32>();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push((32 - zeros) as u8);
        out.extend(bytes.iter().skip(zeros));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = usize::from(input.take_byte()?);
        let bytes = input.take_bytes(length)?;
        U256::try_from_be_slice(bytes).ok_or(DecodeError::Number)
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.take_length()?;
        input.take_shared(length)
    }
}

/// The length and the bytes in UTF-8.
impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.take_length()?;
        let text = std::str::from_utf8(input.take_bytes(length)?);
        text.map(str::to_owned).map_err(|_| DecodeError::Text)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        match input.take_byte()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::Tag { tag }),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        bool::take(input)?.then(|| T::take(input)).transpose()
    }
}

/// The length and the items.
fn put_list<T: Wire>(list: &[T], out: &mut Vec<u8>) {
    (list.len() as u64).put(out);
    for item in list {
        item.put(out);
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self, out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.take_length()?;
        // A length may be a lie: no more than so many are reserved at once.
        let mut items = Vec::with_capacity(length.min(RESERVED_MAX));
        for _ in 0..length {
            items.push(T::take(input)?);
        }
        Ok(items)
    }
}

/// As a list of any length.
impl Wire for Topics {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self, out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let count = input.take_length()?;
        let mut topics = Topics::new();
        for _ in 0..count {
            topics.try_push(B256::take(input)?).map_err(|_| DecodeError::Topics { count })?;
        }
        Ok(topics)
    }
}

/// Kept fields: the length and the text of a JSON object.
impl Wire for Box<serde_json::Map<String, serde_json::Value>> {
    fn put(&self, out: &mut Vec<u8>) {
        let text = serde_json::Value::Object((**self).clone()).to_string();
        (text.len() as u64).put(out);
        out.extend_from_slice(text.as_bytes());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.take_length()?;
        serde_json::from_slice(input.take_bytes(length)?).map_err(DecodeError::Extra)
    }
}

impl Wire for AccessListItem {
    fn put(&self, out: &mut Vec<u8>) {
        self.address.put(out);
        self.storage_keys.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let address = Address::take(input)?;
        let storage_keys = Vec::<B256>::take(input)?;
        Ok(AccessListItem { address, storage_keys })
    }
}

impl Wire for Authorization {
    fn put(&self, out: &mut Vec<u8>) {
        self.chain_id.put(out);
        self.address.put(out);
        self.nonce.put(out);
        self.y_parity.put(out);
        self.r.put(out);
        self.s.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(Authorization {
            chain_id: Wire::take(input)?,
            address: Wire::take(input)?,
            nonce: Wire::take(input)?,
            y_parity: Wire::take(input)?,
            r: Wire::take(input)?,
            s: Wire::take(input)?,
        })
    }
}
