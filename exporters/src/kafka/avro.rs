//! Rows as Avro in Confluent framing (a zero byte, the schema's id as 4 bytes, big-endian): a file
//! of its own, as JSON needs none of it.
//!
//! Hashes, addresses and 256-bit numbers are `fixed` of their size, big-endian; bytes are `bytes`;
//! timestamps `timestamp-micros`; numbers `long`. What may be missing is a union with null first
//! and null as default, so that a column that is added later is a compatible change.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_avro::schema::{
    AVRO_NAME_METADATA_KEY, AVRO_NAMESPACE_METADATA_KEY, AvroSchema, FingerprintStrategy,
    SCHEMA_METADATA_KEY,
};
use arrow_avro::writer::format::AvroSoeFormat;
use arrow_avro::writer::{Encoder, WriterBuilder};
use headwater_storage::tables::Table;
use serde_json::{Value, json};

use crate::encode::sink_schema;

const NAMESPACE: &str = "headwater";

/// Why rows cannot be Avro: a column of a kind that has none.
#[derive(Debug, thiserror::Error)]
#[error("the table {table} cannot be written as Avro: {reason}")]
pub(super) struct AvroError {
    table: &'static str,
    reason: String,
}

fn error(table: Table) -> impl Fn(String) -> AvroError {
    move |reason| AvroError { table: table.name(), reason }
}

/// The Avro schema of a table's records, as JSON.
pub(super) fn schema(table: Table) -> Result<String, AvroError> {
    let names = HashMap::from([
        (AVRO_NAME_METADATA_KEY.to_owned(), table.name().to_owned()),
        (AVRO_NAMESPACE_METADATA_KEY.to_owned(), NAMESPACE.to_owned()),
    ]);
    let columns = Schema::new_with_metadata(sink_schema(table).fields().clone(), names);
    let plain = AvroSchema::try_from(&columns).map_err(|e| error(table)(e.to_string()))?;
    let mut schema: Value =
        serde_json::from_str(&plain.json_string).map_err(|e| error(table)(e.to_string()))?;
    for field in schema.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        let is_nullable = field.pointer("/type/0") == Some(&json!("null"));
        if let (true, Some(field)) = (is_nullable, field.as_object_mut()) {
            field.insert("default".to_owned(), Value::Null);
        }
    }
    Ok(schema.to_string())
}

/// The Avro schema of keys.
pub(super) const KEY_SCHEMA: &str = "{\"type\":\"string\"}";

/// A text under a schema's id in the registry.
pub(super) fn key(id: u32, text: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    // A long in zigzag, seven bits a byte, the lowest first.
    let mut length = (text.len() as u64) << 1;
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(text.as_bytes());
    bytes
}

/// Writes rows with these columns under a schema's id in the registry.
pub(super) fn encoder(
    table: Table,
    columns: &SchemaRef,
    schema: String,
    id: u32,
) -> Result<Encoder, AvroError> {
    let written = HashMap::from([(SCHEMA_METADATA_KEY.to_owned(), schema)]);
    let columns = Schema::new_with_metadata(columns.fields().clone(), written);
    WriterBuilder::new(columns)
        .with_fingerprint_strategy(FingerprintStrategy::Id(id))
        .build_encoder::<AvroSoeFormat>()
        .map_err(|e| error(table)(e.to_string()))
}

/// All rows, in order.
pub(super) fn encode(
    encoder: &mut Encoder,
    table: Table,
    rows: &RecordBatch,
) -> Result<Vec<Vec<u8>>, AvroError> {
    let failed = error(table);
    encoder.encode(rows).map_err(|e| failed(e.to_string()))?;
    let encoded = encoder.flush();
    Ok(encoded.iter().map(|row| row.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::sample_batch;
    use headwater_storage::model::Lsn;

    #[test]
    fn keys_are_strings_under_an_id() {
        assert_eq!(key(7, "ab"), [0, 0, 0, 0, 7, 4, b'a', b'b']);
        let long = key(1 << 24, &"x".repeat(66));
        assert_eq!((&long[..7], long.len()), ([0, 1, 0, 0, 0, 0x84, 0x01].as_slice(), 7 + 66));
    }

    /// Who reads with an older schema skips the new columns, and who reads older records with the
    /// new one finds the default: compatible in both directions.
    #[test]
    fn columns_that_were_added_may_be_missing() {
        for (table, column) in [
            (Table::Blocks, "block_access_list_hash"),
            (Table::Blocks, "slot_number"),
            (Table::Transactions, "in_root"),
            (Table::Logs, "in_root"),
        ] {
            let schema: Value = serde_json::from_str(&schema(table).unwrap()).unwrap();
            let fields = schema["fields"].as_array().unwrap();
            let field = fields.iter().find(|field| field["name"] == column).unwrap();
            assert_eq!(field["type"][0], "null", "{table:?}.{column}");
            assert_eq!(field.get("default"), Some(&Value::Null), "{table:?}.{column}");
        }
    }

    #[test]
    fn every_table_has_a_schema_and_rows_under_its_id() {
        let batch = sample_batch(&"test".parse().unwrap(), Lsn(1));
        for table in Table::ALL {
            let schema: Value = serde_json::from_str(&schema(table).unwrap()).unwrap();
            assert_eq!(
                (&schema["name"], &schema["namespace"]),
                (&json!(table.name()), &json!("headwater"))
            );
            let fields = schema["fields"].as_array().unwrap();
            let named = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
            assert_eq!(named("lsn")["type"], "long", "{table:?}");
            let nullable = fields.iter().filter(|field| field["type"][0] == "null");
            assert!(nullable.clone().all(|field| field.get("default") == Some(&Value::Null)));
        }
        let mut seen = 0;
        for event in &batch.events {
            for rows in batch.tables_of(event) {
                let (table, columns) = (rows.table, sink_schema(rows.table));
                let mut encoder = encoder(table, &columns, schema(table).unwrap(), 7).unwrap();
                let encoded = encode(&mut encoder, table, &rows.columns).unwrap();
                assert_eq!(encoded.len(), rows.columns.num_rows());
                assert!(encoded.iter().all(|row| row.starts_with(&[0, 0, 0, 0, 7])));
                seen += encoded.len();
            }
        }
        assert_eq!(seen, batch.rows().count());
    }
}
