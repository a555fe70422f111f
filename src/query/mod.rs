//! SQL over everything that is captured: sealed parts and the unsealed tail as one table per name,
//! each chain cut at one record.

mod config;
mod engine;
mod error;
mod exact;
mod functions;
mod orphans;
mod output;
mod prune;
mod table;
mod tail;

pub use config::QueryConfig;
pub use engine::{Answer, Engine};
pub use error::QueryError;
pub use output::{Format, render};
