//! Rows of a batch as entities in JSON (`OData`, Azure Table storage's types).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};

use crate::Batch;
use crate::encode::json;

use super::signature::base64;
use super::tables::Target;

/// Bytes of a binary property; more go into a second one, `input_2`.
const BINARY_BYTES_MAX: usize = 64 << 10;
/// UTF-16 units of a text property.
const TEXT_UNITS_MAX: usize = 32 << 10;

/// One row of a table of ours.
pub(super) struct Cells<'a> {
    pub(super) rows: &'a RecordBatch,
    pub(super) at: usize,
}

impl Cells<'_> {
    /// A number; 0 where there is none.
    pub(super) fn number(&self, column: &str) -> i64 {
        let array = self.rows.column_by_name(column);
        array.map_or(0, |array| array.as_primitive::<Int64Type>().value(self.at))
    }

    /// A hash or address as `0x` hex.
    pub(super) fn hex(&self, column: &str) -> Option<String> {
        let array = self.rows.column_by_name(column)?.as_fixed_size_binary_opt()?;
        let value = || format!("0x{}", const_hex::encode(array.value(self.at)));
        array.is_valid(self.at).then(value)
    }

    /// The properties that are not null, as JSON.
    fn write(&self, columns: Option<&[&str]>, out: &mut String) {
        let schema = self.rows.schema_ref();
        for (field, array) in schema.fields().iter().zip(self.rows.columns()) {
            let name = field.name().as_str();
            // The operation is what the table of canonical blocks is for.
            let is_wanted = columns.map_or(name != "op", |columns| columns.contains(&name));
            if is_wanted && array.is_valid(self.at) {
                write_property(field, array, self.at, out);
            }
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what has no type of its own is text")]
fn write_property(field: &Field, array: &arrow::array::ArrayRef, at: usize, out: &mut String) {
    let name = field.name().as_str();
    let _infallible = match field.data_type() {
        DataType::Int64 => {
            let value = array.as_primitive::<Int64Type>().value(at);
            write!(out, ",\"{name}@odata.type\":\"Edm.Int64\",\"{name}\":\"{value}\"")
        }
        DataType::Boolean => write!(out, ",\"{name}\":{}", array.as_boolean().value(at)),
        DataType::Timestamp(..) => {
            let mut value = String::new();
            json::write_value(field, array, at, &mut value);
            write!(out, ",\"{name}@odata.type\":\"Edm.DateTime\",\"{name}\":{value}")
        }
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(at);
            let none: &[u8] = &[];
            let pieces = bytes.chunks(BINARY_BYTES_MAX).chain(bytes.is_empty().then_some(none));
            for (place, piece) in pieces.enumerate() {
                let name = piece_name(name, place);
                let value = base64(piece);
                let _infallible =
                    write!(out, ",\"{name}@odata.type\":\"Edm.Binary\",\"{name}\":\"{value}\"");
            }
            Ok(())
        }
        DataType::FixedSizeBinary(_) => {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            json::write_value(field, array, at, out);
            Ok(())
        }
        DataType::Utf8 => {
            write_text(name, array.as_string::<i32>().value(at), out);
            Ok(())
        }
        _ => {
            let mut value = String::new();
            json::write_value(field, array, at, &mut value);
            write_text(name, &value, out);
            Ok(())
        }
    };
}

fn piece_name(name: &str, place: usize) -> String {
    if place == 0 { name.to_owned() } else { format!("{name}_{}", place + 1) }
}

fn write_text(name: &str, text: &str, out: &mut String) {
    for (place, piece) in text_pieces(text).into_iter().enumerate() {
        let _infallible = write!(out, ",\"{}\":", piece_name(name, place));
        json::write_text(piece, out);
    }
}

fn text_pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut units) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        if units + character.len_utf16() > TEXT_UNITS_MAX {
            pieces.extend(text.get(start..at));
            (start, units) = (at, 0);
        }
        units += character.len_utf16();
    }
    pieces.extend(text.get(start..));
    pieces
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) row_key: String,
    /// Its JSON.
    pub(super) json: String,
    /// The identity of the row that it comes from.
    pub(super) event_id: String,
}

