//! A backup's way back: every file is compared with the manifest while it is copied, and the new
//! folder knows where it comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Mode};
use crate::ledger::{self, Way};
use crate::store::{
    DataDir, FORMAT_FILE, RESTORING_FILE, SalvageReport, SalvageRequest, salvage_ledger,
};

use super::place::{Copying, read, sync_up};
use super::{BackupError, ChainCut, Manifest};

/// What is restored, and where.
pub struct RestoreRequest<'a> {
    /// The disk that both are on.
    pub disk: Arc<dyn Disk>,
    /// One backup.
    pub backup: &'a Path,
    /// An empty folder.
    pub to: &'a Path,
    /// Whether files that are damaged or missing are left out.
    pub keeps_going: bool,
    /// Now, seconds since 1970-01-01 UTC.
    pub at: u64,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RestoreReport {
    /// The folder.
    pub path: PathBuf,
    /// When the backup was made, seconds since 1970-01-01 UTC.
    pub made_at: u64,
    /// Where each chain was cut.
    pub chains: Vec<ChainCut>,
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
    /// Files that were damaged or missing in the backup.
    pub damaged: Vec<String>,
}

/// Compares the files of a backup with its manifest; gives those that differ or are missing.
pub fn check(disk: &dyn Disk, backup: &Path) -> Result<(Manifest, Vec<String>), BackupError> {
    let manifest = Manifest::load(disk, backup)?;
    let mut damaged = Vec::new();
    for file in &manifest.files {
        let found = read(disk, &backup.join(&file.path), None, &Copying::Not, &|| false);
        let is_same = match found {
            Ok(found) => (found.bytes, &found.sha256) == (file.bytes, &file.sha256),
            Err(_) => false,
        };
        if !is_same {
            damaged.push(file.path.clone());
        }
    }
    Ok((manifest, damaged))
}

/// Restores a backup; when this returns the folder is whole, durable and ready to be run.
pub fn restore(request: &RestoreRequest<'_>) -> Result<RestoreReport, BackupError> {
    let disk = request.disk.as_ref();
    let manifest = Manifest::load(disk, request.backup)?;
    let names = disk.list(request.to)?;
    let is_begun = names.iter().any(|name| name == RESTORING_FILE);
    if !is_begun && names.iter().any(|name| name != "LOCK") {
        return Err(BackupError::NotEmpty { path: request.to.to_owned() });
    }
    disk.create_folder(request.to)?;
    let mark = disk.open(&request.to.join(RESTORING_FILE), Mode::Create)?;
    mark.sync()?;
    disk.sync_folder(request.to)?;
    let mut damaged = Vec::new();
    for file in manifest.files.iter().filter(|file| file.path != FORMAT_FILE) {
        if !restore_file(request, file)? {
            damaged.push(file.path.clone());
        }
    }
    if !damaged.is_empty() && !request.keeps_going {
        let count = manifest.files.len();
        return Err(BackupError::DamagedBackup { files: damaged, count });
    }
    let from = format!("the backup {}", request.backup.display());
    let chains = manifest.chains.iter().map(|cut| (cut.name.clone(), cut.lsn)).collect();
    if damaged.iter().any(|path| path == ledger::FILE_NAME) {
        let salvaging = SalvageRequest {
            disk: request.disk.clone(),
            path: request.to,
            backup: None,
            is_dry_run: false,
        };
        salvage_ledger(&salvaging, &mut SalvageReport::default())?;
    }
    let data_dir = DataDir::found(request.to, request.disk.clone())?;
    data_dir.ledger().set_descent(Way::Restored, from, request.at, chains)?;
    data_dir.ledger().set_home("")?;
    drop(data_dir);
    // From here on it is a data folder.
    disk.remove(&request.to.join(RESTORING_FILE))?;
    // Where this fails a crash may bring the mark back, and the restore is begun again.
    drop(disk.sync_folder(request.to));
    Ok(RestoreReport {
        path: request.to.to_owned(),
        made_at: manifest.made_at,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        files: manifest.files.len(),
        chains: manifest.chains,
        damaged,
    })
}

/// Copies a file; whether it is the one that was backed up. A wrong one is left out, since the node
/// mends what is missing; of the log, whose records have checksums of their own, it is kept.
fn restore_file(
    request: &RestoreRequest<'_>,
    file: &super::BackupFile,
) -> Result<bool, BackupError> {
    let disk = request.disk.as_ref();
    let to = request.to.join(&file.path);
    if let Some(folder) = to.parent() {
        disk.create_folder(folder)?;
    }
    let from = request.backup.join(&file.path);
    let found = match read(disk, &from, None, &Copying::To(&to), &|| false) {
        Err(BackupError::Disk(error)) if error.path == from => None,
        found => Some(found?),
    };
    let is_same =
        found.is_some_and(|found| (found.bytes, &found.sha256) == (file.bytes, &file.sha256));
    if !is_same && !file.path.starts_with("chains/") {
        disk.remove(&to)?;
    }
    sync_up(disk, &to, request.to)?;
    Ok(is_same)
}
