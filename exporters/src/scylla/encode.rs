//! Rows of a batch as values of CQL, in the server's own bytes (native protocol v4, section 6).

use std::cell::RefCell;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Field, Int64Type, TimestampMicrosecondType};
use headwater_storage::model::{Branches, Lsn, Op};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use crate::Batch;
use crate::encode::{Picked, TableRows, json};

use super::layout::{From, Kind, Layout};
use super::tables::BUCKET_BLOCKS;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// A date of CQL counts from so many days before 1970-01-01.
const DATE_ZERO: i64 = 1 << 31;

/// A row for the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundRow {
    /// Its place among the layouts.
    pub(super) layout: usize,
    /// The values of its columns: length (big-endian; -2: not set) and bytes of each.
    pub(super) cells: Vec<u8>,
    /// How many of these bytes are the partition.
    pub(super) partition_bytes: usize,
    /// Microseconds: the order of the log.
    pub(super) timestamp: i64,
    /// Seconds; 0: for ever.
    pub(super) ttl: i32,
    /// The identity of the row that it comes from, by its place in the encoded batch.
    pub(super) row: usize,
}

/// A batch as rows for the sink.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// Sorted by layout, partition and columns; of rows that say the same, the latest.
    pub(super) rows: Vec<BoundRow>,
    /// Identities of the rows that they come from.
    pub(super) event_ids: Vec<String>,
}

impl BoundRow {
    pub(super) fn partition(&self) -> &[u8] {
        self.cells.get(..self.partition_bytes).unwrap_or_default()
    }

    /// Its columns: `None` where not set.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        sizes(&self.cells)
    }
}

/// Values that have their lengths before them; `None` for a negative one.
fn sizes(mut rest: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = after;
            return Some(None);
        };
        let (value, after) = after.split_at_checked(length)?;
        rest = after;
        Some(Some(value))
    })
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", const_hex::encode(bytes))
}

impl SerializeRow for BoundRow {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let timestamp = self.timestamp.to_be_bytes();
        let ttl = self.ttl.to_be_bytes();
        let last = [Some(timestamp.as_slice()), Some(ttl.as_slice())];
        for value in self.values().chain(last) {
            let cell = writer.make_cell_writer();
            // Not set rather than null: a null is a tombstone.
            let _written = match value {
                Some(value) => cell.set_value(value).map_err(SerializationError::new)?,
                None => cell.set_unset(),
            };
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// The write timestamp of a record, in microseconds: greater for every later record, also behind
/// the place where a restored folder's log parted from the one that wrote before; and always in
/// the past, as servers demand.
pub(super) fn timestamp(branches: &Branches, lsn: Lsn) -> i64 {
    let parted = branches.of(lsn).unwrap_or(0).saturating_mul(1_000_000);
    i64::try_from(parted.saturating_add(lsn.0)).unwrap_or(i64::MAX)
}

/// The rows of a batch.
pub(super) fn encode(layouts: &[Layout], batch: &Batch, fork_ttl: u32) -> Encoded {
    let mut encoded = Encoded::default();
    for event in &batch.events {
        let timestamp = timestamp(&batch.branches, event.head.lsn);
        for rows in batch.tables_of(event) {
            let first = encoded.event_ids.len();
            for (place, layout) in layouts.iter().enumerate() {
                if layout.target.source != rows.table || !layout.target.ops.contains(&rows.head.op)
                {
                    continue;
                }
                let is_fork = rows.head.op == Op::Reverted && layout.target.expires;
                let ttl = if is_fork { i32::try_from(fork_ttl).unwrap_or(i32::MAX) } else { 0 };
                let stamp = Stamp { layout: place, timestamp, ttl };
                for (at, picked) in rows.picked.iter().enumerate() {
                    encoded.rows.extend(bind(layout, &rows, picked, stamp, first + at));
                }
            }
            let picked = rows.picked.into_iter();
            encoded.event_ids.extend(picked.map(|Picked { event_id, .. }| event_id));
        }
    }
    let key = |row: &BoundRow| (row.layout, row.partition_bytes);
    encoded.rows.sort_unstable_by(|a, b| {
        let order = key(a).cmp(&key(b)).then_with(|| a.cells.cmp(&b.cells));
        order.then_with(|| b.timestamp.cmp(&a.timestamp))
    });
    encoded.rows.dedup_by(|b, a| a.layout == b.layout && a.cells == b.cells);
    encoded
}

#[derive(Clone, Copy)]
struct Stamp {
    layout: usize,
    timestamp: i64,
    ttl: i32,
}

/// The rows that a row becomes in one table: one, or one for each of its addresses.
fn bind(
    layout: &Layout,
    rows: &TableRows,
    picked: &Picked,
    stamp: Stamp,
    row: usize,
) -> Vec<BoundRow> {
    let mut addresses: Vec<&[u8]> = Vec::new();
    for array in layout.addresses.iter().filter_map(|at| rows.columns.columns().get(*at)) {
        let array = array.as_fixed_size_binary();
        if array.is_valid(picked.at) && !addresses.contains(&array.value(picked.at)) {
            addresses.push(array.value(picked.at));
        }
    }
    let of = |address: &[u8]| {
        let mut cells = Vec::with_capacity(256);
        let mut partition_bytes = 0;
        for (at, column) in layout.columns.iter().enumerate() {
            let value = Value { rows, at: picked.at, address };
            value.write(column.from, column.kind, &mut cells);
            if at + 1 == layout.target.partition.len() {
                partition_bytes = cells.len();
            }
        }
        let Stamp { layout, timestamp, ttl } = stamp;
        BoundRow { layout, cells, partition_bytes, timestamp, ttl, row }
    };
    if layout.target.addresses.is_empty() {
        return vec![of(&[])];
    }
    addresses.into_iter().map(of).collect()
}

/// One row's values.
struct Value<'a> {
    rows: &'a TableRows,
    at: usize,
    address: &'a [u8],
}

impl Value<'_> {
    fn write(&self, from: From, kind: Kind, out: &mut Vec<u8>) {
        match from {
            From::Address => sized(out, |out| out.extend_from_slice(self.address)),
            From::Bucket(place) => {
                let bucket = self.number(place).div_euclid(BUCKET_BLOCKS);
                sized(out, |out| out.extend_from_slice(&bucket.to_be_bytes()));
            }
            From::Date(place) => {
                let day = self.micros(place).div_euclid(MICROS_PER_DAY) + DATE_ZERO;
                let day = u32::try_from(day).unwrap_or(u32::MAX);
                sized(out, |out| out.extend_from_slice(&day.to_be_bytes()));
            }
            From::Column(place) | From::ColumnOrEmpty(place) => match self.array(place) {
                Some((field, array)) if array.is_valid(self.at) => {
                    sized(out, |out| value(field, array, self.at, kind, out));
                }
                _ if matches!(from, From::ColumnOrEmpty(_)) => sized(out, |_| ()),
                _ => out.extend_from_slice(&(-2i32).to_be_bytes()),
            },
        }
    }

