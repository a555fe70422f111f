//! Rows of the tables as records of a sink.

mod filter;
pub mod json;
mod row;

pub use filter::Filter;
pub use row::{Picked, Row, Source, TableRows, rows_of_event, sink_schema};
