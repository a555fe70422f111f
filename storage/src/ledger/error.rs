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
    #[error(
        "cannot open the ledger {}: make it again with `headwater repair`, or restore a backup",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// redb's reason.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// Pages that the engine cannot make sense of.
    #[error(
        "the pages of the ledger {} make no sense: make it again with `headwater repair`, or \
         restore a backup", path.display()
    )]
    Nonsense {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed, and it could not be opened again yet.
    #[error("the ledger waits for the disk")]
    Closed,
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
    /// A value that is not what was written.
    #[error(
        "the ledger's entry `{key}` is damaged: make the ledger again with `headwater repair`, or \
         restore a backup"
    )]
    Damaged {
        /// The entry.
        key: String,
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

impl LedgerError {
    /// Whether the disk is to blame: redb has to be opened again, and the call can be repeated.
    pub fn is_of_disk(&self) -> bool {
        let is_io = |error: &redb::StorageError| {
            matches!(error, redb::StorageError::Io(_) | redb::StorageError::PreviousIo)
        };
        match self {
            LedgerError::Disk(_) | LedgerError::Closed => true,
            LedgerError::Begin(error) => {
                matches!(error.as_ref(), redb::TransactionError::Storage(error) if is_io(error))
            }
            LedgerError::Table(error) => {
                matches!(error.as_ref(), redb::TableError::Storage(error) if is_io(error))
            }
            LedgerError::Storage(error) => is_io(error),
            LedgerError::Commit(error) => {
                matches!(error.as_ref(), redb::CommitError::Storage(error) if is_io(error))
            }
            LedgerError::Open { .. }
            | LedgerError::Nonsense { .. }
            | LedgerError::Durability(_)
            | LedgerError::Version { .. }
            | LedgerError::Damaged { .. }
            | LedgerError::Value { .. } => false,
        }
    }
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
