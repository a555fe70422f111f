//! The commands.

mod args;
mod ask;
mod backfill;
mod backup;
mod check;
mod costs;
mod demo;
mod devnet;
mod error;
mod exporters;
mod ordered;
mod output;
mod preview;
mod program;
mod providers;
mod repair;
mod restore;
mod run;
mod scorecard;
mod sql;
mod start;
mod status;
mod verify;

pub use args::Args;
pub use error::CommandError;
pub use program::{main, run};
