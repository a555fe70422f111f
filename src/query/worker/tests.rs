//! Columns of bytes and 256-bit numbers in statements, as people write them.

use std::sync::Arc;

use alloy_primitives::U256;
use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use headwater_exporters::encode::json;
use serde_json::{Value, json};

use super::reason::{planning, running};
use super::session::session;
use super::uint256::field;
use crate::query::QueryError;

const ETHER: u64 = 1_000_000_000_000_000_000;

/// Four rows: 9, 10, 1 ether and 2^256-1 wei, from addresses of the bytes 1 to 4.
pub(super) fn table() -> RecordBatch {
    let values = [U256::from(9), U256::from(10), U256::from(ETHER), U256::MAX];
    let bytes = |value: U256| Some(value.to_be_bytes::<32>());
    let values =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter().map(bytes), 32)
            .unwrap();
    let address = |byte: u8| Some([byte; 20]);
    let addresses =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size((1..=4).map(address), 20).unwrap();
    let hashes = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        (1..=4).map(|byte| Some([byte; 32])),
        32,
    )
    .unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(values),
        Arc::new(addresses),
        Arc::new(hashes),
        Arc::new(Int64Array::from(vec![9, 11, 12, 13])),
    ];
    let schema = Schema::new(vec![
        field("value"),
        Field::new("a", DataType::FixedSizeBinary(20), true).into(),
        Field::new("hash", DataType::FixedSizeBinary(32), true).into(),
        Arc::new(Field::new("n", DataType::Int64, true)),
    ]);
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn run(statement: &str) -> Result<Vec<Value>, QueryError> {
    let context = session(SessionConfig::new(), Arc::new(RuntimeEnv::default())).unwrap();
    context.register_batch("t", table()).unwrap();
    let frame = context.sql(statement).await.map_err(|error| planning(&error))?;
    let batches = frame.collect().await.map_err(|error| running(&error))?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            json::write_row(batch, row, &mut text);
            rows.push(serde_json::from_str(&(text + "}")).unwrap());
        }
    }
    Ok(rows)
}

