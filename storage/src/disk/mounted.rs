//! The simulated disk as a file system of the machine (FUSE), so that an engine which calls the
//! system itself, as the index's does, dies with it: each of its calls arrives at the same disk.
//!
//! Folders are as durable as what is in them: the simulated disk knows them by their files alone.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::{Disk, DiskError, File, Mode, SimulatedDisk};

/// Numbers of files begin here; below are those of folders.
const FILES: u64 = 1 << 32;
/// Nothing is remembered by the kernel: the disk changes by other hands, too.
const TTL: Duration = Duration::ZERO;

/// A simulated disk that is mounted until dropped.
pub(crate) struct Mounted {
    session: Option<BackgroundSession>,
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Mounts it, which takes `/dev/fuse` and the right to mount.
    pub(crate) fn new(disk: &SimulatedDisk) -> io::Result<Mounted> {
        let folder = tempfile::tempdir()?;
        let bridge = Bridge {
            disk: disk.clone(),
            folders: Mutex::new(vec![Some(PathBuf::new())]),
            handles: Mutex::default(),
        };
        let session = fuser::spawn_mount(bridge, folder.path(), &fuser::Config::default())?;
        Ok(Mounted { session: Some(session), folder })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().ok();
        }
    }
}

/// Open files by their handle, the last of which is the number.
#[derive(Default)]
struct Handles {
    last: u64,
    open: HashMap<u64, Box<dyn File>>,
}

struct Bridge {
    disk: SimulatedDisk,
    /// Folders by their number less one; what was removed is `None`.
    folders: Mutex<Vec<Option<PathBuf>>>,
    handles: Mutex<Handles>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(error: DiskError) -> Errno {
    error.into_io().into()
}

impl Bridge {
    fn folder(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let at = usize::try_from(u64::from(ino) - 1).unwrap_or(usize::MAX);
        lock(&self.folders).get(at).cloned().flatten().ok_or(Errno::ENOENT)
    }

    fn path(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.folder(parent)?.join(name))
    }

    /// The number of a folder that is there, by itself or by its files.
    fn folder_number(&self, path: &Path) -> Option<u64> {
        let mut folders = lock(&self.folders);
        let known = folders.iter().position(|folder| folder.as_deref() == Some(path));
        let has_files = || !self.disk.list(path).unwrap_or_default().is_empty();
        if known.is_none() && has_files() {
            folders.push(Some(path.to_owned()));
            return Some(folders.len() as u64);
        }
        known.map(|at| at as u64 + 1)
    }

    fn file(&self, ino: INodeNo) -> Result<Box<dyn File>, Errno> {
        let id = u64::from(ino).checked_sub(FILES).ok_or(Errno::EISDIR)?;
        Ok(self.disk.file(usize::try_from(id).unwrap_or(usize::MAX)))
    }

