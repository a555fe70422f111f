//! Keeps rows in memory, or durably in a file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use headwater_storage::model::ChainName;

use crate::encode::Row;
use crate::{Batch, BuildError, ExportError, Exporter, Held};

use super::MemoryConfig;

/// Rows that are kept in memory; the oldest go first (INV-10).
const ROWS_MAX: usize = 100_000;

/// A row as the sink has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Received {
    /// The table's name.
    pub table: String,
    /// The row's identity.
    pub event_id: String,
    /// The primary key.
    pub key: String,
    /// `applied`, `reverted` or `finalized`.
    pub op: String,
    /// The record.
    pub lsn: u64,
    /// The columns.
    pub row: serde_json::Value,
}

/// The reference sink.
pub struct Memory {
    path: Option<PathBuf>,
    row_bytes_max: usize,
    held: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    rows: Vec<Received>,
    file: Option<File>,
}

impl Memory {
    /// Opens the sink; a last line that a crash cut is dropped.
    pub fn open(name: &str, config: MemoryConfig) -> Result<Memory, BuildError> {
        let mut held = Kept::default();
        if let Some(path) = &config.path {
            let file = open_file(path).map_err(|error| BuildError::Config {
                name: name.to_owned(),
                reason: format!("cannot open `path` {}: {error}", path.display()),
            })?;
            held.file = Some(file);
        }
        let row_bytes_max = config.row_bytes_max.unwrap_or(usize::MAX);
        Ok(Memory { path: config.path, row_bytes_max, held: Mutex::new(held) })
    }

    /// The rows that are held in memory.
    pub fn received(&self) -> Vec<Received> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).rows.clone()
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }

    fn keep(&self, batch: &Batch) -> Result<(), std::io::Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { rows, file } = &mut *held;
        let received = batch.rows().map(received);
        let Some(file) = file else {
            rows.extend(received);
            let excess = rows.len().saturating_sub(ROWS_MAX);
            rows.drain(..excess);
            return Ok(());
        };
        let mut lines = Vec::new();
        for row in received {
            serde_json::to_writer(&mut lines, &row)?;
            lines.push(b'\n');
        }
        // Two nodes may have the same file: a batch of one is whole before the other writes.
        file.lock()?;
        let written = append(file, &lines);
        file.unlock()?;
        written
    }
}

fn append(file: &mut File, lines: &[u8]) -> std::io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // The batch comes again: no half of it stays.
        file.set_len(end)?;
    }
    written
}

fn received(row: Row) -> Received {
    Received {
        table: row.table.name().to_owned(),
        event_id: row.event_id,
        key: row.key,
        op: row.op.as_str().to_owned(),
        lsn: row.lsn.0,
        row: serde_json::from_str(&row.json).unwrap_or_default(),
    }
}

fn open_file(path: &PathBuf) -> std::io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(whole as u64)?;
    file.unlock()?;
    Ok(file)
}

#[async_trait]
impl Exporter for Memory {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        Ok(Vec::new())
    }

    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value> {
        batch.rows().map(|row| serde_json::to_value(received(row)).unwrap_or_default()).collect()
    }

    async fn check(&self) -> Result<(), ExportError> {
        Ok(())
    }

    async fn resume(&self, _: &ChainName) -> Result<Held, ExportError> {
        Ok(Held::Unknown)
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        if let Some(row) = batch.rows().find(|row| row.json.len() > self.row_bytes_max) {
            let (bytes, sink) = (row.json.len(), self.name());
            let reason = format!("it has {bytes} bytes, `row_bytes_max` is {}", self.row_bytes_max);
            return Err(ExportError::Row { sink, event_id: row.event_id, reason });
        }
        self.keep(batch).map_err(|error| ExportError::Unavailable {
            sink: self.name(),
            reason: error.to_string(),
        })
    }

    async fn close(&self) {}
}
