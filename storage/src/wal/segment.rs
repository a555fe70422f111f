//! One open file of the log: its header, and where its frames are.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::disk::{Disk, DiskError, File, Mode, read_around};
use crate::model::Lsn;

use super::frame::FrameHead;
use super::layout::{
    ALIGN_BYTES, HEAD_BYTES_MAX, HEADER_BYTES, Header, Layout, SegmentName, header, read_header,
};
use super::{Damage, Error};

/// A frame that is not there, in units of the alignment: a header stands at 0.
const HOLE: u32 = 0;

/// An open segment.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Lsn,
    pub(super) layout: Layout,
    pub(super) file: Box<dyn File>,
    /// Whether the header is as it was written.
    pub(super) is_headed: bool,
    /// Offsets of the frames found so far, in units of the alignment.
    offsets: Mutex<Vec<u32>>,
}

/// A frame's head with its bytes, which the checksum is over.
pub(super) struct Found {
    pub(super) head: FrameHead,
    pub(super) bytes: [u8; HEAD_BYTES_MAX],
}

impl Segment {
    /// Makes a segment with its space reserved and its name durable.
    pub(super) fn create(
        disk: &dyn Disk,
        folder: &Path,
        chain_id: u64,
        first: Lsn,
        bytes: u64,
    ) -> Result<Segment, DiskError> {
        let path = folder.join(SegmentName { first, is_trimmed: false }.file_name());
        let file = disk.open(&path, Mode::Create)?;
        file.resize(bytes)?;
        file.write_at(&header(chain_id, first), 0)?;
        file.sync()?;
        disk.sync_folder(folder)?;
        let (layout, offsets) = (Layout::V2, Mutex::default());
        Ok(Segment { path, first, layout, file, is_headed: true, offsets })
    }

    /// Opens an existing segment. A damaged header takes nothing from its frames: their layout
    /// is found by the first of them.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        chain_id: u64,
        name: SegmentName,
        mode: Mode,
    ) -> Result<Segment, Error> {
        let (path, first) = (folder.join(name.file_name()), name.first);
        let file = disk.open(&path, mode)?;
        let mut found = vec![0; HEADER_BYTES as usize];
        let read = read_around(file.as_ref(), &mut found, 0)?;
        found.truncate(read);
        let layout = match read_header(&found, chain_id, first) {
            Header::Good { layout } => Some(layout),
            Header::Damaged => None,
            Header::Newer { version } => return Err(Error::Version { segment: path, version }),
            Header::Foreign { chain_id: found } => {
                return Err(Error::ForeignChain { segment: path, found, expected: chain_id });
            }
        };
        let offsets = Mutex::default();
        let is_headed = layout.is_some();
        let layout = layout.unwrap_or(Layout::V2);
        let mut segment = Segment { path, first, layout, file, is_headed, offsets };
        if !is_headed && !segment.starts_well()? {
            segment.layout = Layout::V1;
            if !segment.starts_well()? {
                segment.layout = Layout::V2;
            }
        }
        Ok(segment)
    }

    /// Whether the frame behind the header is whole.
    fn starts_well(&self) -> Result<bool, DiskError> {
        match self.whole_at(HEADER_BYTES) {
            Ok(found) => Ok(found.is_some()),
            Err(ReadError::Damage(_)) => Ok(false),
            Err(ReadError::Disk(error)) => Err(error),
        }
    }

    /// Remembers where the next frame is; `None` for one that is lost.
    pub(super) fn push_offset(&self, offset: Option<u64>) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.push(offset.map_or(HOLE, |offset| (offset / ALIGN_BYTES) as u32));
    }

    /// Where a record is; `None` for one that is lost or was not found yet.
    pub(super) fn offset(&self, lsn: Lsn) -> Option<u64> {
        let at = usize::try_from(lsn.0.checked_sub(self.first.0)?).ok()?;
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let units = offsets.get(at).copied().filter(|units| *units != HOLE);
        units.map(|units| u64::from(units) * ALIGN_BYTES)
    }

    /// Reads the head at an offset; `None` at the end.
    pub(super) fn head_at(&self, offset: u64) -> Result<Option<Found>, ReadError> {
        let mut bytes = [0; HEAD_BYTES_MAX];
        let wanted = bytes.get_mut(..self.layout.head_bytes()).unwrap_or_default();
        let read = read_around(self.file.as_ref(), wanted, offset).map_err(ReadError::Disk)?;
        let read = bytes.get(..read).unwrap_or_default();
        let head = FrameHead::parse(self.layout, read).map_err(ReadError::Damage)?;
        Ok(head.map(|head| Found { head, bytes }))
    }

    /// Reads and checks the payload that follows a head.
    pub(super) fn payload(&self, offset: u64, found: &Found) -> Result<Vec<u8>, ReadError> {
        let mut payload = vec![0; found.head.payload_bytes as usize];
        let at = offset + self.layout.head_bytes() as u64;
        let read = read_around(self.file.as_ref(), &mut payload, at).map_err(ReadError::Disk)?;
        if read < payload.len() {
            return Err(ReadError::Damage(Damage::Length));
        }
        found.head.check(&found.bytes, &payload).map_err(ReadError::Damage)?;
        Ok(payload)
    }

    /// A frame whose head and payload are as they were written.
    pub(super) fn whole_at(&self, offset: u64) -> Result<Option<FrameHead>, ReadError> {
        let Some(found) = self.head_at(offset)? else { return Ok(None) };
        self.payload(offset, &found)?;
        Ok(Some(found.head))
    }

    /// What stands there is not what is due.
    pub(super) fn damaged(&self, lsn: Lsn, offset: u64, damage: Damage) -> Error {
        Error::Damaged { segment: self.path.clone(), lsn, offset, damage }
    }
}

/// Why a frame cannot be read.
pub(super) enum ReadError {
    Disk(DiskError),
    Damage(Damage),
}

impl ReadError {
    /// Names the place.
    pub(super) fn at(self, segment: &Segment, lsn: Lsn, offset: u64) -> Error {
        match self {
            ReadError::Disk(error) => Error::Disk(error),
            ReadError::Damage(damage) => segment.damaged(lsn, offset, damage),
        }
    }
}
