//! A disk in memory that keeps what was written apart from what was synced, fails at any chosen
//! call, and after a crash keeps some of the unsynced writes, torn at sectors and reordered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskError, File, Mode, Operation};

const SECTOR_BYTES: u64 = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    /// Calls that change the disk, so far.
    calls: u64,
    /// The call at which the machine dies.
    crash_at: Option<u64>,
    /// The call that fails, once, and how.
    fail_at: Option<(u64, io::ErrorKind)>,
    /// Reads so far, and the one that fails, once.
    reads: u64,
    fail_read_at: Option<u64>,
    /// Sectors that are never read, as file and offset.
    bad_sectors: Vec<(usize, u64)>,
    /// Bytes that fit; writes beyond fail with `StorageFull`.
    capacity: Option<u64>,
}

#[derive(Clone, Default)]
struct Content {
    current: Image,
    synced: Image,
    unsynced: Vec<Change>,
}

/// What a file holds: bytes, and zeros up to its length. Engines reserve far more than they write.
#[derive(Clone, Default)]
struct Image {
    bytes: Vec<u8>,
    length: u64,
}

impl Image {
    /// Fills the buffer as far as the file goes.
    fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let room = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = room.min(buffer.len());
        let written = usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..));
        let written = written.unwrap_or_default();
        let due = buffer.get_mut(..count).unwrap_or_default();
        let (bytes, zeros) = due.split_at_mut(written.len().min(count));
        bytes.copy_from_slice(written.get(..bytes.len()).unwrap_or_default());
        zeros.fill(0);
        count
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        self.length = self.length.max(end as u64);
    }

    fn resize(&mut self, length: u64) {
        self.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        self.length = length;
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize { bytes: u64 },
}

#[derive(Clone)]
struct NameChange {
    folder: PathBuf,
    /// Several when a folder is renamed or removed: they change together.
    removed: Vec<PathBuf>,
    added: Vec<(PathBuf, usize)>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// Lets the machine die at the given call that changes the disk, counted from now.
    pub fn crash_after(&self, calls: u64) {
        self.with(|state| state.crash_at = Some(state.calls + calls));
    }

    /// Lets one call that changes the disk fail, counted from now: a write then wrote a part.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        self.with(|state| state.fail_at = Some((state.calls + calls, kind)));
    }

    /// Lets one read fail, counted from now.
    pub fn fail_read_after(&self, reads: u64) {
        self.with(|state| state.fail_read_at = Some(state.reads + reads));
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.with(|state| state.reads)
    }

    /// Calls that changed the disk so far.
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// Whether the machine is dead.
    pub fn is_crashed(&self) -> bool {
        self.with(|state| state.is_crashed())
    }

    /// Limits the bytes of all files together, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.with(|state| state.capacity = bytes);
    }

    /// The disk as the next start finds it: all that was synced, and by `seed` some of the rest.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> SimulatedDisk {
        let mut coin = Coin(seed | 1);
        let state = self.with(|state| {
            let mut names = state.synced_names.clone();
            for change in state.unsynced_names.iter().filter(|_| coin.toss()) {
                change.apply(&mut names);
            }
            let contents =
                state.contents.iter().map(|content| content.survive(&mut coin)).collect();
            State { contents, synced_names: names.clone(), names, ..State::default() }
        });
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes a sector that cannot be read.
    pub fn spoil(&self, path: &Path, offset: u64) {
        self.with(|state| {
            let id = state.names.get(path).copied();
            state.bad_sectors.extend(id.map(|id| (id, offset - offset % SECTOR_BYTES)));
        });
    }

    /// Flips one bit of a file, as a bad sector would.
    pub fn flip_bit(&self, path: &Path, offset: u64) {
        self.with(|state| {
            let Some(id) = state.names.get(path).copied() else { return };
            let Some(content) = state.contents.get_mut(id) else { return };
            for image in [&mut content.current, &mut content.synced] {
                let mut byte = [0];
                if image.read(&mut byte, offset) == 1 {
                    image.write(&byte.map(|byte| byte ^ 1), offset);
                }
            }
        });
    }

    /// The number of a file, which it keeps under any name.
    #[cfg(test)]
    pub(super) fn id_of(&self, path: &Path) -> Option<usize> {
        self.with(|state| state.names.get(path).copied())
    }

    /// A name of a file.
    #[cfg(test)]
    pub(super) fn name_of(&self, id: usize) -> Option<PathBuf> {
        self.with(|state| {
            state.names.iter().find(|(_, known)| **known == id).map(|(name, _)| name.clone())
        })
    }

    /// A file by its number, open for reading and writing.
    #[cfg(test)]
    pub(super) fn file(&self, id: usize) -> Box<dyn File> {
        Box::new(SimulatedFile { disk: self.clone(), id, path: PathBuf::new() })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a call that changes the disk; fails it when the machine is dead.
    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut State) -> Result<T, io::ErrorKind>,
    ) -> Result<T, DiskError> {
        self.with(|state| {
            state.calls += 1;
            if state.is_crashed() {
                return Err(io::Error::other("the simulated machine is dead"));
            }
            if let Some(kind) = state.fails_now() {
                return Err(io::Error::from(kind));
            }
            act(state).map_err(io::Error::from)
        })
        .map_err(DiskError::of(operation, path))
    }
}

