//! One process owns a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A lock on a data folder; released when dropped or when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why a data folder cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by another headwater (process {owner}); stop it, ask it over \
         HTTP, or use another --data-dir", folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other's process id, as it wrote it.
        owner: String,
    },
    /// The lock file cannot be made.
    #[error("cannot lock the data folder {}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl FolderLock {
    /// Takes the lock of an existing folder, or says who has it.
    pub fn acquire(folder: &Path) -> Result<FolderLock, LockError> {
        let io = |source| LockError::Io { folder: folder.to_owned(), source };
        let path = folder.join("LOCK");
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = std::fs::read_to_string(&path).unwrap_or_default();
                let owner = owner.trim().to_owned();
                return Err(LockError::InUse { folder: folder.to_owned(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(FolderLock { _file: file })
    }
}