/// Entities of one table and one partition, each once: of those with the same key the latest.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) entities: Vec<Entity>,
}

/// The entities of a batch.
pub(super) fn encode(targets: &[&'static Target], batch: &Batch) -> Vec<Partition> {
    let mut partitions: BTreeMap<(&'static str, String), BTreeMap<String, Entity>> =
        BTreeMap::new();
    for event in &batch.events {
        for rows in batch.tables_of(event) {
            let is_for = |target: &&&'static Target| {
                target.source == rows.table && target.ops.contains(&rows.head.op)
            };
            for target in targets.iter().filter(is_for) {
                for picked in &rows.picked {
                    let cells = Cells { rows: &rows.columns, at: picked.at };
                    for (partition, row_key) in (target.keys)(&cells) {
                        let json = entity(&partition, &row_key, &cells, target.columns);
                        let event_id = picked.event_id.clone();
                        let entity = Entity { row_key: row_key.clone(), json, event_id };
                        let place = partitions.entry((target.name, partition)).or_default();
                        place.insert(row_key, entity);
                    }
                }
            }
        }
    }
    let partition = |((table, key), entities): ((&'static str, String), BTreeMap<_, _>)| {
        Partition { table, key, entities: entities.into_values().collect() }
    };
    partitions.into_iter().map(partition).collect()
}

fn entity(partition: &str, row_key: &str, cells: &Cells<'_>, columns: Option<&[&str]>) -> String {
    let mut json = format!("{{\"PartitionKey\":\"{partition}\",\"RowKey\":\"{row_key}\"");
    cells.write(columns, &mut json);
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::super::tables::targets;
    use super::*;
    use crate::contract::sample_batch;
    use headwater_storage::model::Lsn;
    use headwater_storage::tables::Table;

    #[test]
    fn entities_of_a_batch_are_json_each_once_per_key() {
        let batch = sample_batch(&"test".parse().unwrap(), Lsn(1));
        let partitions = encode(&targets(&Table::ALL), &batch);
        let of = |table: &str| -> Vec<serde_json::Value> {
            let those = partitions.iter().filter(|partition| partition.table == table);
            let all = those.flat_map(|partition| &partition.entities);
            all.map(|entity| serde_json::from_str(&entity.json).unwrap()).collect()
        };
        let canonical = of("Canonical");
        assert_eq!(canonical.len(), 2, "one for each height: {canonical:?}");
        assert!(canonical.iter().all(|entity| entity["op"] == "applied"), "the latest stays");
        assert_eq!(canonical[0]["PartitionKey"], "1-0000000100");
        assert_eq!(canonical[0]["RowKey"], "0000000001000002");
        assert_eq!(canonical[0]["block_number"], "1000002");
        assert_eq!(canonical[0]["block_number@odata.type"], "Edm.Int64");
        assert_eq!(of("Blocks").len(), 3, "forks stand side by side");
        assert_eq!(of("Finalized").len(), 1);
        assert!(of("Blocks").iter().all(|entity| entity.get("op").is_none()));
        for entity in of("TransactionsByAddress") {
            let key = entity["RowKey"].as_str().unwrap();
            assert_eq!(entity["PartitionKey"], format!("1-{}", &key[2..4]), "{entity}");
            let address = &key[..42];
            let parties = ["from_address", "to_address", "receipt_contract_address"];
            assert!(parties.iter().any(|party| entity[party] == address), "{entity}");
        }
    }

    #[test]
    fn long_texts_are_split_between_characters() {
        let text = "a".repeat(TEXT_UNITS_MAX - 1) + "\u{1f600}" + "b";
        let pieces = text_pieces(&text);
        assert_eq!(pieces, [&"a".repeat(TEXT_UNITS_MAX - 1), "\u{1f600}b"]);
        assert_eq!(text_pieces(""), [""]);
        let mut out = String::new();
        write_text("extra", &text, &mut out);
        assert!(out.contains(",\"extra_2\":\"\u{1f600}b\""));
    }
}
