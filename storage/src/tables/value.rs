//! How a value of the model becomes a column and comes back.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, FixedSizeBinaryArray, Int64Array,
    ListArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit, TimestampMicrosecondType};

use crate::model::{AccessListItem, Authorization, micros_of};

/// Metadata key of a column's finer type.
pub const TYPE_KEY: &str = "headwater.type";
/// 32 bytes that are one big-endian unsigned number.
pub const TYPE_UINT256: &str = "uint256";

/// A type that a column can hold.
pub(super) trait Value: Sized {
    fn data_type() -> DataType;
    fn is_nullable() -> bool {
        false
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef;
    /// The value of a row; `None` when the column has another type or holds no value.
    fn read(array: &dyn Array, row: usize) -> Option<Self>;
    fn field(name: &str) -> Field {
        Field::new(name, Self::data_type(), Self::is_nullable())
    }
}

/// A 64-bit quantity as a signed column. A larger one is saturated; its original is in `extra`.
fn signed<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn data_type() -> DataType {
                DataType::Int64
            }
            fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(values.map(signed)))
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                let array = array.as_primitive_opt::<Int64Type>()?;
                array.is_valid(row).then(|| array.value(row).try_into().ok())?
            }
        }
        impl Value for Option<$ty> {
            fn data_type() -> DataType {
                DataType::Int64
            }
            fn is_nullable() -> bool {
                true
            }
            fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                Arc::new(values.map(|value| value.map(signed)).collect::<Int64Array>())
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                Some(<$ty>::read(array, row))
            }
        }
    )*};
}
integers!(u64, u128);

/// A block's time by the number in its header, as a UTC timestamp in microseconds. It is read in
/// seconds; a number of another unit is in `extra`.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) u64);

/// 9999-12-31, for a number that fits no unit.
const MICROS_LAST: u64 = 253_402_300_799_000_000;

impl Value for Time {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let micros = values.map(|time| signed(micros_of(time.0).unwrap_or(MICROS_LAST)));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
        Some(Time(u64::try_from(micros / 1_000_000).ok()?))
    }
}

/// Microseconds since the epoch, where they are known.
#[derive(Clone, Copy)]
pub(super) struct Micros(pub(super) Option<u64>);

impl Value for Micros {
    fn data_type() -> DataType {
        Time::data_type()
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let micros = values.map(|micros| micros.0.map(signed));
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_primitive_opt::<TimestampMicrosecondType>()?;
        let micros = array.is_valid(row).then(|| array.value(row));
        Some(Micros(micros.map(u64::try_from).transpose().ok()?))
    }
}

impl Value for Option<bool> {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        Arc::new(values.collect::<BooleanArray>())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_boolean_opt()?;
        Some(array.is_valid(row).then(|| array.value(row)))
    }
}

impl Value for &'static str {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let mut builder = StringBuilder::new();
        values.for_each(|value| builder.append_value(value));
        Arc::new(builder.finish())
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

impl Value for Option<String> {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let mut builder = StringBuilder::new();
        values.for_each(|value| builder.append_option(value));
        Arc::new(builder.finish())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_string_opt::<i32>()?;
        Some(array.is_valid(row).then(|| array.value(row).to_owned()))
    }
}

impl Value for &Bytes {
    fn data_type() -> DataType {
        DataType::Binary
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let values: Vec<&Bytes> = values.collect();
        let bytes = values.iter().map(|value| value.len()).sum();
        let mut builder = BinaryBuilder::with_capacity(values.len(), bytes);
        for value in values {
            builder.append_value(value);
        }
        Arc::new(builder.finish())
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

impl Value for Option<Bytes> {
    fn data_type() -> DataType {
        DataType::Binary
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let values: Vec<Option<Bytes>> = values.collect();
        let bytes = values.iter().flatten().map(|value| value.len()).sum();
        let mut builder = BinaryBuilder::with_capacity(values.len(), bytes);
        for value in values {
            builder.append_option(value);
        }
        Arc::new(builder.finish())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_binary_opt::<i32>()?;
        Some(array.is_valid(row).then(|| Bytes::copy_from_slice(array.value(row))))
    }
}

/// A column of `width` bytes a row from bytes laid end to end.
fn fixed(width: usize, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(bytes), nulls))
}