    fn array(&self, place: usize) -> Option<(&Field, &ArrayRef)> {
        let schema = self.rows.columns.schema_ref();
        Some((schema.fields().get(place)?.as_ref(), self.rows.columns.columns().get(place)?))
    }

    fn number(&self, place: usize) -> i64 {
        self.array(place).map_or(0, |(_, array)| array.as_primitive::<Int64Type>().value(self.at))
    }

    fn micros(&self, place: usize) -> i64 {
        self.array(place)
            .map_or(0, |(_, array)| array.as_primitive::<TimestampMicrosecondType>().value(self.at))
    }
}

/// Writes something with its length before it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn value(field: &Field, array: &ArrayRef, at: usize, kind: Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Bigint => {
            out.extend_from_slice(&array.as_primitive::<Int64Type>().value(at).to_be_bytes());
        }
        Kind::Blob => out.extend_from_slice(bytes(array, at)),
        Kind::Blobs => {
            let items = array.as_list::<i32>().value(at);
            out.extend_from_slice(&i32::try_from(items.len()).unwrap_or(0).to_be_bytes());
            for item in 0..items.len() {
                sized(out, |out| out.extend_from_slice(bytes(&items, item)));
            }
        }
        Kind::Boolean => out.push(u8::from(array.as_boolean().value(at))),
        Kind::Date => {}
        Kind::Json => JSON.with_borrow_mut(|text| {
            text.clear();
            json::write_value(field, array, at, text);
            out.extend_from_slice(text.as_bytes());
        }),
        Kind::Text => out.extend_from_slice(array.as_string::<i32>().value(at).as_bytes()),
        Kind::Timestamp => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
            out.extend_from_slice(&micros.div_euclid(1_000).to_be_bytes());
        }
        Kind::Varint => {
            // Two's complement, big-endian, as short as can be.
            let bytes = bytes(array, at);
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let digits = bytes.get(zeros..).unwrap_or_default();
            if digits.first().is_none_or(|first| *first >= 0x80) {
                out.push(0);
            }
            out.extend_from_slice(digits);
        }
    }
}

thread_local! {
    static JSON: RefCell<String> = const { RefCell::new(String::new()) };
}

fn bytes(array: &ArrayRef, at: usize) -> &[u8] {
    match array.as_fixed_size_binary_opt() {
        Some(array) => array.value(at),
        None => array.as_binary_opt::<i32>().map_or(&[], |array| array.value(at)),
    }
}

/// A row as text, for who wants to see what is written.
pub(super) fn explain(layout: &Layout, row: &BoundRow, keyspace: &str) -> serde_json::Value {
    let mut values = serde_json::Map::new();
    for (column, value) in layout.columns.iter().zip(row.values()) {
        let value = value.map_or(serde_json::Value::Null, |value| shown(column.kind, value));
        values.insert(column.name.clone(), value);
    }
    serde_json::json!({
        "statement": layout.insert(keyspace),
        "values": values,
        "timestamp": row.timestamp,
        "ttl": row.ttl,
    })
}

fn shown(kind: Kind, value: &[u8]) -> serde_json::Value {
    let number = || value.try_into().map(i64::from_be_bytes).unwrap_or_default();
    match kind {
        Kind::Bigint | Kind::Timestamp => number().into(),
        Kind::Boolean => value.iter().any(|byte| *byte != 0).into(),
        Kind::Json | Kind::Text => String::from_utf8_lossy(value).into(),
        Kind::Date => {
            let day = value.try_into().map(u32::from_be_bytes).unwrap_or_default();
            let day = i32::try_from(i64::from(day) - DATE_ZERO).unwrap_or(0);
            headwater_storage::model::date_text(day).into()
        }
        Kind::Varint => headwater_storage::model::U256::try_from_be_slice(
            value.strip_prefix(&[0]).filter(|rest| rest.len() == 32).unwrap_or(value),
        )
        .map_or(serde_json::Value::Null, |number| number.to_string().into()),
        Kind::Blob => hex(value).into(),
        Kind::Blobs => {
            let (_, items) = value.split_at_checked(4).unwrap_or_default();
            sizes(items).flatten().map(|item| serde_json::Value::from(hex(item))).collect()
        }
    }
}
