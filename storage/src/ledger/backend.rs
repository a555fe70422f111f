//! redb on our disk, so that a simulated one can crash below it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError, File, Mode};

pub(super) struct Backend {
    file: Box<dyn File>,
    path: PathBuf,
}

impl Backend {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Backend, DiskError> {
        let path = path.to_owned();
        match disk.open(&path, Mode::Write) {
            Ok(file) => Ok(Backend { file, path }),
            Err(error) if error.is_missing() => {
                let file = disk.open(&path, Mode::Create)?;
                file.sync()?;
                if let Some(folder) = path.parent() {
                    disk.sync_folder(folder)?;
                }
                Ok(Backend { file, path })
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("path", &self.path).finish_non_exhaustive()
    }
}

/// redb shows the text of the error, so the path goes into it.
fn io_error(error: DiskError) -> io::Error {
    let kind = error.source.kind();
    let text = format!("{error}: {}", error.source);
    io::Error::new(kind, text)
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.size().map_err(io_error)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let read = self.file.read_at(out, offset).map_err(io_error)?;
        if read < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.resize(len).map_err(io_error)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync().map_err(io_error)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(data, offset).map_err(io_error)
    }
}
