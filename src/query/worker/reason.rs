//! `DataFusion`'s errors in our words.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::query::QueryError;

/// Of an error while a statement is planned.
pub(super) fn planning(error: &DataFusionError) -> QueryError {
    let reason = error.strip_backtrace();
    let is_write = ["DDL not supported", "DML not supported", "Statement not supported"];
    if is_write.iter().any(|text| reason.contains(text)) {
        return QueryError::ReadOnly;
    }
    match running(error) {
        QueryError::Failed { .. } => QueryError::Invalid { reason: plain(&reason) },
        known => known,
    }
}

/// Of an error while a statement runs.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is new there is a fault here")]
pub(super) fn running(error: &DataFusionError) -> QueryError {
    let reason = plain(&error.strip_backtrace());
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) if reason.contains("disk space") => {
            QueryError::Spill { reason }
        }
        DataFusionError::ResourcesExhausted(_) => QueryError::Memory { reason },
        DataFusionError::ArrowError(error, _)
            if matches!(**error, ArrowError::ArithmeticOverflow(_)) =>
        {
            QueryError::Overflow { reason: error.to_string() }
        }
        DataFusionError::Plan(_)
        | DataFusionError::SQL(..)
        | DataFusionError::SchemaError(..)
        | DataFusionError::ArrowError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Execution(_) => QueryError::Invalid { reason },
        _ => QueryError::Failed { reason },
    }
}

/// Without the advice to report a bug to somebody else.
fn plain(reason: &str) -> String {
    let end = reason.find("This issue was likely caused by a bug in DataFusion's code");
    reason.get(..end.unwrap_or(reason.len())).unwrap_or(reason).trim().to_owned()
}
