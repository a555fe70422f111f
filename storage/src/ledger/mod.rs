//! The ledger: small exact state that must never be lost, in one redb file.
//!
//! Cursors of exporters, what is sealed, what a restart has to replay, the use of providers' keys,
//! the instance's epoch.
//! Every change is one transaction, on disk when the call returns.

mod backend;
mod copy;
mod cursor;
mod database;
mod descent;
mod error;
mod facts;
mod part;
mod proofs;
mod usage;
mod value;

pub use cursor::Cursor;
pub use database::{FILE_NAME, Ledger};
pub use descent::{Descent, Way};
pub use error::LedgerError;
pub use facts::{Anchor, ChainFacts, Quarantine};
pub use part::Part;
pub use proofs::{ChainProofs, MissingProof};
pub use usage::{KeyUsage, Usage};
