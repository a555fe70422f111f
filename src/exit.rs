//! Exit codes, documented in the README, and errors as one line of text.

use std::process::ExitCode;

pub use headwater_storage::store::error_text as chain_text;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line is wrong (clap uses the same).
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The data folder is in use, missing, foreign or of a newer format.
    DataDir = 4,
    /// The listen address is in use.
    Listen = 5,
    /// The disk failed in a way after which the process must end.
    Storage = 6,
    /// Some of what was asked for could not be done yet.
    Incomplete = 7,
    /// The SQL statement was refused or failed.
    Query = 8,
    /// No node answers.
    Unreachable = 9,
    /// The node answers, and is not ready.
    NotReady = 10,
    /// What is stored was checked, and something is wrong or missing.
    Damaged = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
