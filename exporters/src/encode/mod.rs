//! Rows of the tables as records of a sink.

pub mod json;
mod row;

pub use row::{Row, rows_of_event};
