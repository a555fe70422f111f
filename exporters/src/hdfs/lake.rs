//! The protocol by which runs come into the lake: written down as begun, sent under names that
//! readers skip, renamed, written down as there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use headwater_storage::model::BlockRange;
use headwater_storage::parquet::PartName;
use headwater_storage::tables::Table;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::parts::{Due, HeldDate, HeldRun, PartFile, PartRun};
use crate::{ExportError, failpoint};

use super::failure::in_the_way;
use super::files::{Body, Files, Renamed};
use super::manifest::{
    FORMAT, Manifest, ManifestFile, ManifestRun, folder_of, name_of, version_of,
};

/// Temporary files of processes that are gone; readers skip names that begin with `_`.
const TEMPORARY: &str = "_headwater/tmp";
/// Temporary files of others that nobody touched for so long belong to nobody.
const ABANDONED: Duration = Duration::from_hours(24);
/// Signs of life are at least so far apart.
const SIGN_LEAST: Duration = Duration::from_secs(1);

/// How a lake is written.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Its address, for messages.
    pub(super) sink: String,
    /// Tells this process from others.
    pub(super) instance: String,
    /// Files that are sent at the same time.
    pub(super) uploads: usize,
    /// Files are read back before they get their names.
    pub(super) is_read_back: bool,
    /// What another process began is taken over after so long without a sign of it.
    pub(super) takeover: Duration,
}

/// The files of one lake.
pub(super) struct Lake {
    files: Box<dyn Files>,
    manner: Manner,
    /// What other processes had begun, by chain and date: in which version, and since when we know.
    waits: Mutex<HashMap<(u64, i32), (u64, Instant)>>,
    /// The date of which we have begun a run, by chain.
    begun: Mutex<Option<(u64, i32)>>,
    /// Tells temporary files from each other.
    serial: AtomicU64,
}

impl Lake {
    pub(super) fn new(files: Box<dyn Files>, manner: Manner) -> Lake {
        let (waits, begun) = (Mutex::default(), Mutex::default());
        Lake { files, manner, waits, begun, serial: AtomicU64::new(0) }
    }

    pub(super) fn files(&self) -> &dyn Files {
        self.files.as_ref()
    }

    fn away(&self, reason: String) -> ExportError {
        ExportError::Unavailable { sink: self.manner.sink.clone(), reason }
    }

    fn refused(&self, reason: String) -> ExportError {
        ExportError::Refused { sink: self.manner.sink.clone(), reason }
    }

    /// A name that is used once: a rename that arrives late must not publish what is being written.
    fn temporary(&self, name: &str) -> String {
        let serial = self.serial.fetch_add(1, Ordering::AcqRel);
        format!("{TEMPORARY}/{}/{serial}-{name}", self.manner.instance)
    }

    /// Makes the lake's folder, and proves that files can be written, renamed and removed. What
    /// processes left behind that are long gone is swept.
    pub(super) async fn check(&self, now_ms: u64) -> Result<(), ExportError> {
        self.files.folder("").await?;
        let (probe, renamed) = (self.temporary("probe"), self.temporary("probe.renamed"));
        self.files.put(&probe, Body::Bytes(b"?".to_vec())).await?;
        self.files.rename(&probe, &renamed).await?;
        self.files.remove(&renamed).await?;
        for entry in self.files.list(TEMPORARY).await? {
            let idle_ms = u128::from(now_ms.saturating_sub(entry.changed_ms));
            if entry.name != self.manner.instance && idle_ms > ABANDONED.as_millis() {
                tracing::info!(sink = self.manner.sink, name = entry.name, "swept old files");
                self.files.remove(&format!("{TEMPORARY}/{}", entry.name)).await?;
            }
        }
        Ok(())
    }

    /// What would be made.
    pub(super) async fn missing(&self) -> Result<Vec<String>, ExportError> {
        match self.files.look("").await? {
            None => Ok(vec![format!("the folder {}", self.manner.sink)]),
            Some(entry) if entry.is_folder => Ok(Vec::new()),
            Some(_) => Err(in_the_way(&self.manner.sink, &self.manner.sink)),
        }
    }

