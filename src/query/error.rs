//! Why a statement is refused or ended.

use serde::{Deserialize, Serialize};

/// Why a statement is refused or ended.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum QueryError {
    /// Not SQL, or names that do not exist.
    #[error("the statement is not valid: {reason}")]
    Invalid {
        /// In `DataFusion`'s words.
        reason: String,
    },
    /// Too large to plan.
    #[error("the statement is too complex: it {what}; {fix}")]
    Complex {
        /// What it has too much of, and the bound.
        what: String,
        /// What to write instead.
        fix: String,
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
    /// Nobody read the answer.
    #[error("the answer was read too slowly: less than {per_second} bytes a second")]
    Slow {
        /// Bytes a second that are due.
        per_second: u64,
    },
    /// Too much memory.
    #[error("the statement needs more memory than query.memory_bytes allows: {reason}")]
    Memory {
        /// What asked for it.
        reason: String,
    },
    /// Too much disk.
    #[error("the statement spills more to disk than query.spill_bytes allows: {reason}")]
    Spill {
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
            QueryError::Complex { .. } => "too_complex",
            QueryError::ReadOnly => "read_only",
            QueryError::Rows { .. } => "too_many_rows",
            QueryError::Timeout { .. } => "timeout",
            QueryError::Slow { .. } => "slow_reader",
            QueryError::Memory { .. } => "out_of_memory",
            QueryError::Spill { .. } => "out_of_spill",
            QueryError::Overflow { .. } => "overflow",
            QueryError::Failed { .. } => "failed",
        }
    }

    /// Whether the statement is to blame.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, QueryError::Failed { .. })
    }
}
