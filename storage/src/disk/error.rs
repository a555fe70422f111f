//! What went wrong with the disk: which call, on which path.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A call of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opening or making a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making content durable.
    Sync,
    /// Cutting or growing.
    Resize,
    /// Asking for the size.
    Size,
    /// Renaming.
    Rename,
    /// Giving a second name.
    Link,
    /// Removing.
    Remove,
    /// Listing a folder.
    List,
    /// Making a folder.
    CreateFolder,
    /// Making names durable.
    SyncFolder,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Resize => "resize",
            Operation::Size => "ask the size of",
            Operation::Rename => "rename",
            Operation::Link => "link",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::CreateFolder => "make the folder",
            Operation::SyncFolder => "sync the folder",
        })
    }
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct DiskError {
    /// Which call.
    pub operation: Operation,
    /// On what.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`.
    pub(super) fn of(operation: Operation, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError { operation, path: path.to_owned(), source }
    }

    /// For libraries that want an error of the system and show its text alone.
    pub fn into_io(self) -> io::Error {
        io::Error::new(self.source.kind(), format!("{self}: {}", self.source))
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the file is missing.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the disk refused to give what it has.
    pub fn is_unreadable(&self) -> bool {
        self.operation == Operation::Read
    }

    /// Whether a sync failed: the kernel may have dropped the pages, so it is never tried again.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self.operation, Operation::Sync | Operation::SyncFolder)
    }
}
