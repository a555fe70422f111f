//! Rows of the tables as records of a sink.

pub mod json;
mod row;

pub use row::{Row, Source, rows_of_event};
