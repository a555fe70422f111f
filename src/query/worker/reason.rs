//! `DataFusion`'s errors in our words.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is new there is a fault here")]

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use headwater_storage::tables::Table;

use crate::query::QueryError;
use crate::query::wire::About;

/// How alike a name is to one that was meant.
const NEAR: f64 = 0.8;

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

/// Without the engine's own marks, and with what was meant instead of a name that is not there.
fn plain(reason: &str) -> String {
    let end = reason.find("This issue was likely caused by a bug in DataFusion's code");
    let mut text = reason.get(..end.unwrap_or(reason.len())).unwrap_or(reason).trim().to_owned();
    for mark in ["Error during planning: ", "Execution error: ", "Schema error: ", "SQL error: "] {
        text = text.replace(mark, "");
    }
    text = text.replace("datafusion.public.", "");
    if let Some(inside) =
        text.strip_prefix("ParserError(\"").and_then(|text| text.strip_suffix("\")"))
    {
        text = inside.replace("\\\"", "\"");
    }
    if let Some(name) = text.strip_prefix("table '").and_then(|t| t.strip_suffix("' not found")) {
        return no_table(name);
    }
    text
}

fn no_table(name: &str) -> String {
    let own = ["blocks_all", "orphaned_blocks", "fees"];
    let names: Vec<&str> = Table::ALL
        .iter()
        .map(|table| table.name())
        .chain(About::ALL.iter().map(|table| table.name()))
        .chain(own)
        .collect();
    let near = names
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let near = near.filter(|near| strsim::jaro_winkler(near, name) > NEAR);
    let meant = near.map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
    format!("there is no table `{name}`.{meant} The tables are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_told_with_what_may_be_meant() {
        let text = plain("Error during planning: table 'datafusion.public.transaction' not found");
        assert!(text.starts_with("there is no table `transaction`. Did you mean `transactions`?"));
        let text = plain("Error during planning: table 'datafusion.public.zzz' not found");
        assert!(text.starts_with("there is no table `zzz`. The tables are blocks, "), "{text}");
        let text = plain("SQL error: ParserError(\"Expected: an expression, found: EOF\")");
        assert_eq!(text, "Expected: an expression, found: EOF");
        let bug = "This issue was likely caused by a bug in DataFusion's code. Please report.";
        assert_eq!(plain(&format!("Internal error: no.\n{bug}")), "Internal error: no.");
    }
}
