//! The operating system's disk.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Disk, DiskError, File, Mode, Operation};

/// What is made is for its owner: it holds the admin token, and what was exported where.
const FOLDER_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;
/// Rights of the group and of everybody.
const OTHERS: u32 = 0o077;

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Makes a folder for files that nobody needs after a restart, empty.
    pub fn scratch_folder(folder: &Path) -> Result<(), DiskError> {
        RealDisk.remove_folder(folder)?;
        RealDisk.create_folder(folder)
    }

    /// Whether others than the owner may enter a folder or read a file.
    pub fn is_open_to_others(path: &Path) -> Result<bool, DiskError> {
        let facts = fs::metadata(path).map_err(DiskError::of(Operation::Size, path))?;
        Ok(facts.mode() & OTHERS != 0)
    }

    /// Leaves a folder to its owner.
    pub fn close_to_others(folder: &Path) -> Result<(), DiskError> {
        let rights = fs::Permissions::from_mode(FOLDER_MODE);
        fs::set_permissions(folder, rights).map_err(DiskError::of(Operation::CreateFolder, folder))
    }

    /// Whether files can be made in a folder: the file system, and its owner, let us.
    pub fn is_writable(folder: &Path) -> bool {
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
    }

    /// Makes a file that holds space, when it is not there.
    pub fn reserve(path: &Path, bytes: u64) -> Result<(), DiskError> {
        if bytes == 0 || path.exists() {
            return Ok(());
        }
        let file = RealDisk.open(path, Mode::Create)?;
        file.resize(bytes).or_else(|error| RealDisk.remove(path).and(Err(error)))
    }

    /// Gives the space of such a file back.
    pub fn release(path: &Path) -> Result<(), DiskError> {
        RealDisk.remove(path)
    }

    /// What tells a file from every copy of it: its number in the file system and when it was made.
    /// A file system that does not know the second tells less.
    pub fn identity(path: &Path) -> Result<String, DiskError> {
        let facts = fs::metadata(path).map_err(DiskError::of(Operation::Size, path))?;
        let made = facts.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(format!("{}@{}", facts.ino(), made.map_or(0, |made| made.as_nanos())))
    }

    /// Bytes that an unprivileged process can still write below `folder`, and bytes in all.
    pub fn space(folder: &Path) -> Result<(u64, u64), DiskError> {
        let stat = rustix::fs::statvfs(folder)
            .map_err(|errno| DiskError::of(Operation::Size, folder)(errno.into()))?;
        let block = stat.f_frsize;
        Ok((stat.f_bavail.saturating_mul(block), stat.f_blocks.saturating_mul(block)))
    }
}

struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::Write => {
                options.write(true);
            }
            Mode::Create => {
                options.write(true).create(true).truncate(true).mode(FILE_MODE);
            }
        }
        let file = options.open(path).map_err(DiskError::of(Operation::Open, path))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        #[expect(clippy::disallowed_methods, reason = "this is the home of renames")]
        fs::rename(from, to).map_err(DiskError::of(Operation::Rename, from))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::hard_link(from, to).map_err(DiskError::of(Operation::Link, to))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::of(Operation::Remove, path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::of(Operation::Remove, folder)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, DiskError> {
        let of = || DiskError::of(Operation::List, folder);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(of()(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(of())?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(DiskError::of(Operation::CreateFolder, folder))
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let sync = || fs::File::open(folder)?.sync_all();
        sync().map_err(DiskError::of(Operation::SyncFolder, folder))
    }
}

impl RealFile {
    fn of(&self, operation: Operation) -> impl FnOnce(std::io::Error) -> DiskError {
        DiskError::of(operation, &self.path)
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.of(Operation::Read)(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.of(Operation::Write))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(self.of(Operation::Sync))
    }

    fn resize(&self, bytes: u64) -> Result<(), DiskError> {
        let size = self.size()?;
        if bytes <= size {
            return self.file.set_len(bytes).map_err(self.of(Operation::Resize));
        }
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&self.file, flags, size, bytes - size) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; the size is set all the same.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                self.file.set_len(bytes).map_err(self.of(Operation::Resize))
            }
            Err(errno) => Err(self.of(Operation::Resize)(errno.into())),
        }
    }

    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(self.of(Operation::Size))?.len())
    }

    fn has_name(&self) -> Result<bool, DiskError> {
        let open = self.file.metadata().map_err(self.of(Operation::Size))?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.of(Operation::Size)(error)),
        }
    }
}