    /// Bytes of a file; `None` when it is not there.
    async fn size(&self, path: &str) -> Result<Option<u64>, ExportError> {
        Ok(self.files.look(path).await?.map(|entry| entry.bytes))
    }

    /// What is held of a date. What another process began is waited for, or taken over.
    pub(super) async fn held(&self, chain_id: u64, date: i32) -> Result<HeldDate, ExportError> {
        let manifest = self.load(chain_id, date).await?;
        let manifest = self.ours((chain_id, date), manifest).await?;
        let mut sizes = HashMap::new();
        for table in Table::ALL {
            let folder = format!("{}/chain_id={chain_id}/date={}", table.name(), manifest.date);
            for entry in self.files.list(&folder).await? {
                let path = format!("{folder}/{}", entry.name);
                let Some(name) = PartName::parse(&format!("parts/{path}")) else { continue };
                if !manifest.explains(&path, name.range) {
                    return Err(self.refused(format!(
                        "{path} is there, and the manifest does not know it: its blocks would be \
                         there twice. Move it away, or give this exporter another `url`"
                    )));
                }
                sizes.insert(path, entry.bytes);
            }
        }
        let is_there = |file: &ManifestFile| sizes.get(&file.path) == Some(&file.bytes);
        let mut held = HeldDate::default();
        held.due.extend(manifest.begun.map(|range| Due { range, is_begun: true }));
        for run in &manifest.runs {
            let (range, first_hash, last_hash) = (run.blocks, run.first_hash, run.last_hash);
            match run.files.iter().find(|file| !is_there(file)) {
                None => held.runs.push(HeldRun { range, first_hash, last_hash }),
                Some(file) => {
                    let (sink, path) = (&self.manner.sink, &file.path);
                    tracing::warn!(sink, path, "a file of the lake is gone or cut");
                    held.due.push(Due { range, is_begun: false });
                }
            }
        }
        Ok(held)
    }

    /// Lets others go on at once with what we began, and leaves nothing behind.
    pub(super) async fn release(&self) -> Result<(), ExportError> {
        self.files.remove(&format!("{TEMPORARY}/{}", self.manner.instance)).await?;
        let Some((chain_id, date)) = self.begun.lock().await.take() else { return Ok(()) };
        let manifest = self.load(chain_id, date).await?;
        if manifest.begun.is_some() && manifest.writer == self.manner.instance {
            self.commit_as(String::new(), date, manifest).await?;
        }
        Ok(())
    }

    /// Brings a run into the lake.
    pub(super) async fn export(&self, run: &PartRun) -> Result<(), ExportError> {
        *self.begun.lock().await = Some((run.chain_id, run.date));
        self.begin(run).await?;
        failpoint::reach("hdfs.begun");
        // A sign of life now and then, or another process takes the run over.
        let files = tokio::select! {
            sent = self.send(run) => sent?,
            failed = self.keep(run) => return Err(failed),
        };
        failpoint::reach("hdfs.renamed");
        let mut manifest = self.ours_begun(run.chain_id, run.date, run.range).await?;
        manifest.begun = None;
        manifest.runs.push(written_down(run, files));
        manifest.runs.sort_by_key(|run| run.blocks.first);
        self.commit(run.date, manifest).await?;
        failpoint::reach("hdfs.committed");
        self.begun.lock().await.take();
        Ok(())
    }

    /// Takes back what was begun.
    pub(super) async fn abandon(
        &self,
        chain_id: u64,
        date: i32,
        range: BlockRange,
    ) -> Result<(), ExportError> {
        let mut manifest = self.ours_begun(chain_id, date, range).await?;
        for table in Table::ALL {
            let path = PartName { table, chain_id, date, range }.path();
            self.files.remove(path.strip_prefix("parts/").unwrap_or(&path)).await?;
        }
        manifest.begun = None;
        self.commit(date, manifest).await.map(|_| ())
    }

