//! Files that are read, copied and linked, each with its digest.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::disk::{Disk, DiskError, Mode, read_around};

use super::BackupError;

/// Bytes that are read and written at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) crc32c: u32,
}

/// What becomes of a file.
pub(super) enum Copying<'a> {
    /// It is read.
    Not,
    /// It is written here too, and synced.
    To(&'a Path),
}

/// Reads a file, up to a length, and perhaps copies it. A sector that the disk refuses reads as
/// ones: of the log it is a hole, there and in the backup; a part is told by its checksum.
pub(super) fn read(
    disk: &dyn Disk,
    from: &Path,
    bytes: Option<u64>,
    copying: &Copying<'_>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Digests, BackupError> {
    let file = disk.open(from, Mode::Read)?;
    let bytes = bytes.unwrap_or(file.size()?);
    let copy = match copying {
        Copying::Not => None,
        Copying::To(path) => Some(disk.open(path, Mode::Create)?),
    };
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut at, mut sha256, mut crc32c) = (0, Sha256::new(), 0);
    while at < bytes {
        if is_stopped() {
            return Err(BackupError::Stopped);
        }
        let due = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let wanted = buffer.get_mut(..due).unwrap_or_default();
        let read = read_around(file.as_ref(), wanted, at)?;
        let found = wanted.get(..read).unwrap_or_default();
        if found.is_empty() {
            break;
        }
        sha256.update(found);
        crc32c = crc32c::crc32c_append(crc32c, found);
        if let Some(copy) = &copy {
            copy.write_at(found, at)?;
        }
        at += read as u64;
    }
    if let Some(copy) = copy {
        copy.sync()?;
    }
    Ok(Digests { bytes: at, sha256: const_hex::encode(sha256.finalize()), crc32c })
}

/// Gives a file a second name; `false` where the two places cannot share it.
pub(super) fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<bool, DiskError> {
    use std::io::ErrorKind;
    let cannot_share = [
        ErrorKind::CrossesDevices,
        ErrorKind::PermissionDenied,
        ErrorKind::Unsupported,
        ErrorKind::TooManyLinks,
    ];
    match disk.link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if cannot_share.contains(&error.source.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the folders of a path durable, from its own up to, and with, `top`.
pub(super) fn sync_up(disk: &dyn Disk, path: &Path, top: &Path) -> Result<(), DiskError> {
    let mut folder = path.parent();
    while let Some(at) = folder {
        disk.sync_folder(at)?;
        folder = at.parent().filter(|_| at != top);
    }
    Ok(())
}
