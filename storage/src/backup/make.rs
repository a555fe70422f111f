//! Making a backup while the node runs: everything is cut at one record per chain, files that do
//! not change any more are shared, and what an earlier backup has is not copied again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Disk, Mode};
use crate::ledger::{self, Ledger};
use crate::model::{date_of, date_text};
use crate::store::{Chain, ChainState, DataDir, FORMAT_FILE, format_text};

use super::manifest::FORMAT;
use super::place::{Copying, Digests, link, read, sync_up};
use super::{BackupError, BackupFile, ChainCut, Manifest};

/// How the name of a backup ends while it is written.
const INCOMPLETE: &str = ".incomplete";

/// What is backed up, and how.
pub struct BackupRequest<'a> {
    /// The data folder.
    pub data_dir: &'a DataDir,
    /// Its chains, all of them.
    pub chains: &'a [Arc<Chain>],
    /// The folder of all backups; this one becomes a folder in it.
    pub to: &'a Path,
    /// Whether files may be shared with the data folder. Then a backup costs little, and a bad
    /// sector takes both.
    pub may_link: bool,
    /// Now, seconds since 1970-01-01 UTC.
    pub made_at: u64,
    /// Whether the node is about to stop.
    pub is_stopped: &'a dyn Fn() -> bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupReport {
    /// The backup's folder.
    pub path: PathBuf,
    /// Where each chain was cut.
    pub chains: Vec<ChainCut>,
    /// Files.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Of these: files that are shared with the data folder.
    pub linked_files: usize,
    /// Files that are shared with an earlier backup.
    pub reused_files: usize,
    /// Bytes that were copied.
    pub copied_bytes: u64,
}

/// Whether backups of a data folder can be kept in a folder.
pub fn may_back_up_to(data_dir: &Path, to: &Path) -> Result<(), BackupError> {
    if !to.is_absolute() {
        return Err(BackupError::Relative { to: to.to_owned() });
    }
    if to.starts_with(data_dir) {
        return Err(BackupError::Inside { to: to.to_owned() });
    }
    Ok(())
}

/// Makes a backup; when this returns it is whole and durable.
pub fn backup(request: &BackupRequest<'_>) -> Result<BackupReport, BackupError> {
    let disk = request.data_dir.disk().as_ref();
    may_back_up_to(request.data_dir.path(), request.to)?;
    let name = stamp(request.made_at);
    let path = request.to.join(&name);
    let names = disk.list(request.to)?;
    if names.contains(&name) {
        return Err(BackupError::Exists { path });
    }
    disk.create_folder(request.to)?;
    for name in names.iter().filter(|name| name.ends_with(INCOMPLETE)) {
        disk.remove_folder(&request.to.join(name))?;
    }
    let folder = request.to.join(format!("{name}{INCOMPLETE}"));
    let made = Maker::new(request, &names, &folder).run();
    let (manifest, mut report) = match made {
        Ok(made) => made,
        Err(error) => {
            // A disk that refuses this too leaves a folder that the next backup removes.
            drop(disk.remove_folder(&folder));
            return Err(error);
        }
    };
    manifest.save(disk, &folder)?;
    disk.rename(&folder, &path)?;
    disk.sync_folder(request.to)?;
    report.path = path;
    Ok(report)
}

/// `2026-11-25T140322Z`: names in order of time.
fn stamp(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    let date = date_text(date_of(seconds));
    format!("{date}T{hours:02}{minutes:02}{:02}Z", seconds % 60)
}

/// A backup that is being made.
struct Maker<'a> {
    request: &'a BackupRequest<'a>,
    disk: &'a dyn Disk,
    folder: &'a Path,
    /// The newest earlier backup.
    base: Option<(PathBuf, Manifest)>,
    files: Vec<BackupFile>,
    report: BackupReport,
}