    /// Writes down that a run's files come now.
    async fn begin(&self, run: &PartRun) -> Result<(), ExportError> {
        let mut manifest = self.load(run.chain_id, run.date).await?;
        if let Some(begun) = manifest.begun {
            if manifest.writer != self.manner.instance {
                return Err(self.away(format!("another process writes blocks {begun}")));
            }
            if begun != run.range {
                return Err(self.away(format!("blocks {begun} were begun, and go first")));
            }
            return Ok(());
        }
        let other = manifest.overlap(run.range).filter(|known| known.blocks != run.range);
        if let Some(other) = other {
            return Err(self.away(format!("another process has brought blocks {}", other.blocks)));
        }
        for file in manifest.runs.iter().filter(|r| r.blocks == run.range).flat_map(|r| &r.files) {
            // What was cut must not be taken for one that an earlier try has brought.
            if self.size(&file.path).await? != Some(file.bytes) {
                self.files.remove(&file.path).await?;
            }
        }
        manifest.runs.retain(|known| known.blocks != run.range);
        manifest.begun = Some(run.range);
        self.commit(run.date, manifest).await.map(|_| ())
    }

    async fn send(&self, run: &PartRun) -> Result<Vec<ManifestFile>, ExportError> {
        let sent: Vec<_> = run.files.iter().map(|file| self.place(file)).collect();
        stream::iter(sent).buffered(self.manner.uploads).try_collect().await
    }

    /// Says again and again that a run is being sent; ends only with an error.
    async fn keep(&self, run: &PartRun) -> ExportError {
        loop {
            tokio::time::sleep((self.manner.takeover / 4).max(SIGN_LEAST)).await;
            let begun = self.ours_begun(run.chain_id, run.date, run.range).await;
            let kept = match begun {
                Ok(manifest) => self.commit(run.date, manifest).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                return error;
            }
        }
    }

    /// One file, whole and compared, under its name. What is there under it came there whole by an
    /// earlier try of this very run, perhaps from other parts with the same rows, and stays: a file
    /// that can be seen never changes.
    async fn place(&self, file: &PartFile) -> Result<ManifestFile, ExportError> {
        if self.size(&file.name).await?.is_none() {
            let (folder, name) = file.name.rsplit_once('/').unwrap_or(("", &file.name));
            let temporary = self.temporary(name);
            self.put(&temporary, file).await?;
            failpoint::reach("hdfs.put");
            self.files.folder(folder).await?;
            if self.files.rename(&temporary, &file.name).await? == Renamed::Done {
                failpoint::reach("hdfs.placed");
                return Ok(noted(file, (file.bytes, file.crc32c)));
            }
            self.files.remove(&temporary).await?;
        }
        Ok(noted(file, self.files.checksum(&file.name).await?))
    }

    async fn put(&self, temporary: &str, file: &PartFile) -> Result<(), ExportError> {
        let wanted = (file.bytes, file.crc32c);
        if self.files.put(temporary, Body::File(file.place.clone())).await? != wanted {
            let place = file.place.display();
            return Err(self.away(format!("the local file {place} is not what it was")));
        }
        let there = self.size(temporary).await?;
        if there != Some(file.bytes) {
            return Err(self.away(format!("{temporary} has {there:?} of {} bytes", file.bytes)));
        }
        if self.manner.is_read_back && self.files.checksum(temporary).await? != wanted {
            return Err(self.away(format!("{temporary} reads back as something else")));
        }
        Ok(())
    }

    /// The newest version; what older ones left is removed.
    async fn load(&self, chain_id: u64, date: i32) -> Result<Manifest, ExportError> {
        let folder = folder_of(chain_id, date);
        let entries = self.files.list(&folder).await?;
        let versions = || entries.iter().filter_map(|entry| version_of(&entry.name));
        let Some(newest) = versions().max() else { return Ok(Manifest::empty(chain_id, date)) };
        // Somebody may be reading the one before.
        for old in versions().filter(|version| version + 1 < newest) {
            self.files.remove(&format!("{folder}/{}", name_of(old))).await?;
        }
        let path = format!("{folder}/{}", name_of(newest));
        let Some(bytes) = self.files.read(&path).await? else {
            return Err(self.away(format!("{path} was replaced while it was read")));
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| self.refused(format!("{path} is no manifest: {error}")))?;
        if manifest.format > FORMAT || manifest.chain_id != chain_id {
            let (format, chain_id) = (manifest.format, manifest.chain_id);
            return Err(self.refused(format!(
                "{path} has format {format} and chain id {chain_id}: this version knows format \
                 {FORMAT}; use a newer one, or another `url`"
            )));
        }
        Ok(Manifest { version: newest, ..manifest })
    }

