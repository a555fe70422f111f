//! redb on our disk, so that a simulated one can crash below it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError, File, Mode, read_twice};

pub(super) struct Backend {
    file: Box<dyn File>,
    path: PathBuf,
}

impl Backend {
    /// An existing file, if there is one.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Option<Backend>, DiskError> {
        match Backend::existing(disk, path) {
            Ok(backend) => Ok(Some(backend)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file that must exist.
    pub(super) fn existing(disk: &dyn Disk, path: &Path) -> Result<Backend, DiskError> {
        Ok(Backend { file: disk.open(path, Mode::Write)?, path: path.to_owned() })
    }

    /// A new file, in place of an earlier one.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Backend, DiskError> {
        Ok(Backend { file: disk.open(path, Mode::Create)?, path: path.to_owned() })
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("path", &self.path).finish_non_exhaustive()
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.size().map_err(DiskError::into_io)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let read = read_twice(self.file.as_ref(), out, offset).map_err(DiskError::into_io)?;
        if read < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.resize(len).map_err(DiskError::into_io)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync().map_err(DiskError::into_io)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(data, offset).map_err(DiskError::into_io)
    }
}
