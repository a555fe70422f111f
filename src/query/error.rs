//! Why a statement is refused or ended.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// Why a statement is refused or ended.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Not SQL, or names that do not exist.
    #[error("the statement is not valid: {reason}")]
    Invalid {
        /// In `DataFusion`'s words.
        reason: String,
    },
    /// Not a read.
    #[error(
        "only reading statements are allowed (SELECT, EXPLAIN, SHOW, DESCRIBE): the data are \
         written by capture alone"
    )]
    ReadOnly,
    /// Too many rows.
    #[error("the answer has more than {rows_max} rows: add a LIMIT, or raise query.rows_max")]
    Rows {
        /// The bound.
        rows_max: usize,
    },
    /// Too long.
    #[error("the statement ran longer than {seconds} s: narrow it, or raise query.timeout_secs")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// Too much memory.
    #[error("the statement needs more memory than query.memory_bytes allows: {reason}")]
    Memory {
        /// In `DataFusion`'s words.
        reason: String,
    },
    /// A number that has no room in its type.
    #[error(
        "{reason}: numbers here are exact or an error; cast an operand to a type with more digits \
         before, such as cast(gas as decimal(38, 0)), or decimal(76, 0)"
    )]
    Overflow {
        /// In `DataFusion`'s words.
        reason: String,
    },
    /// Something else went wrong while it ran.
    #[error("the statement failed: {reason}")]
    Failed {
        /// In `DataFusion`'s words.
        reason: String,
    },
}

impl QueryError {
    /// The stable word in answers.
    pub fn code(&self) -> &'static str {
        match self {
            QueryError::Invalid { .. } => "invalid_sql",
            QueryError::ReadOnly => "read_only",
            QueryError::Rows { .. } => "too_many_rows",
            QueryError::Timeout { .. } => "timeout",
            QueryError::Memory { .. } => "out_of_memory",
            QueryError::Overflow { .. } => "overflow",
            QueryError::Failed { .. } => "failed",
        }
    }

    /// Whether the statement is to blame.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, QueryError::Failed { .. })
    }

    pub(super) fn planning(error: &DataFusionError) -> QueryError {
        let reason = error.strip_backtrace();
        let is_write = ["DDL not supported", "DML not supported", "Statement not supported"];
        if is_write.iter().any(|text| reason.contains(text)) {
            return QueryError::ReadOnly;
        }
        QueryError::Invalid { reason }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is new there is a fault here")]
    pub(super) fn running(error: &DataFusionError) -> QueryError {
        let reason = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => QueryError::Memory { reason },
            DataFusionError::ArrowError(error, _)
                if matches!(**error, ArrowError::ArithmeticOverflow(_)) =>
            {
                QueryError::Overflow { reason: error.to_string() }
            }
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::ArrowError(..)
            | DataFusionError::Execution(_) => QueryError::Invalid { reason },
            _ => QueryError::Failed { reason },
        }
    }
}
