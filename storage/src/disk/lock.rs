//! One process owns a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::real::FILE_MODE;

const LOCK_FILE: &str = "LOCK";

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
        let path = folder.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut file = options.open(&path).map_err(io)?;
        lock(&file, folder)?;
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(FolderLock { _file: file })
    }

    /// Takes the lock of a folder that cannot be written, where it has one: nobody writes there
    /// but a process that has more rights.
    pub fn acquire_to_read(folder: &Path) -> Result<Option<FolderLock>, LockError> {
        let file = match File::open(folder.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Io { folder: folder.to_owned(), source }),
        };
        lock(&file, folder)?;
        Ok(Some(FolderLock { _file: file }))
    }
}

fn lock(file: &File, folder: &Path) -> Result<(), LockError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(folder.join(LOCK_FILE)).unwrap_or_default();
            let owner = owner.trim().to_owned();
            Err(LockError::InUse { folder: folder.to_owned(), owner })
        }
        Err(TryLockError::Error(source)) => {
            Err(LockError::Io { folder: folder.to_owned(), source })
        }
    }
}
