//! Why a backup cannot be made or restored.

use std::path::PathBuf;

use crate::disk::{DiskError, LockError};
use crate::ledger::LedgerError;
use crate::store::{MANIFEST_FILE, OpenError, SalvageError, StoreError};
use crate::wal;

/// Why a backup cannot be made or restored. Nothing of one that failed counts.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A chain's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The restored folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger of the backup was damaged, and could not be made again.
    #[error(transparent)]
    Salvage(#[from] SalvageError),
    /// Somebody else works in the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A backup below what it backs up would contain itself.
    #[error("{} lies in the data folder: give a folder outside of it", to.display())]
    Inside {
        /// The folder.
        to: PathBuf,
    },
    /// A relative path means nothing to another process.
    #[error("`{}` is no absolute path: the node writes the backup, so give the whole path",
        to.display())]
    Relative {
        /// The folder.
        to: PathBuf,
    },
    /// Nobody can write there, or it is no folder.
    #[error("no backup can be written to {}: give a folder that the node may make or write in",
        to.display())]
    Unusable {
        /// The folder.
        to: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// There is one of this second.
    #[error("the backup {} exists already: try again in a second", path.display())]
    Exists {
        /// The backup.
        path: PathBuf,
    },
    /// A part is not what was sealed; it was set aside, and is fetched again.
    #[error(
        "the part {path} is damaged; it is set aside and fetched again: make the backup again when \
         `headwater status` says that it is mended"
    )]
    DamagedPart {
        /// The part.
        path: String,
    },
    /// The node stops.
    #[error("the node stops: the backup was not finished")]
    Stopped,
    /// No backup there.
    #[error(
        "{} is no backup (it has no {MANIFEST_FILE}): give the folder of one backup, for example \
         the newest below the folder that `headwater backup` was given", path.display()
    )]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// A manifest that cannot be read.
    #[error("the manifest of the backup {} cannot be read: use another backup", path.display())]
    Manifest {
        /// The backup.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer program.
    #[error("the backup {} has format {found}, this program knows {known}: use a newer headwater",
        path.display())]
    Newer {
        /// The backup.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A manifest that names a file elsewhere would write there.
    #[error("the manifest of the backup {} names `{file}`, which is not in it: use another backup",
        path.display())]
    Outside {
        /// The backup.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// Files of a backup that are not what its manifest says.
    #[error(
        "{} of {count} files of the backup are damaged or missing, the first is {}: use another \
         backup, or restore the rest with --keep-going; what is missing is fetched again",
        files.len(), files.first().map_or("", String::as_str)
    )]
    DamagedBackup {
        /// Those files.
        files: Vec<String>,
        /// Files of the backup.
        count: usize,
    },
    /// Something is there already.
    #[error("{} is not empty: restore to an empty folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}
