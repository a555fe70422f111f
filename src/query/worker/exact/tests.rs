//! Every aggregate and operation of integers against Python's, on values at the ends of the types.

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, UInt64Array};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;
use crate::query::QueryError;
use crate::query::worker::reason::running;

/// `t`: `k` numbers the rows, `g` groups them, the others are at the ends of their types.
fn table() -> RecordBatch {
    let large = 2 * 10_i128.pow(37);
    let decimals =
        [Some(large), Some(large), Some(large), Some(large), Some(-(10_i128.pow(37))), None];
    let decimals = Decimal128Array::from_iter(decimals).with_precision_and_scale(38, 0).unwrap();
    let columns: [(&str, ArrayRef); 6] = [
        ("k", Arc::new(Int64Array::from_iter_values(1..=6))),
        ("g", Arc::new(Int64Array::from_iter_values([1, 1, 2, 2, 3, 3]))),
        (
            "a",
            Arc::new(Int64Array::from_iter([
                Some(i64::MAX),
                Some(i64::MAX),
                Some(-5),
                None,
                Some(i64::MIN),
                Some(i64::MAX - 2),
            ])),
        ),
        (
            "u",
            Arc::new(UInt64Array::from_iter([
                Some(u64::MAX),
                Some(u64::MAX),
                Some(u64::MAX),
                None,
                Some(0),
                Some(1),
            ])),
        ),
        (
            "i",
            Arc::new(Int32Array::from_iter([
                Some(i32::MAX),
                Some(i32::MAX),
                Some(7),
                None,
                Some(i32::MIN),
                Some(1),
            ])),
        ),
        ("d", Arc::new(decimals)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The values of all rows, each as text.
async fn run(statement: &str) -> Result<String, QueryError> {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(2);
    let context = SessionContext::new_with_config(config);
    register(&context);
    context.register_batch("t", table()).unwrap();
    let failed = |error: DataFusionError| running(&error);
    let frame = context.sql(statement).await.map_err(failed)?;
    let mut values = Vec::new();
    for batch in frame.collect().await.map_err(failed)? {
        for row in 0..batch.num_rows() {
            for column in batch.columns() {
                let formatter = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
                values.push(formatter.value(row).to_string());
            }
        }
    }
    Ok(values.join("|"))
}

#[tokio::test]
async fn what_fits_is_exact() {
    for line in include_str!("matrix.txt").lines().filter(|line| !line.starts_with('#')) {
        let (statement, expected) = line.split_once(" =>").unwrap();
        let found = run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert_eq!(found, expected.trim(), "{statement}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_that_says_what_to_do() {
    for statement in [
        "select a + 1 from t where k = 1",
        "select 1 + a from t",
        "select a - 1 from t where k = 5",
        "select a - (-2) from t where k = 1",
        "select a * 2 from t",
        "select a * a from t",
        "select -a from t where k = 5",
        "select a / -1 from t where k = 5",
        "select i + i from t where k = 1",
        "select i * i from t",
        "select -i from t where k = 5",
        "select u + u from t",
        "select u * 2 * u from t",
        "select u - 18446744073709551615 - u from t where k = 1",
        "select row_number() over (order by k) - row_number() over (order by k desc) from t",
        "select 9223372036854775807 + 1",
        "select -9223372036854775808 - 1",
        "select 9223372036854775807 * 9223372036854775807",
        "select sum(a * 2) from t",
        "select sum(a + 1) from t",
        "select max(a) + 1 from t",
        "select count(*) + 9223372036854775807 from t",
        "select k from t where a + 1 > 0",
        "select k from t order by a * 2",
        "select count(*) from t group by a * 2",
        "select x.k from t x join t y on x.a + 1 = y.a",
        "select case when k > 0 then a * 2 else 0 end from t",
        "select (select max(s.a) + 1 from t s where s.g = t.g) from t",
        "select sum(a + 1) over (order by k) from t",
        "select a + 1 from (select a from t union all select a from t) v",
        "select d * d from t",
        "select d * 9 from t",
        "select d * 5 + d * 5 from t",
        "select sum(d * 4) from t",
        "select g, sum(d * 4) from t group by g, k / 10 having sum(d * 8) > 0",
        "select sum(d * 4) over (order by k) from t",
        "select sum(d * 4) over (order by k rows between 3 preceding and current row) from t",
        "select sum(distinct d * k) from t",
        "select sum(cast(a as decimal(38, 0)) * a) from t where k < 3",
        "select sum(s) from (select sum(d * 4) as s from t where k < 5 group by g, k)",
        "select sum(d * 10) from t",
        "select sum(w) from wide",
        "select sum(distinct w) from wide",
        "select sum(w) over (order by w rows between 9 preceding and current row) from wide",
        "select sum(x - y) from spans",
    ] {
        let statement = &with_wide(statement);
        let error = run(statement).await.expect_err(statement);
        assert_eq!(error.code(), "overflow", "{statement}: {error}");
        assert!(error.to_string().contains("cast"), "{statement}: {error}");
    }
}

/// Tables of values of which few fill their type.
fn with_wide(statement: &str) -> String {
    let nines = "9".repeat(76);
    format!(
        "with generated(n) as (values (1), (2), (3), (4), (5), (6), (7), (8)), \
         wide(w) as (select cast('{nines}' as decimal(76, 0)) - n from generated), \
         spans(x, y) as (select timestamp '2100-01-01T00:00:00', timestamp '1950-01-01T00:00:00' \
         from generated) {statement}"
    )
}

#[tokio::test]
async fn values_that_do_not_fit_the_type_of_a_cast_are_an_error() {
    for statement in [
        "select cast(a as int) from t",
        "select cast(u as bigint) from t",
        "select cast(9223372036854775808 as bigint)",
        "select cast(1e30 as bigint)",
        "select cast(sum(a) as bigint) from t where k < 3",
        "select cast(d as bigint) from t",
        "select cast('9223372036854775808' as bigint)",
    ] {
        let error = run(statement).await.expect_err(statement);
        assert!(error.is_callers_fault(), "{statement}: {error}");
    }
    assert_eq!(run("select try_cast(a as int) from t where k = 1").await.unwrap(), "");
}

#[tokio::test]
async fn columns_keep_their_names_and_types() {
    let context = SessionContext::new();
    register(&context);
    context.register_batch("t", table()).unwrap();
    let statement = "select sum(a), k * 2, -k, sum(d), avg(a), sum(cast(k as double)) from t \
                     group by k";
    let schema = context.sql(statement).await.unwrap().collect().await.unwrap()[0].schema();
    let columns: Vec<String> =
        schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    assert_eq!(
        columns,
        [
            "sum(t.a) Decimal128(38, 0)",
            "t.k * Int64(2) Int64",
            "(- t.k) Int64",
            "sum(t.d) Decimal128(38, 0)",
            "avg(t.a) Float64",
            "sum(t.k) Float64",
        ]
    );
}