    /// A manifest in which nobody else has begun anything.
    async fn ours(
        &self,
        (chain_id, date): (u64, i32),
        mut manifest: Manifest,
    ) -> Result<Manifest, ExportError> {
        let key = (chain_id, date);
        let mut waits = self.waits.lock().await;
        let Some(begun) = manifest.begun.filter(|_| manifest.writer != self.manner.instance) else {
            waits.remove(&key);
            return Ok(manifest);
        };
        let now = Instant::now();
        let since = match waits.get(&key) {
            Some((version, since)) if *version == manifest.version => *since,
            _ => {
                waits.insert(key, (manifest.version, now));
                now
            }
        };
        let (writer, takeover) = (manifest.writer.clone(), self.manner.takeover);
        // A process that ends well says so.
        if !writer.is_empty() && now.duration_since(since) < takeover {
            return Err(self.away(format!(
                "process {writer} began to write blocks {begun}: they are taken over when it does \
                 nothing for {} s",
                takeover.as_secs()
            )));
        }
        tracing::info!(sink = self.manner.sink, writer, %begun, "took over what it had begun");
        manifest = self.commit(date, manifest).await?;
        waits.remove(&key);
        if !writer.is_empty() {
            self.files.remove(&format!("{TEMPORARY}/{writer}")).await?;
        }
        Ok(manifest)
    }

    /// The manifest, if what we began still stands in it.
    async fn ours_begun(
        &self,
        chain_id: u64,
        date: i32,
        range: BlockRange,
    ) -> Result<Manifest, ExportError> {
        let manifest = self.load(chain_id, date).await?;
        if manifest.begun == Some(range) && manifest.writer == self.manner.instance {
            return Ok(manifest);
        }
        Err(self.away(format!("process {} took blocks {range} over", manifest.writer)))
    }

    async fn commit(&self, date: i32, before: Manifest) -> Result<Manifest, ExportError> {
        self.commit_as(self.manner.instance.clone(), date, before).await
    }

    /// Writes the next version, unless somebody else has.
    async fn commit_as(
        &self,
        writer: String,
        date: i32,
        before: Manifest,
    ) -> Result<Manifest, ExportError> {
        let chain_id = before.chain_id;
        let next = Manifest { version: before.version + 1, writer, ..before };
        let folder = folder_of(chain_id, date);
        let name = name_of(next.version);
        let path = format!("{folder}/{name}");
        let temporary = self.temporary(&format!("{chain_id}-{}-{name}", next.date));
        let mut text = serde_json::to_vec_pretty(&next).unwrap_or_default();
        text.push(b'\n');
        self.files.put(&temporary, Body::Bytes(text)).await?;
        self.files.folder(&folder).await?;
        let renamed = self.files.rename(&temporary, &path).await?;
        // A process that slept may have found a number free that others had used and removed.
        let entries = self.files.list(&folder).await?;
        let newest = entries.iter().filter_map(|entry| version_of(&entry.name)).max();
        if renamed == Renamed::Done && newest == Some(next.version) {
            return Ok(next);
        }
        if renamed == Renamed::Done {
            self.files.remove(&path).await?;
        }
        Err(self.away(format!("another process wrote the manifest {path}")))
    }
}

fn noted(file: &PartFile, (bytes, crc32c): (u64, u32)) -> ManifestFile {
    ManifestFile {
        table: file.table.name().to_owned(),
        path: file.name.clone(),
        rows: file.rows,
        bytes,
        crc32c: format!("{crc32c:08x}"),
    }
}

fn written_down(run: &PartRun, files: Vec<ManifestFile>) -> ManifestRun {
    ManifestRun {
        blocks: run.range,
        parent_hash: run.parent_hash,
        first_hash: run.first_hash,
        last_hash: run.last_hash,
        is_partial: run.is_partial,
        files,
    }
}
