//! What a disk can do, and whole files on top of it.

use std::path::Path;

use super::DiskError;

/// What a disk refuses to read at once.
const BLOCK_BYTES: u64 = 4_096;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read only; it must exist.
    Read,
    /// Read and write; it must exist.
    Write,
    /// Read and write, made new; an existing one is emptied.
    Create,
}

/// Folders and names.
pub trait Disk: Send + Sync + 'static {
    /// Opens or makes a file.
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>, DiskError>;
    /// Renames a file within a file system, over an existing one, or a folder to a free name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Removes a file; one that does not exist is fine.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;
    /// Removes a folder with all that is in it; one that does not exist is fine.
    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError>;
    /// Names in a folder, sorted; a missing folder has none.
    fn list(&self, folder: &Path) -> Result<Vec<String>, DiskError>;
    /// Makes a folder and those above it.
    fn create_folder(&self, folder: &Path) -> Result<(), DiskError>;
    /// Makes the folder's names durable.
    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError>;
}

/// One open file.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes; less only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;
    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError>;
    /// Makes the content durable (`fdatasync`).
    fn sync(&self) -> Result<(), DiskError>;
    /// Cuts the file, or grows it by zeros for which space is reserved.
    fn resize(&self, bytes: u64) -> Result<(), DiskError>;
    /// Bytes of the file.
    fn size(&self) -> Result<u64, DiskError>;
    /// Whether the file still has the name by which it was opened: what is written to one that was
    /// removed is lost. Where nobody but this process reaches the disk, it has.
    fn has_name(&self) -> Result<bool, DiskError> {
        Ok(true)
    }
}

/// Reads, and once more when the disk refuses: a sector that is refused twice is damaged.
pub fn read_twice(file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
    file.read_at(buffer, offset).or_else(|_| file.read_at(buffer, offset))
}

/// Reads around sectors that the disk refuses: they read as ones, which no checksum fits, so that
/// what they held is damaged and what stands behind them is found.
pub fn read_around(file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
    let error = match read_twice(file, buffer, offset) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    tracing::warn!(
        error = %error.source, path = %error.path.display(), offset, bytes = buffer.len(),
        "the disk does not give what it has"
    );
    let there = usize::try_from(file.size()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let count = there.min(buffer.len());
    let mut rest = buffer.get_mut(..count).unwrap_or_default();
    let mut at = offset;
    while !rest.is_empty() {
        let due = usize::try_from(BLOCK_BYTES - at % BLOCK_BYTES).unwrap_or(1).min(rest.len());
        let (block, after) = rest.split_at_mut(due);
        if file.read_at(block, at).is_err() {
            block.fill(0xff);
        }
        at += due as u64;
        rest = after;
    }
    Ok(count)
}

/// Reads a whole file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(path, Mode::Read)?;
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    let read = read_twice(file.as_ref(), &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Bytes and CRC-32C (Castagnoli) of a file, read some at a time.
pub fn checksum(disk: &dyn Disk, path: &Path) -> Result<(u64, u32), DiskError> {
    const CHUNK: usize = 1 << 20;
    let file = disk.open(path, Mode::Read)?;
    let (mut buffer, mut bytes, mut crc32c) = (vec![0; CHUNK], 0, 0);
    loop {
        let read = read_twice(file.as_ref(), &mut buffer, bytes)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok((bytes, crc32c));
        };
        crc32c = crc32c::crc32c_append(crc32c, chunk);
        bytes += read as u64;
    }
}

/// Writes a small file whole or not at all: temporary name, sync, rename, sync of the folder.
pub fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = path.with_extension("tmp");
    let file = disk.open(&temporary, Mode::Create)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => disk.sync_folder(folder),
        None => Ok(()),
    }
}
