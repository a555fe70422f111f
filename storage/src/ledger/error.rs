//! What can be wrong with the ledger.

use std::path::PathBuf;

use crate::disk::DiskError;

/// Why the ledger cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Not a ledger, or damaged beyond its own repair.
    #[error("cannot open the ledger {}: restore the folder from a backup", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// redb's reason.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// A transaction could not be begun.
    #[error("the ledger cannot begin a transaction")]
    Begin(#[from] Box<redb::TransactionError>),
    /// A table could not be opened.
    #[error("the ledger cannot open a table")]
    Table(#[from] Box<redb::TableError>),
    /// A value could not be read or written.
    #[error("the ledger cannot be read or written")]
    Storage(#[from] Box<redb::StorageError>),
    /// A transaction could not be made durable.
    #[error("the ledger cannot make a change durable")]
    Commit(#[from] Box<redb::CommitError>),
    /// The mode of durability was refused.
    #[error("the ledger cannot sync at once")]
    Durability(#[from] Box<redb::SetDurabilityError>),
    /// A value of another version or shape.
    #[error("the ledger's entry `{key}` has version {version}, this program knows {known}")]
    Version {
        /// The entry.
        key: String,
        /// Its version.
        version: u8,
        /// Ours.
        known: u8,
    },
    /// A value that cannot be read.
    #[error("the ledger's entry `{key}` cannot be read")]
    Value {
        /// The entry.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

macro_rules! boxed {
    ($($error:ty),*) => {$(
        impl From<$error> for LedgerError {
            fn from(error: $error) -> LedgerError {
                Box::new(error).into()
            }
        }
    )*};
}
boxed!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);