impl State {
    fn is_crashed(&self) -> bool {
        self.crash_at.is_some_and(|at| self.calls >= at)
    }

    fn fails_now(&self) -> Option<io::ErrorKind> {
        self.fail_at.filter(|(at, _)| *at == self.calls).map(|(_, kind)| kind)
    }

    /// A file, or all files of a folder.
    fn below(&self, path: &Path) -> Vec<(PathBuf, usize)> {
        let names = self.names.iter().filter(|(name, _)| name.starts_with(path));
        names.map(|(name, id)| (name.clone(), *id)).collect()
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn grow(&self, id: usize, bytes: u64) -> Result<(), io::ErrorKind> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let size = |content: &Content| content.current.length;
        let others: u64 = self
            .names
            .values()
            .filter(|other| **other != id)
            .filter_map(|other| self.contents.get(*other))
            .map(size)
            .sum();
        let own = self.contents.get(id).map_or(0, size);
        if bytes > own && others + bytes > capacity {
            return Err(io::ErrorKind::StorageFull);
        }
        Ok(())
    }
}

impl NameChange {
    fn new(of: &Path, removed: Vec<PathBuf>, added: Vec<(PathBuf, usize)>) -> NameChange {
        let folder = of.parent().unwrap_or(Path::new("")).to_owned();
        NameChange { folder, removed, added }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        for removed in &self.removed {
            names.remove(removed);
        }
        for (path, id) in &self.added {
            names.insert(path.clone(), *id);
        }
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.unsynced.push(change);
    }

    fn survive(&self, coin: &mut Coin) -> Content {
        let mut synced = self.synced.clone();
        for change in &self.unsynced {
            match change {
                Change::Resize { .. } if coin.toss() => change.apply(&mut synced),
                Change::Resize { .. } => {}
                Change::Write { offset, bytes } => tear(*offset, bytes, coin, &mut synced),
            }
        }
        Content { current: synced.clone(), synced, unsynced: Vec::new() }
    }
}

/// Keeps some sectors of a write.
fn tear(offset: u64, bytes: &[u8], coin: &mut Coin, content: &mut Image) {
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(1);
        let (sector, after) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        if coin.toss() {
            content.write(sector, at);
        }
        at += sector.len() as u64;
        rest = after;
    }
}

impl Change {
    fn apply(&self, content: &mut Image) {
        match self {
            Change::Resize { bytes } => content.resize(*bytes),
            Change::Write { offset, bytes } => content.write(bytes, *offset),
        }
    }
}

