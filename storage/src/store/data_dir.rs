//! A data folder: its format, its owner, and where everything in it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock;
use crate::disk::{self, Disk, DiskError, FolderLock, LockError, Overlay, RealDisk};
use crate::ledger::{self, Ledger, LedgerError, Way};
use crate::model::{ChainName, Lsn};

/// The format of the folder as a whole.
pub const FORMAT_VERSION: u32 = 3;

/// The file that says so.
pub const FORMAT_FILE: &str = "FORMAT";
/// The manifest of a backup.
pub const MANIFEST_FILE: &str = "MANIFEST.json";
/// Says that a folder is being restored: it is begun anew after a crash.
pub const RESTORING_FILE: &str = "RESTORING";
const FORMAT_PREFIX: &str = "headwater data folder, format ";

/// An owned data folder.
pub struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    is_read_only: bool,
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
    /// A backup is not run, so that it stays what it is.
    #[error(
        "{} is a backup: restore it with `headwater restore {} --data-dir DIR`; its parts can be \
         read as they are", path.display(), path.display()
    )]
    Backup {
        /// The folder.
        path: PathBuf,
    },
    /// A restore did not come to its end.
    #[error("a restore to {} was not finished: run `headwater restore` again", path.display())]
    Unfinished {
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

/// What the file of the format says today.
pub fn format_text() -> String {
    format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n")
}

impl DataDir {
    /// Opens or makes a data folder on the real disk and owns it until dropped.
    pub fn open(path: &Path) -> Result<DataDir, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        disk.create_folder(path)?;
        let format = check_format(disk.as_ref(), path)?;
        let lock = FolderLock::acquire(path)?;
        if format.is_none() {
            // Made by somebody, and empty: from now on it is ours.
            RealDisk::close_to_others(path)?;
        } else {
            // Cheap, and the engine itself would not notice damage.
            drop(Ledger::open_whole(&disk, path)?);
        }
        DataDir::with_disk(path, disk, Some(lock))
    }

    /// Opens the folder of a stopped node to be looked at. Where it cannot be written, what an
    /// opening writes stays in memory.
    pub fn open_to_read(path: &Path) -> Result<DataDir, OpenError> {
        if !path.is_dir() || RealDisk::is_writable(path) {
            return DataDir::open_existing(path);
        }
        let disk: Arc<dyn Disk> = Arc::new(Overlay::new(Arc::new(RealDisk)));
        if check_format(disk.as_ref(), path)?.is_none() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let lock = FolderLock::acquire_to_read(path)?;
        drop(Ledger::open_whole(&disk, path)?);
        Ok(DataDir { is_read_only: true, ..DataDir::with_disk(path, disk, lock)? })
    }

    /// Whether nothing that is written here lasts.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Opens the folder of a stopped node.
    pub fn open_existing(path: &Path) -> Result<DataDir, OpenError> {
        if !path.join(FORMAT_FILE).exists() && !path.join(RESTORING_FILE).exists() {
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
            disk::write_file(disk.as_ref(), &path.join(FORMAT_FILE), format_text().as_bytes())?;
        }
        let ledger = Arc::new(Ledger::open(&disk, path)?);
        Ok(DataDir { path: path.to_owned(), disk, ledger, is_read_only: false, _lock: lock })
    }

    /// Makes a data folder of files that were put there by a restore or a repair.
    pub fn found(path: &Path, disk: Arc<dyn Disk>) -> Result<DataDir, OpenError> {
        let ledger = Arc::new(Ledger::open(&disk, path)?);
        disk::write_file(disk.as_ref(), &path.join(FORMAT_FILE), format_text().as_bytes())?;
        Ok(DataDir { path: path.to_owned(), disk, ledger, is_read_only: false, _lock: None })
    }

    /// Notices that the folder is a copy of the one that was opened last, or was moved, and says
    /// so from then on; `chains` is where they stand. A folder that was restored or repaired says
    /// that.
    pub fn settle(&self, chains: BTreeMap<ChainName, Lsn>) -> Result<(), OpenError> {
        let here = RealDisk::identity(&self.path.join(ledger::FILE_NAME))?;
        match self.ledger.home()? {
            Some(home) if home == here => return Ok(()),
            Some(home) if !home.is_empty() => self.ledger.set_descent(
                Way::Copied,
                format!("a folder whose ledger was file {home}"),
                clock::unix_seconds(),
                chains,
            )?,
            Some(_) | None => {}
        }
        Ok(self.ledger.set_home(&here)?)
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
pub(super) fn check_format(disk: &dyn Disk, path: &Path) -> Result<Option<u32>, OpenError> {
    let names = disk.list(path)?;
    if names.iter().any(|name| name == MANIFEST_FILE) {
        return Err(OpenError::Backup { path: path.to_owned() });
    }
    if names.iter().any(|name| name == RESTORING_FILE) {
        return Err(OpenError::Unfinished { path: path.to_owned() });
    }
    let bytes = match disk::read_file(disk, &path.join(FORMAT_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => {
            // A crash of the very first start leaves its lock and a temporary file.
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
