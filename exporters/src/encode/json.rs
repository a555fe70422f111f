//! Arrow values as JSON, the same for every sink and for SQL answers.
//!
//! Hashes, addresses and bytes are `0x` hex; 256-bit numbers are decimal strings, because JSON
//! numbers end at 2^53, and decimals are where they have more digits than that; timestamps are
//! RFC 3339 in UTC; nulls are `null`.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_storage::model::U256;
use headwater_storage::tables::{TYPE_KEY, TYPE_UINT256};

/// Integers up to here are exact as JSON numbers everywhere.
const JSON_NUMBER_MAX: u64 = 1 << 53;

/// Writes one row as an object without its closing brace, so that a caller can add to it.
pub fn write_row(batch: &RecordBatch, row: usize, out: &mut String) {
    out.push('{');
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    for (position, (field, array)) in columns.enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_text(field.name(), out);
        out.push(':');
        write_value(field, array, row, out);
    }
}

/// Writes a JSON string.
pub fn write_text(text: &str, out: &mut String) {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    out.push_str("\"0x");
    out.push_str(&const_hex::encode(bytes));
    out.push('"');
}

/// Writes one value.
#[expect(clippy::wildcard_enum_match_arm, reason = "Arrow prints what JSON has no form for")]
pub fn write_value(field: &Field, array: &ArrayRef, row: usize, out: &mut String) {
    if array.is_null(row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Null => out.push_str("null"),
        DataType::Boolean => {
            out.push_str(if array.as_boolean().value(row) { "true" } else { "false" });
        }
        DataType::Int64 => {
            let _infallible = write!(out, "{}", array.as_primitive::<Int64Type>().value(row));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            out.push_str(&serde_json::Value::from(value).to_string());
        }
        DataType::Utf8 => write_text(array.as_string::<i32>().value(row), out),
        DataType::LargeUtf8 => write_text(array.as_string::<i64>().value(row), out),
        DataType::Utf8View => write_text(array.as_string_view().value(row), out),
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => write_bytes(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => write_bytes(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => {
            let bytes = array.as_fixed_size_binary().value(row);
            match U256::try_from_be_slice(bytes).filter(|_| is_uint256(field)) {
                Some(number) => {
                    let _infallible = write!(out, "\"{number}\"");
                }
                None => write_bytes(bytes, out),
            }
        }
        DataType::List(item) => write_list(item, &array.as_list::<i32>().value(row), out),
        DataType::LargeList(item) => write_list(item, &array.as_list::<i64>().value(row), out),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            for (position, (field, column)) in fields.iter().zip(columns).enumerate() {
                out.push(if position > 0 { ',' } else { '{' });
                write_text(field.name(), out);
                out.push(':');
                write_value(field, column, row, out);
            }
            out.push_str(if fields.is_empty() { "{}" } else { "}" });
        }
        other => write_other(other, array, row, out),
    }
}

fn is_uint256(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|kind| kind == TYPE_UINT256)
}

fn write_list(item: &Field, values: &ArrayRef, out: &mut String) {
    out.push('[');
    for at in 0..values.len() {
        if at > 0 {
            out.push(',');
        }
        write_value(item, values, at, out);
    }
    out.push(']');
}

/// Numbers stay numbers, all else is Arrow's own text.
fn write_other(kind: &DataType, array: &ArrayRef, row: usize, out: &mut String) {
    if let DataType::Timestamp(TimeUnit::Microsecond, Some(_)) = kind {
        let micros = array.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(row);
        return write_timestamp(micros, out);
    }
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array.as_ref(), &options)
        .map(|formatter| formatter.value(row).to_string());
    let text = text.unwrap_or_default();
    if kind.is_decimal() && !is_exact(&text) {
        write_text(&text, out);
    } else if kind.is_numeric() && serde_json::from_str::<serde_json::Number>(&text).is_ok() {
        out.push_str(&text);
    } else {
        write_text(&text, out);
    }
}

/// Whether all readers of JSON read a decimal's digits as they are.
fn is_exact(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u64>().is_ok_and(|number| number <= JSON_NUMBER_MAX)
}

/// `2026-11-22T10:00:00Z`, with a fraction only where there is one.
fn write_timestamp(micros: i64, out: &mut String) {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let date = headwater_storage::model::date_text(i32::try_from(days).unwrap_or(i32::MAX));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let _infallible = write!(out, "\"{date}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let _infallible = write!(out, ".{fraction:06}");
    }
    out.push_str("Z\"");
}
