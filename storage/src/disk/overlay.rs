//! A disk over another that is only read: what is written stays in memory and goes with it. So a
//! folder on a read-only file system is opened, and what an opening would change can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskError, File, Mode, Operation};

/// Bytes that are kept together.
const PAGE_BYTES: usize = 4_096;

/// Files that were made, written or removed; `None` for the removed.
type Changes = BTreeMap<PathBuf, Option<Arc<Written>>>;

/// A disk over another.
pub struct Overlay {
    below: Arc<dyn Disk>,
    changes: Mutex<Changes>,
}

/// A file of which some pages are others.
struct Written {
    below: Option<Box<dyn File>>,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    size: u64,
    /// Bytes of the file below that still count.
    below_bytes: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over a disk.
    pub fn new(below: Arc<dyn Disk>) -> Overlay {
        Overlay { below, changes: Mutex::default() }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file as it can be written here.
    fn written(&self, path: &Path) -> Result<Arc<Written>, DiskError> {
        let mut changes = self.changes();
        if let Some(known) = changes.get(path) {
            return known.clone().ok_or_else(|| missing(Operation::Open, path));
        }
        let below = self.below.open(path, Mode::Read)?;
        let size = below.size()?;
        let pages = Pages { size, below_bytes: size, ..Pages::default() };
        let file = Written { below: Some(below), pages: Mutex::new(pages) };
        let file = Arc::new(file);
        changes.insert(path.to_owned(), Some(file.clone()));
        Ok(file)
    }
}

fn missing(operation: Operation, path: &Path) -> DiskError {
    DiskError::of(operation, path)(ErrorKind::NotFound.into())
}

impl Disk for Overlay {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>, DiskError> {
        let is_known = self.changes().contains_key(path);
        match mode {
            Mode::Read if !is_known => self.below.open(path, Mode::Read),
            Mode::Read | Mode::Write => Ok(Box::new(Handle(self.written(path)?))),
            Mode::Create => {
                let file = Written { below: None, pages: Mutex::default() };
                let file = Arc::new(file);
                self.changes().insert(path.to_owned(), Some(file.clone()));
                Ok(Box::new(Handle(file)))
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let file = self.written(from)?;
        let mut changes = self.changes();
        changes.insert(to.to_owned(), Some(file));
        changes.insert(from.to_owned(), None);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let file = self.written(from)?;
        self.changes().insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.changes().insert(path.to_owned(), None);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError> {
        for name in self.below.list(folder)? {
            self.remove(&folder.join(name))?;
        }
        for (path, change) in self.changes().iter_mut() {
            if path.starts_with(folder) {
                *change = None;
            }
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, DiskError> {
        let mut names: BTreeSet<String> = self.below.list(folder)?.into_iter().collect();
        for (path, change) in self.changes().iter() {
            let Ok(inner) = path.strip_prefix(folder) else { continue };
            let mut parts = inner.components();
            let Some(name) = parts.next() else { continue };
            let name = name.as_os_str().to_string_lossy().into_owned();
            let is_file = parts.next().is_none();
            match change {
                Some(_) => {
                    names.insert(name);
                }
                None if is_file => {
                    names.remove(&name);
                }
                None => {}
            }
        }
        Ok(names.into_iter().collect())
    }

    fn create_folder(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
}

struct Handle(Arc<Written>);

impl Written {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is now.
    fn page(&self, pages: &Pages, number: u64) -> Result<Vec<u8>, DiskError> {
        if let Some(page) = pages.written.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES];
        let at = number * PAGE_BYTES as u64;
        let due = pages.below_bytes.saturating_sub(at).min(PAGE_BYTES as u64);
        let part = page.get_mut(..usize::try_from(due).unwrap_or(0)).unwrap_or_default();
        if let Some(below) = self.below.as_ref().filter(|_| !part.is_empty()) {
            below.read_at(part, at)?;
        }
        Ok(page)
    }
}

/// Where a byte is: its page, and the place in it.
fn place(offset: u64) -> (u64, usize) {
    let page = PAGE_BYTES as u64;
    (offset / page, usize::try_from(offset % page).unwrap_or(0))
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let pages = self.0.pages();
        let there = usize::try_from(pages.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = there.min(buffer.len());
        let mut rest = buffer.get_mut(..count).unwrap_or_default();
        let mut at = offset;
        while !rest.is_empty() {
            let (number, from) = place(at);
            let page = self.0.page(&pages, number)?;
            let found = page.get(from..).unwrap_or_default();
            let (now, after) = rest.split_at_mut(found.len().min(rest.len()));
            now.copy_from_slice(found.get(..now.len()).unwrap_or_default());
            at += now.len() as u64;
            rest = after;
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let mut pages = self.0.pages();
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let (number, from) = place(at);
            let mut page = self.0.page(&pages, number)?;
            let room = page.get_mut(from..).unwrap_or_default();
            let (now, after) = rest.split_at(room.len().min(rest.len()));
            room.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
            pages.written.insert(number, page);
            at += now.len() as u64;
            rest = after;
        }
        pages.size = pages.size.max(at);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn resize(&self, bytes: u64) -> Result<(), DiskError> {
        let mut pages = self.0.pages();
        if bytes < pages.size {
            let (number, from) = place(bytes);
            let mut page = self.0.page(&pages, number)?;
            page.get_mut(from..).unwrap_or_default().fill(0);
            let _cut = pages.written.split_off(&number);
            pages.written.insert(number, page);
            pages.below_bytes = pages.below_bytes.min(bytes);
        }
        pages.size = bytes;
        Ok(())
    }

    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.0.pages().size)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RealDisk, read_file, write_file};
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_below_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_file(&RealDisk, &path("a"), &[7; 10_000]).unwrap();
        write_file(&RealDisk, &path("b"), b"b").unwrap();
        let disk = Overlay::new(Arc::new(RealDisk));
        let file = disk.open(&path("a"), Mode::Write).unwrap();
        file.write_at(&[1; 5_000], 4_000).unwrap();
        file.write_at(&[2; 10], 12_000).unwrap();
        let mut expected = [vec![7; 4_000], vec![1; 5_000], vec![7; 1_000]].concat();
        expected.resize(12_000, 0);
        expected.extend([2; 10]);
        assert_eq!(read_file(&disk, &path("a")).unwrap(), expected);
        file.resize(100).unwrap();
        file.resize(9_000).unwrap();
        let cut = [vec![7; 100], vec![0; 8_900]].concat();
        assert_eq!(read_file(&disk, &path("a")).unwrap(), cut);
        write_file(&disk, &path("new"), b"n").unwrap();
        disk.rename(&path("b"), &path("moved/b")).unwrap();
        assert_eq!(disk.list(folder.path()).unwrap(), ["a", "moved", "new"]);
        assert_eq!(read_file(&disk, &path("moved/b")).unwrap(), b"b");
        assert!(disk.open(&path("b"), Mode::Read).err().unwrap().is_missing());
        disk.remove_folder(folder.path()).unwrap();
        assert!(disk.list(folder.path()).unwrap().is_empty());
        assert_eq!(RealDisk.list(folder.path()).unwrap(), ["a", "b"]);
        assert_eq!(read_file(&RealDisk, &path("a")).unwrap(), [7; 10_000]);
    }
}