/// A coin that falls the same way for the same seed (xorshift64*).
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    id: usize,
    path: PathBuf,
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>, DiskError> {
        let id = match mode {
            Mode::Read | Mode::Write => self
                .with(|state| state.names.get(path).copied().ok_or(io::ErrorKind::NotFound))
                .map_err(|kind| DiskError::of(Operation::Open, path)(kind.into()))?,
            Mode::Create => self.change(Operation::Open, path, |state| {
                let id = state.contents.len();
                state.contents.push(Content::default());
                state.rename(NameChange::new(path, Vec::new(), vec![(path.to_owned(), id)]));
                Ok(id)
            })?,
        };
        Ok(Box::new(SimulatedFile { disk: self.clone(), id, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change(Operation::Rename, from, |state| {
            let moved = state.below(from);
            if moved.is_empty() {
                return Err(io::ErrorKind::NotFound);
            }
            let to_name = |path: &PathBuf| match path.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
                Ok(rest) => to.join(rest),
                Err(_) => path.clone(),
            };
            let added = moved.iter().map(|(path, id)| (to_name(path), *id)).collect();
            let removed = moved.into_iter().map(|(path, _)| path).collect();
            state.rename(NameChange::new(to, removed, added));
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change(Operation::Link, to, |state| {
            let id = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
            if state.names.contains_key(to) {
                return Err(io::ErrorKind::AlreadyExists);
            }
            state.rename(NameChange::new(to, Vec::new(), vec![(to.to_owned(), id)]));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.change(Operation::Remove, path, |state| {
            state.rename(NameChange::new(path, vec![path.to_owned()], Vec::new()));
            Ok(())
        })
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError> {
        self.change(Operation::Remove, folder, |state| {
            let removed = state.below(folder).into_iter().map(|(path, _)| path).collect();
            state.rename(NameChange::new(folder, removed, Vec::new()));
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, DiskError> {
        Ok(self.with(|state| {
            let below = state.names.keys().filter_map(|path| path.strip_prefix(folder).ok());
            let names = below.filter_map(|path| path.components().next());
            let mut names: Vec<String> =
                names.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
            names.dedup();
            names
        }))
    }

    fn create_folder(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        self.change(Operation::SyncFolder, folder, |state| {
            let changes = std::mem::take(&mut state.unsynced_names);
            let (synced, rest) = changes.into_iter().partition(|change| change.folder == folder);
            state.unsynced_names = rest;
            let synced: Vec<NameChange> = synced;
            for change in &synced {
                change.apply(&mut state.synced_names);
            }
            Ok(())
        })
    }
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let read = self.disk.with(|state| {
            state.reads += 1;
            let upto = offset + buffer.len() as u64;
            let is_bad = |(id, at): &(usize, u64)| {
                *id == self.id && *at < upto && offset < *at + SECTOR_BYTES
            };
            if state.fail_read_at == Some(state.reads) || state.bad_sectors.iter().any(is_bad) {
                return Err(io::Error::other("the simulated sector cannot be read"));
            }
            let content = state.contents.get(self.id);
            Ok(content.map_or(0, |content| content.current.read(buffer, offset)))
        });
        read.map_err(DiskError::of(Operation::Read, &self.path))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let crashed = self.disk.change(Operation::Write, &self.path, |state| {
            state.grow(self.id, offset + bytes.len() as u64)?;
            Ok(())
        });
        // A write that fails has written a part.
        if crashed.is_err() && self.disk.with(|state| state.fails_now().is_some()) {
            let written = bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
            self.apply(Change::Write { offset, bytes: written });
            return crashed;
        }
        // The write that the machine dies in may be on the disk in part.
        if crashed.is_ok() || self.disk.with(|state| state.crash_at == Some(state.calls)) {
            self.apply(Change::Write { offset, bytes: bytes.to_vec() });
        }
        crashed
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk.change(Operation::Sync, &self.path, |state| {
            if let Some(content) = state.contents.get_mut(self.id) {
                for change in std::mem::take(&mut content.unsynced) {
                    change.apply(&mut content.synced);
                }
            }
            Ok(())
        })
    }

    fn resize(&self, bytes: u64) -> Result<(), DiskError> {
        self.disk.change(Operation::Resize, &self.path, |state| state.grow(self.id, bytes))?;
        self.apply(Change::Resize { bytes });
        Ok(())
    }

    fn size(&self) -> Result<u64, DiskError> {
        Ok(self
            .disk
            .with(|state| state.contents.get(self.id).map_or(0, |content| content.current.length)))
    }
}

impl SimulatedFile {
    fn apply(&self, change: Change) {
        self.disk.with(|state| {
            if let Some(content) = state.contents.get_mut(self.id) {
                content.change(change);
            }
        });
    }
}