/// The `n` of the rows that a condition leaves.
async fn left(condition: &str) -> Vec<i64> {
    let rows = run(&format!("select n from t where {condition} order by n")).await;
    let rows = rows.unwrap_or_else(|error| panic!("{condition}: {error}"));
    rows.iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn numbers_of_256_bits_compare_with_whatever_is_a_number() {
    for (condition, rows) in [
        ("value > 9", &[11, 12, 13][..]),
        ("9 < value", &[11, 12, 13]),
        ("value >= 1e18", &[12, 13]),
        ("value > X'0de0b6b3a763ffff'", &[12, 13]),
        ("value > X'0de0b6b3a7640000'", &[13]),
        ("value = '1000000000000000000'", &[12]),
        ("value = '0x0a'", &[11]),
        ("value <> 10", &[9, 12, 13]),
        ("value = n", &[9]),
        ("n = value", &[9]),
        ("value in (9, '10', X'0de0b6b3a7640000')", &[9, 11, 12]),
        ("value not in (9)", &[11, 12, 13]),
        ("value between 10 and 1000000000000000000", &[11, 12]),
        ("value < (select max(value) from t)", &[9, 11, 12]),
        ("value - 1 = 8", &[9]),
        ("value % 10 = 0", &[11, 12]),
        ("value / 2 = 5", &[11]),
        ("value is not null and value + 0 = value", &[9, 11, 12, 13]),
    ] {
        assert_eq!(left(condition).await, rows, "{condition}");
    }
    for wrong in ["value > -1", "value = 'abc'", "value = 1.5", "value > 123456789012345678901234"]
    {
        let error = run(&format!("select n from t where {wrong}")).await.unwrap_err();
        assert_eq!(error.code(), "invalid_sql", "{wrong}: {error}");
    }
    let error = run("select value + 1 as v from t").await.unwrap_err();
    assert_eq!(error.code(), "overflow", "{error}");
    let error = run("select value - 10 as v from t").await.unwrap_err();
    assert_eq!(error.code(), "overflow", "{error}");
}

#[tokio::test]
async fn numbers_of_256_bits_are_summed_and_shown_as_numbers() {
    let rows = run("select sum(value) as s, max(value) as h, min(value) as l, count(*) as c \
                    from t where n < 13")
    .await
    .unwrap();
    assert_eq!(
        rows,
        [json!({"s": "1000000000000000019", "h": "1000000000000000000", "l": "9",
                             "c": 3})]
    );
    let rows =
        run("select n % 2 as odd, sum(value) as s from t where n < 13 group by 1 order by 1")
            .await
            .unwrap();
    assert_eq!(rows[0]["s"], "1000000000000000000");
    assert_eq!(rows[1]["s"], "19");
    let rows = run("select sum(value) as s from t where n > 13").await.unwrap();
    assert_eq!(rows, [json!({"s": null})]);
    assert_eq!(run("select sum(value) as s from t").await.unwrap_err().code(), "overflow");
    let rows = run("select value * 2 as v, int256_text(value) as i from t where n = 11").await;
    assert_eq!(rows.unwrap(), [json!({"v": "20", "i": "10"})]);
    let rows = run("select int256_text(value) as i, int256_double(value) as d from t where n = 13");
    assert_eq!(rows.await.unwrap(), [json!({"i": "-1", "d": -1.0})]);
    assert_eq!(run("select sum(hash) as s from t").await.unwrap_err().code(), "invalid_sql");
}

#[tokio::test]
async fn sorting_by_the_text_of_a_number_sorts_by_the_number() {
    for statement in [
        "select n from t order by uint256_text(value) desc",
        "select n, uint256_text(value) as v from t order by v desc",
        "select n, uint256_text(value) as v from t order by 2 desc",
        "select n from (select n, uint256_text(value) as v from t) order by v desc",
        "select n from (select n, uint256_text(value) as v from t) as s order by s.v desc",
    ] {
        let rows = run(statement).await.unwrap();
        let rows: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
        assert_eq!(rows, [13, 12, 11, 9], "{statement}");
    }
}

#[tokio::test]
async fn hex_text_compares_with_bytes_and_a_wrong_length_is_an_error() {
    let first = "0x0101010101010101010101010101010101010101";
    assert_eq!(left(&format!("a = '{first}'")).await, [9]);
    assert_eq!(left(&format!("'{first}' = a")).await, [9]);
    assert_eq!(
        left(&format!("a in ('{first}', X'0202020202020202020202020202020202020202')")).await,
        [9, 11]
    );
    assert_eq!(
        left(&format!("a <> '{}'", first.to_uppercase().replace("0X", "0x"))).await,
        [11, 12, 13]
    );
    assert_eq!(left("a > X'0202020202020202020202020202020202020202'").await, [12, 13]);
    for wrong in [
        "a = '0x01'",
        "a = X'0101'",
        "a in (X'0101')",
        "hash = '0x0101010101010101010101010101010101010101'",
        "a = 'vitalik.eth'",
        "a = '0x010'",
        "a = hash",
        "a between X'01' and X'02'",
    ] {
        let error = run(&format!("select n from t where {wrong}")).await.unwrap_err();
        assert_eq!(error.code(), "invalid_sql", "{wrong}: {error}");
        let text = error.to_string();
        assert!(text.contains("bytes"), "{wrong}: {text}");
    }
}

#[tokio::test]
async fn times_need_no_seconds() {
    for condition in [
        "at > '2026-01-31 12:00'",
        "at > '2026-01-31T12:00Z'",
        "at > timestamp '2026-01-31 12:00'",
        "at between '2026-01-31 12:00' and '2026-01-31 12:02'",
        "at = '2026-01-31 12:01:00'",
    ] {
        let kind = "Timestamp(Microsecond, Some(\"UTC\"))";
        let table = format!("(select arrow_cast('2026-01-31T12:01:00Z', '{kind}') as at)");
        let rows = run(&format!("select 1 as one from {table} where {condition}")).await;
        assert_eq!(rows.unwrap(), [json!({"one": 1})], "{condition}");
    }
}
