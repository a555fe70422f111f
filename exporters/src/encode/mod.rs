//! Rows of the tables as records of a sink.

mod filter;
pub mod json;
mod row;

pub use filter::Filter;
pub use row::{Row, Source, rows_of_event};
