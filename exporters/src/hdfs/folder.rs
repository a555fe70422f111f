//! A lake in a folder of this machine, or of a network file system: `url = "/mnt/lake"`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::ExportError;

use super::failure::in_the_way;
use super::files::{Body, Entry, Files, Renamed};

const CHUNK: usize = 1 << 20;

/// The files below a folder.
pub(super) struct Folder {
    url: String,
    base: PathBuf,
}

type Io<T> = std::io::Result<T>;

impl Folder {
    pub(super) fn new(url: &str, base: &str) -> Folder {
        Folder { url: url.to_owned(), base: PathBuf::from(base) }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.base.clone() } else { self.base.join(path) }
    }

    /// Blocking calls, beside the async workers; a folder that is not mounted may come back.
    async fn call<T: Send + 'static>(
        &self,
        what: String,
        work: impl FnOnce() -> Io<T> + Send + 'static,
    ) -> Result<T, ExportError> {
        let failed = |reason: String| ExportError::Unavailable { sink: self.url.clone(), reason };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(ExportError::Refused {
                    sink: self.url.clone(),
                    reason: format!("{what}: {error}: give the process rights to the folder"),
                })
            }
            Ok(Err(error)) => Err(failed(format!("{what}: {error}"))),
            Err(error) => Err(failed(format!("{what}: {error}"))),
        }
    }
}

/// Nothing where something is not there.
fn if_there<T>(found: Io<T>) -> Io<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn entry(name: String, facts: &std::fs::Metadata) -> Entry {
    let changed = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let changed_ms = changed.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    Entry { name, bytes: facts.len(), is_folder: facts.is_dir(), changed_ms }
}

fn list(folder: &Path) -> Io<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in if_there(std::fs::read_dir(folder))?.into_iter().flatten() {
        let found = found?;
        // It may be gone by now.
        if let Some(facts) = if_there(found.metadata())? {
            entries.push(entry(found.file_name().to_string_lossy().into_owned(), &facts));
        }
    }
    Ok(entries)
}

/// Bytes and CRC-32C of all that is read, which goes on to `take`.
fn pump(mut from: impl Read, mut take: impl FnMut(&[u8]) -> Io<()>) -> Io<(u64, u32)> {
    let (mut buffer, mut bytes, mut crc32c) = (vec![0; CHUNK], 0, 0);
    loop {
        let read = from.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok((bytes, crc32c));
        };
        take(chunk)?;
        crc32c = crc32c::crc32c_append(crc32c, chunk);
        bytes += read as u64;
    }
}

fn put(path: &Path, body: Body) -> Io<(u64, u32)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let sent = match body {
        Body::Bytes(bytes) => pump(bytes.as_slice(), |chunk| file.write_all(chunk))?,
        Body::File(place) => pump(std::fs::File::open(place)?, |chunk| file.write_all(chunk))?,
    };
    file.sync_all()?;
    Ok(sent)
}

fn rename(from: &Path, to: &Path) -> Io<Renamed> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(Renamed::IsThere),
        Err(error) => return Err(error.into()),
    }
    if let Some(folder) = to.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(Renamed::Done)
}

fn remove(path: &Path) -> Io<()> {
    let Some(facts) = if_there(std::fs::symlink_metadata(path))? else { return Ok(()) };
    let removed =
        if facts.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if_there(removed).map(|_| ())
}

#[async_trait]
impl Files for Folder {
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, ExportError> {
        let path = self.path(folder);
        self.call(format!("list {}", path.display()), move || list(&path)).await
    }

    async fn look(&self, path: &str) -> Result<Option<Entry>, ExportError> {
        let path = self.path(path);
        let look = move || {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(if_there(std::fs::metadata(&path))?.map(|facts| entry(name, &facts)))
        };
        self.call("look".to_owned(), look).await
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ExportError> {
        let path = self.path(path);
        self.call(format!("read {}", path.display()), move || if_there(std::fs::read(&path))).await
    }

    async fn checksum(&self, path: &str) -> Result<(u64, u32), ExportError> {
        let path = self.path(path);
        let what = format!("read {}", path.display());
        self.call(what, move || pump(std::fs::File::open(&path)?, |_| Ok(()))).await
    }

    async fn put(&self, path: &str, body: Body) -> Result<(u64, u32), ExportError> {
        let path = self.path(path);
        self.call(format!("write {}", path.display()), move || put(&path, body)).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<Renamed, ExportError> {
        let (from, to) = (self.path(from), self.path(to));
        self.call(format!("rename to {}", to.display()), move || rename(&from, &to)).await
    }

    async fn remove(&self, path: &str) -> Result<(), ExportError> {
        let path = self.path(path);
        self.call(format!("remove {}", path.display()), move || remove(&path)).await
    }

    async fn folder(&self, path: &str) -> Result<(), ExportError> {
        let path = self.path(path);
        if path.is_file() {
            return Err(in_the_way(&self.url, &path.display().to_string()));
        }
        let what = format!("make {}", path.display());
        self.call(what, move || std::fs::create_dir_all(&path)).await
    }

    async fn close(&self) {}
}
