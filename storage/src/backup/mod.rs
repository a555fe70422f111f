//! Backups: a consistent copy of a data folder, made while its node runs, and its way back.

mod error;
mod make;
mod manifest;
mod place;
mod restore;

pub use error::BackupError;
pub use make::{BackupReport, BackupRequest, backup, may_back_up_to};
pub use manifest::{BackupFile, ChainCut, Manifest};
pub use restore::{RestoreReport, RestoreRequest, check, restore};

#[cfg(test)]
mod tests;