impl<'a> Maker<'a> {
    fn new(request: &'a BackupRequest<'a>, names: &[String], folder: &'a Path) -> Maker<'a> {
        let disk = request.data_dir.disk().as_ref();
        let mut base = None;
        for name in names.iter().rev().filter(|name| !name.ends_with(INCOMPLETE)) {
            let path = request.to.join(name);
            // What is not ours, or damaged, is nothing to build on; nor is, for a backup that
            // shares nothing with the node, one that does.
            let manifest = Manifest::load(disk, &path).ok();
            if let Some(manifest) = manifest.filter(|m| request.may_link || !m.shares_files) {
                base = Some((path, manifest));
                break;
            }
        }
        let report = BackupReport {
            path: PathBuf::new(),
            chains: Vec::new(),
            files: 0,
            bytes: 0,
            linked_files: 0,
            reused_files: 0,
            copied_bytes: 0,
        };
        Maker { request, disk, folder, base, files: Vec::new(), report }
    }

    fn run(mut self) -> Result<(Manifest, BackupReport), BackupError> {
        let data_dir = self.request.data_dir;
        // Nothing is removed or replaced from here on; the node goes on writing.
        let _held: Vec<_> = self.request.chains.iter().map(|chain| chain.hold_files()).collect();
        self.disk.create_folder(self.folder)?;
        // The ledger first: what it knows of is in the log already when the log is cut.
        let path = self.folder.join(ledger::FILE_NAME);
        data_dir.ledger().copy_to(self.disk, &path)?;
        let copy = Ledger::open(data_dir.disk(), self.folder)?;
        for chain in self.request.chains {
            let head = chain.with_state(ChainState::latest);
            let (name, chain_id) = (chain.name().clone(), chain.chain_id());
            let lsn = chain.log().durable();
            self.report.chains.push(ChainCut { name, chain_id, lsn, head });
        }
        let epoch = copy.epoch()?;
        for (chain, lsn) in self.request.chains.iter().zip(self.cut_lsns()) {
            self.add_log(chain, lsn)?;
            for part in copy.parts(chain.name())? {
                self.add_part(chain, &part)?;
            }
        }
        drop(copy);
        self.note(ledger::FILE_NAME)?;
        disk::write_file(self.disk, &self.folder.join(FORMAT_FILE), format_text().as_bytes())?;
        self.note(FORMAT_FILE)?;
        self.finish(epoch)
    }

    fn cut_lsns(&self) -> Vec<crate::model::Lsn> {
        self.report.chains.iter().map(|cut| cut.lsn).collect()
    }

    fn add_log(&mut self, chain: &Chain, lsn: crate::model::Lsn) -> Result<(), BackupError> {
        let folder = self.request.data_dir.wal_folder(chain.name());
        let below = folder.strip_prefix(self.request.data_dir.path()).unwrap_or(&folder);
        let below = below.to_string_lossy().into_owned();
        for file in chain.log().files_upto(lsn)? {
            let path = format!("{below}/{}", file.name);
            match file.bytes {
                Some(bytes) => self.copy(&path, Some(bytes))?,
                None => self.add(&path, None)?,
            };
        }
        Ok(())
    }

    fn add_part(&mut self, chain: &Chain, part: &ledger::Part) -> Result<(), BackupError> {
        let found = self.add(&part.path, Some((part.file_bytes, part.crc32c)))?;
        if (found.bytes, found.crc32c) == (part.file_bytes, part.crc32c) {
            return Ok(());
        }
        chain.set_part_aside(part, "its checksum is not the one that it was sealed with")?;
        Err(BackupError::DamagedPart { path: part.path.clone() })
    }

    /// Takes a file that does not change any more, at the least cost. `known` are its length and
    /// checksum, where they are known without reading it.
    fn add(&mut self, path: &str, known: Option<(u64, u32)>) -> Result<Digests, BackupError> {
        let from = self.request.data_dir.path().join(path);
        let to = self.target(path)?;
        let earlier = self.earlier(path);
        let has_known = |file: &&BackupFile| known == Some((file.bytes, file.crc32c));
        let digests = match earlier.as_ref().filter(has_known) {
            Some(file) => digests_of(file),
            None => read(self.disk, &from, None, &Copying::Not, self.request.is_stopped)?,
        };
        if self.request.may_link && link(self.disk, &from, &to)? {
            self.report.linked_files += 1;
            self.push(path, &digests);
            return Ok(digests);
        }
        let base = self.base.as_ref().map(|(base, _)| base.join(path));
        let is_same = earlier.is_some_and(|file| file.sha256 == digests.sha256);
        if let Some(base) = base.filter(|_| is_same)
            && link(self.disk, &base, &to)?
        {
            self.report.reused_files += 1;
            self.push(path, &digests);
            return Ok(digests);
        }
        self.copy(path, None)
    }

    fn copy(&mut self, path: &str, bytes: Option<u64>) -> Result<Digests, BackupError> {
        let from = self.request.data_dir.path().join(path);
        let to = self.target(path)?;
        let copying = Copying::To(&to);
        let digests = read(self.disk, &from, bytes, &copying, self.request.is_stopped)?;
        self.report.copied_bytes += digests.bytes;
        self.push(path, &digests);
        Ok(digests)
    }

    /// A file that was made for the backup.
    fn note(&mut self, path: &str) -> Result<(), BackupError> {
        let file = self.folder.join(path);
        let digests = read(self.disk, &file, None, &Copying::Not, self.request.is_stopped)?;
        self.disk.open(&file, Mode::Write)?.sync()?;
        self.report.copied_bytes += digests.bytes;
        self.push(path, &digests);
        Ok(())
    }

    fn target(&self, path: &str) -> Result<PathBuf, BackupError> {
        let to = self.folder.join(path);
        if let Some(folder) = to.parent() {
            self.disk.create_folder(folder)?;
        }
        Ok(to)
    }

    fn earlier(&self, path: &str) -> Option<BackupFile> {
        self.base.as_ref().and_then(|(_, manifest)| manifest.file(path).cloned())
    }

    fn push(&mut self, path: &str, digests: &Digests) {
        let Digests { bytes, sha256, crc32c } = digests.clone();
        self.files.push(BackupFile { path: path.to_owned(), bytes, sha256, crc32c });
    }

    fn finish(mut self, epoch: u64) -> Result<(Manifest, BackupReport), BackupError> {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        let folders: BTreeSet<PathBuf> = self
            .files
            .iter()
            .filter_map(|file| self.folder.join(&file.path).parent().map(Path::to_owned))
            .collect();
        for folder in folders {
            sync_up(self.disk, &folder.join("file"), self.folder)?;
        }
        self.report.files = self.files.len();
        self.report.bytes = self.files.iter().map(|file| file.bytes).sum();
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: self.request.made_at,
            data_dir: self.request.data_dir.path().display().to_string(),
            epoch,
            shares_files: self.report.linked_files > 0,
            chains: self.report.chains.clone(),
            files: self.files,
        };
        Ok((manifest, self.report))
    }
}

fn digests_of(file: &BackupFile) -> Digests {
    let BackupFile { bytes, sha256, crc32c, .. } = file.clone();
    Digests { bytes, sha256, crc32c }
}