fn fixed_row<const N: usize>(array: &dyn Array, row: usize) -> Option<[u8; N]> {
    let array = array.as_fixed_size_binary_opt()?;
    array.is_valid(row).then(|| array.value(row).try_into().ok())?
}

fn fixed_type(width: usize) -> DataType {
    DataType::FixedSizeBinary(i32::try_from(width).unwrap_or(i32::MAX))
}

macro_rules! fixed_values {
    ($($ty:ty, $width:literal, $to:expr, $from:expr, $metadata:expr;)*) => {$(
        impl Value for $ty {
            fn data_type() -> DataType {
                fixed_type($width)
            }
            fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                let mut bytes = Vec::with_capacity(values.len() * $width);
                for value in values {
                    let array: [u8; $width] = $to(value);
                    bytes.extend_from_slice(&array);
                }
                fixed($width, bytes, None)
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                fixed_row::<$width>(array, row).map($from)
            }
            fn field(name: &str) -> Field {
                Field::new(name, Self::data_type(), false).with_metadata($metadata)
            }
        }
        impl Value for Option<$ty> {
            fn data_type() -> DataType {
                fixed_type($width)
            }
            fn is_nullable() -> bool {
                true
            }
            fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                let mut bytes = Vec::with_capacity(values.len() * $width);
                let mut valid = Vec::with_capacity(values.len());
                for value in values {
                    valid.push(value.is_some());
                    let array: [u8; $width] = value.map($to).unwrap_or([0; $width]);
                    bytes.extend_from_slice(&array);
                }
                fixed($width, bytes, Some(NullBuffer::from(valid)))
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                Some(<$ty>::read(array, row))
            }
            fn field(name: &str) -> Field {
                Field::new(name, Self::data_type(), true).with_metadata($metadata)
            }
        }
    )*};
}

fn uint256() -> HashMap<String, String> {
    HashMap::from([(TYPE_KEY.to_owned(), TYPE_UINT256.to_owned())])
}

fixed_values! {
    B256, 32, |v: B256| v.0, B256::from, HashMap::new();
    FixedBytes<8>, 8, |v: FixedBytes<8>| v.0, FixedBytes::from, HashMap::new();
    Address, 20, |v: Address| v.0.0, Address::from, HashMap::new();
    U256, 32, |v: U256| v.to_be_bytes::<32>(), U256::from_be_bytes::<32>, uint256();
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

fn list(lengths: Vec<Option<usize>>, items: ArrayRef) -> ArrayRef {
    let nulls = lengths.iter().map(Option::is_some).collect::<NullBuffer>();
    let offsets = OffsetBuffer::from_lengths(lengths.into_iter().map(Option::unwrap_or_default));
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, offsets, items, Some(nulls)))
}

fn list_row(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    let array = array.as_list_opt::<i32>()?;
    array.is_valid(row).then(|| array.value(row))
}

fn items<V: Value>(array: &dyn Array) -> Option<Vec<V>> {
    (0..array.len()).map(|row| V::read(array, row)).collect()
}

