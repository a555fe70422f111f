//! What a backup holds: `MANIFEST.json`, written last, so that a backup without one is none.

use std::path::{Component, Path};

use crate::disk::{self, Disk};
use crate::model::{BlockRef, ChainName, Lsn};
use crate::store::MANIFEST_FILE;

use super::BackupError;

/// The format that is written.
pub(super) const FORMAT: u32 = 1;

/// A backup's content.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// Format of the backup.
    pub format: u32,
    /// The program that made it.
    pub version: String,
    /// When, seconds since 1970-01-01 UTC.
    pub made_at: u64,
    /// The folder that it was made of.
    pub data_dir: String,
    /// Starts of that folder's node so far.
    pub epoch: u64,
    /// Whether files were shared with that folder: a bad sector takes both.
    pub shares_files: bool,
    /// Where each chain was cut.
    pub chains: Vec<ChainCut>,
    /// All files but this one, by path.
    pub files: Vec<BackupFile>,
}

/// Where a chain was cut.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainCut {
    /// The chain.
    pub name: ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The last record; it and all before it are in the backup, nothing later is.
    pub lsn: Lsn,
    /// The highest canonical block when the cut was made, or one of the next moments.
    pub head: Option<BlockRef>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupFile {
    /// Path below the backup and below a data folder, `/` between names.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
    /// CRC-32C, which parts have in the ledger too.
    pub crc32c: u32,
}

impl Manifest {
    /// Reads a backup's manifest.
    pub fn load(disk: &dyn Disk, backup: &Path) -> Result<Manifest, BackupError> {
        let bytes = match disk::read_file(disk, &backup.join(MANIFEST_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => {
                return Err(BackupError::None { path: backup.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|source| BackupError::Manifest { path: backup.to_owned(), source })?;
        if manifest.format > FORMAT {
            let (path, found) = (backup.to_owned(), manifest.format);
            return Err(BackupError::Newer { path, found, known: FORMAT });
        }
        let is_inside = |path: &str| {
            Path::new(path).components().all(|name| matches!(name, Component::Normal(_)))
        };
        if let Some(file) = manifest.files.iter().find(|file| !is_inside(&file.path)) {
            let (path, file) = (backup.to_owned(), file.path.clone());
            return Err(BackupError::Outside { path, file });
        }
        Ok(manifest)
    }

    pub(super) fn save(&self, disk: &dyn Disk, backup: &Path) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| BackupError::Manifest { path: backup.to_owned(), source })?;
        Ok(disk::write_file(disk, &backup.join(MANIFEST_FILE), &text)?)
    }

    /// What it says of a file.
    pub fn file(&self, path: &str) -> Option<&BackupFile> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(at)
    }
}
