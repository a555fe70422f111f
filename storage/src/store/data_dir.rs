//! A data folder: its format, its owner, and where everything in it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Disk, DiskError, FolderLock, LockError, RealDisk};
use crate::ledger::{Ledger, LedgerError};
use crate::model::ChainName;

/// The format of the folder as a whole.
pub const FORMAT_VERSION: u32 = 2;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_PREFIX: &str = "headwater data folder, format ";

/// An owned data folder.
pub struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    _lock: Option<FolderLock>,
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process owns it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Written by a newer program.
    #[error(
        "the data folder {} has format {found}, this program knows up to {FORMAT_VERSION}: use a \
         newer headwater", path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not ours.
    #[error(
        "{} is not empty and no headwater data folder (its FORMAT file does not say so): use an \
         empty folder", path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing there.
    #[error("there is no data folder at {}: give the --data-dir of a node that ran",
        path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
}

impl DataDir {
    /// Opens or makes a data folder on the real disk and owns it until dropped.
    pub fn open(path: &Path) -> Result<DataDir, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        disk.create_folder(path)?;
        check_format(disk.as_ref(), path)?;
        let lock = FolderLock::acquire(path)?;
        DataDir::with_disk(path, disk, Some(lock))
    }

    /// Opens the folder of a stopped node.
    pub fn open_existing(path: &Path) -> Result<DataDir, OpenError> {
        if !path.join(FORMAT_FILE).exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        DataDir::open(path)
    }

    /// Opens a folder on any disk, which then belongs to the caller alone.
    pub fn with_disk(
        path: &Path,
        disk: Arc<dyn Disk>,
        lock: Option<FolderLock>,
    ) -> Result<DataDir, OpenError> {
        // Earlier formats are read as they are; what is written from here on is today's.
        if check_format(disk.as_ref(), path)? != Some(FORMAT_VERSION) {
            let text = format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n");
            disk::write_file(disk.as_ref(), &path.join(FORMAT_FILE), text.as_bytes())?;
        }
        let ledger = Arc::new(Ledger::open(&disk, path)?);
        Ok(DataDir { path: path.to_owned(), disk, ledger, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Its ledger.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Where a chain's log lies.
    pub fn wal_folder(&self, chain: &ChainName) -> PathBuf {
        self.path.join("chains").join(chain.as_str()).join("wal")
    }

    /// Where a chain's index lies.
    pub fn index_folder(&self, chain: &ChainName) -> PathBuf {
        self.path.join("chains").join(chain.as_str()).join("index")
    }
}

/// The folder's format; none for an empty folder.
fn check_format(disk: &dyn Disk, path: &Path) -> Result<Option<u32>, OpenError> {
    let bytes = match disk::read_file(disk, &path.join(FORMAT_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => {
            // A crash of the very first start leaves its lock and a temporary file.
            let names = disk.list(path)?;
            let ours = ["LOCK", "FORMAT.tmp"];
            if names.iter().all(|name| ours.contains(&name.as_str())) {
                return Ok(None);
            }
            return Err(OpenError::Foreign { path: path.to_owned() });
        }
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let version = text.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim().parse().ok());
    match version {
        Some(found) if found > FORMAT_VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found })
        }
        Some(found) => Ok(Some(found)),
        None => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}