impl Value for &Vec<u64> {
    fn data_type() -> DataType {
        list_of(DataType::Int64)
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let mut lengths = Vec::with_capacity(values.len());
        let mut flat = Vec::new();
        for value in values {
            lengths.push(Some(value.len()));
            flat.extend_from_slice(value);
        }
        list_required(lengths, u64::array(flat.into_iter()))
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

/// An owned list of numbers read back.
pub(super) fn read_numbers(array: &dyn Array, row: usize) -> Option<Vec<u64>> {
    items(&list_row(array, row)?)
}

impl Value for Option<&Vec<B256>> {
    fn data_type() -> DataType {
        list_of(fixed_type(32))
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let mut lengths = Vec::with_capacity(values.len());
        let mut bytes = Vec::new();
        for value in values {
            lengths.push(value.map(Vec::len));
            value.into_iter().flatten().for_each(|hash| bytes.extend_from_slice(hash.as_slice()));
        }
        list(lengths, fixed(32, bytes, None))
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

/// An owned list read back.
pub(super) fn read_hashes(array: &dyn Array, row: usize) -> Option<Vec<B256>> {
    items(&list_row(array, row)?)
}

fn structs(fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let named = fields
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), false))
        .collect::<Fields>();
    Arc::new(StructArray::new(named, fields.into_iter().map(|(_, array)| array).collect(), None))
}

impl Value for Option<&Vec<AccessListItem>> {
    fn data_type() -> DataType {
        Self::array(std::iter::empty()).data_type().clone()
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let values: Vec<Self> = values.collect();
        let lengths = values.iter().map(|list| list.map(Vec::len)).collect();
        let flat: Vec<&AccessListItem> = values.into_iter().flatten().flatten().collect();
        let keys = flat.iter().map(|item| Some(item.storage_keys.len())).collect();
        let key_bytes =
            flat.iter().flat_map(|item| item.storage_keys.iter().flatten()).copied().collect();
        let keys = list_required(keys, fixed(32, key_bytes, None));
        let addresses = Address::array(flat.iter().map(|item| item.address));
        list(lengths, structs(vec![("address", addresses), ("storage_keys", keys)]))
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

fn list_required(lengths: Vec<Option<usize>>, items: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.into_iter().map(Option::unwrap_or_default));
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, offsets, items, None))
}

/// An access list read back.
pub(super) fn read_access_list(array: &dyn Array, row: usize) -> Option<Vec<AccessListItem>> {
    let list = list_row(array, row)?;
    let list = list.as_struct_opt()?;
    let (addresses, keys) = (list.column_by_name("address")?, list.column_by_name("storage_keys")?);
    let item = |at| {
        let storage_keys = read_hashes(keys, at)?;
        Some(AccessListItem { address: Address::read(addresses, at)?, storage_keys })
    };
    (0..list.len()).map(item).collect()
}

impl Value for Option<&Vec<Authorization>> {
    fn data_type() -> DataType {
        Self::array(std::iter::empty()).data_type().clone()
    }
    fn is_nullable() -> bool {
        true
    }
    fn array(values: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let values: Vec<Self> = values.collect();
        let lengths = values.iter().map(|list| list.map(Vec::len)).collect();
        let flat: Vec<&Authorization> = values.into_iter().flatten().flatten().collect();
        let fields = vec![
            ("chain_id", U256::array(flat.iter().map(|item| item.chain_id))),
            ("address", Address::array(flat.iter().map(|item| item.address))),
            ("nonce", u64::array(flat.iter().map(|item| item.nonce))),
            ("y_parity", u64::array(flat.iter().map(|item| item.y_parity))),
            ("r", U256::array(flat.iter().map(|item| item.r))),
            ("s", U256::array(flat.iter().map(|item| item.s))),
        ];
        list(lengths, structs(fields))
    }
    fn read(_: &dyn Array, _: usize) -> Option<Self> {
        None
    }
}

/// An authorization list read back.
pub(super) fn read_authorizations(array: &dyn Array, row: usize) -> Option<Vec<Authorization>> {
    let list = list_row(array, row)?;
    let list = list.as_struct_opt()?;
    let item = |at| {
        Some(Authorization {
            chain_id: U256::read(list.column_by_name("chain_id")?, at)?,
            address: Address::read(list.column_by_name("address")?, at)?,
            nonce: u64::read(list.column_by_name("nonce")?, at)?,
            y_parity: u64::read(list.column_by_name("y_parity")?, at)?,
            r: U256::read(list.column_by_name("r")?, at)?,
            s: U256::read(list.column_by_name("s")?, at)?,
        })
    };
    (0..list.len()).map(item).collect()
}