    fn attributes(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let is_file = u64::from(ino) >= FILES;
        let size = if is_file {
            self.file(ino)?.size().map_err(errno)?
        } else {
            self.folder(ino).map(|_| 0)?
        };
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        })
    }

    fn find(&self, path: &Path) -> Result<FileAttr, Errno> {
        let file = self.disk.id_of(path).map(|id| FILES + id as u64);
        let ino = file.or_else(|| self.folder_number(path)).ok_or(Errno::ENOENT)?;
        self.attributes(INodeNo(ino))
    }

    fn begin(&self, file: Box<dyn File>) -> FileHandle {
        let mut handles = lock(&self.handles);
        handles.last += 1;
        let handle = handles.last;
        handles.open.insert(handle, file);
        FileHandle(handle)
    }

    fn with<T>(
        &self,
        handle: FileHandle,
        act: impl FnOnce(&dyn File) -> Result<T, DiskError>,
    ) -> Result<T, Errno> {
        let handles = lock(&self.handles);
        let file = handles.open.get(&u64::from(handle)).ok_or(Errno::EBADF)?;
        act(file.as_ref()).map_err(errno)
    }

    fn rename(&self, from: &Path, to: &Path, is_kept: bool) -> Result<(), Errno> {
        if is_kept && self.find(to).is_ok() {
            return Err(Errno::EEXIST);
        }
        let is_folder = self.disk.id_of(from).is_none();
        let is_empty = is_folder && self.disk.list(from).map_err(errno)?.is_empty();
        if !is_empty {
            self.disk.rename(from, to).map_err(errno)?;
        }
        for folder in lock(&self.folders).iter_mut().flatten() {
            if let Ok(rest) = folder.strip_prefix(from) {
                *folder = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
        Ok(())
    }
}

/// Answers with what was done, or with why it was not.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for Bridge {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.path(parent, name).and_then(|path| self.find(&path));
        answer!(reply, found, facts => reply.entry(&TTL, &facts, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.attributes(ino), facts => reply.attr(&TTL, &facts));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = match size {
            Some(size) => self.file(ino).and_then(|file| file.resize(size).map_err(errno)),
            None => Ok(()),
        };
        let facts = resized.and_then(|()| self.attributes(ino));
        answer!(reply, facts, facts => reply.attr(&TTL, &facts));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.path(parent, name).and_then(|path| {
            lock(&self.folders).push(Some(path.clone()));
            self.find(&path)
        });
        answer!(reply, made, facts => reply.entry(&TTL, &facts, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed =
            self.path(parent, name).and_then(|path| self.disk.remove(&path).map_err(errno));
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.path(parent, name).and_then(|path| {
            if !self.disk.list(&path).map_err(errno)?.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            for folder in lock(&self.folders).iter_mut() {
                if folder.as_ref().is_some_and(|folder| folder.starts_with(&path)) {
                    *folder = None;
                }
            }
            Ok(())
        });
        answer!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.path(parent, name).and_then(|from| {
            let to = self.path(to_parent, to_name)?;
            self.rename(&from, &to, flags.contains(RenameFlags::RENAME_NOREPLACE))
        });
        answer!(reply, renamed, () => reply.ok());
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        to_parent: INodeNo,
        to_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.path(to_parent, to_name).and_then(|to| {
            let id = u64::from(ino).checked_sub(FILES).ok_or(Errno::EPERM)?;
            let from = self.disk.name_of(usize::try_from(id).unwrap_or(usize::MAX));
            self.disk.link(&from.ok_or(Errno::ENOENT)?, &to).map_err(errno)?;
            self.find(&to)
        });
        answer!(reply, linked, facts => reply.entry(&TTL, &facts, Generation(0)));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let created = self.path(parent, name).and_then(|path| {
            let file = self.disk.open(&path, Mode::Create).map_err(errno)?;
            Ok((self.find(&path)?, self.begin(file)))
        });
        let flags = FopenFlags::FOPEN_DIRECT_IO;
        answer!(reply, created, (facts, handle) => {
            reply.created(&TTL, &facts, Generation(0), handle, flags);
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.file(ino).map(|file| self.begin(file));
        answer!(reply, opened, handle => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let read = self.with(handle, |file| file.read_at(&mut bytes, offset));
        answer!(reply, read, count => reply.data(bytes.get(..count).unwrap_or_default()));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with(handle, |file| file.write_at(bytes, offset));
        answer!(reply, written, () => reply.written(bytes.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.handles).open.remove(&u64::from(handle));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.with(handle, |file| file.sync());
        answer!(reply, synced, () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced =
            self.folder(ino).and_then(|folder| self.disk.sync_folder(&folder).map_err(errno));
        answer!(reply, synced, () => reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let reserved = self.with(handle, |file| match file.size()? {
            size if size < offset + length => file.resize(offset + length),
            _ => Ok(()),
        });
        answer!(reply, reserved, () => reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.folder(ino).and_then(|folder| {
            let mut names = self.disk.list(&folder).map_err(errno)?;
            let below = |known: &PathBuf| {
                let is_child = known.parent() == Some(&folder) && known.file_name().is_some();
                is_child
                    .then(|| known.file_name().map(|name| name.to_string_lossy().into_owned()))?
            };
            names.extend(lock(&self.folders).iter().flatten().filter_map(below));
            names.sort();
            names.dedup();
            Ok((folder, names))
        });
        let (folder, names) = match listed {
            Ok(listed) => listed,
            Err(errno) => return reply.error(errno),
        };
        for (at, name) in names.iter().enumerate().skip(usize::try_from(offset).unwrap_or(0)) {
            let Ok(facts) = self.find(&folder.join(name)) else { continue };
            if reply.add(facts.ino, at as u64 + 1, facts.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 30;
        reply.statfs(blocks, blocks, blocks, 0, 0, 4_096, 255, 4_096);
    }
}
