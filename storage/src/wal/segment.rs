//! One file of the log: its name, its header, and where its frames are.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::disk::{Disk, DiskError, File, Mode};
use crate::model::Lsn;

use super::frame::{ALIGN_BYTES, FrameHead, HEAD_BYTES};
use super::{Damage, Error};

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"HEADWAL\n";
const VERSION: u32 = 1;
const SUFFIX: &str = ".wal";

/// The name of the segment that starts with a record.
pub(super) fn file_name(first: Lsn) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// The first record of a segment by its name.
pub(super) fn parse_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Lsn))?
}

/// An open segment.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Lsn,
    pub(super) file: Box<dyn File>,
    /// Offsets of the frames found so far, in units of the alignment.
    offsets: Mutex<Vec<u32>>,
}

/// Where a look through a segment ended.
pub(super) struct Tail {
    /// Offset after the last good frame.
    pub(super) end: u64,
    /// The record due there.
    pub(super) next: Lsn,
    /// The highest record that any good frame calls durable.
    pub(super) durable: Lsn,
    /// What stands there, when it is not the end.
    pub(super) damage: Option<Damage>,
}

fn header(chain_id: u64, first: Lsn) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&chain_id.to_le_bytes());
    bytes.extend_from_slice(&first.0.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.resize(HEADER_BYTES as usize, 0);
    bytes
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
        let path = folder.join(file_name(first));
        let file = disk.open(&path, Mode::Create)?;
        file.resize(bytes)?;
        file.write_at(&header(chain_id, first), 0)?;
        file.sync()?;
        disk.sync_folder(folder)?;
        Ok(Segment { path, first, file, offsets: Mutex::default() })
    }

    /// Opens an existing segment and checks its header.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        chain_id: u64,
        first: Lsn,
        mode: Mode,
    ) -> Result<Segment, Error> {
        let path = folder.join(file_name(first));
        let file = disk.open(&path, mode)?;
        let mut found = vec![0; HEADER_BYTES as usize];
        let read = file.read_at(&mut found, 0)?;
        let word = |at: usize| found.get(at..at + 4).and_then(|b| b.first_chunk::<4>().copied());
        let version = u32::from_le_bytes(word(8).unwrap_or_default());
        let chain = found.get(12..20).and_then(|b| b.first_chunk::<8>().copied());
        let chain = u64::from_le_bytes(chain.unwrap_or_default());
        let is_whole = read == found.len() && found.starts_with(MAGIC);
        if is_whole && version > VERSION {
            return Err(Error::Version { segment: path, version });
        }
        if is_whole && found == header(chain, first) && chain != chain_id {
            return Err(Error::ForeignChain { segment: path, found: chain, expected: chain_id });
        }
        if found != header(chain_id, first) {
            let (segment, damage) = (path, Damage::Header);
            return Err(Error::Damaged { segment, lsn: first, offset: 0, damage });
        }
        Ok(Segment { path, first, file, offsets: Mutex::default() })
    }

    /// Remembers where the next frame is.
    pub(super) fn push_offset(&self, offset: u64) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.push((offset / ALIGN_BYTES) as u32);
    }

    /// Where a record is, if it was found already.
    pub(super) fn offset(&self, lsn: Lsn) -> Option<u64> {
        let at = usize::try_from(lsn.0.checked_sub(self.first.0)?).ok()?;
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(at).map(|units| u64::from(*units) * ALIGN_BYTES)
    }

    /// Walks the heads from the start, which finds every frame without reading payloads.
    pub(super) fn find_frames(&self, until: Lsn) -> Result<(), Error> {
        let mut found = Vec::new();
        let (mut at, mut lsn) = (HEADER_BYTES, self.first);
        while lsn < until {
            let Some((head, _)) = self.head_at(at).map_err(|e| e.at(self, lsn, at))? else { break };
            found.push((at / ALIGN_BYTES) as u32);
            at += head.frame_bytes();
            lsn = lsn.next();
        }
        *self.offsets.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Reads the head at an offset; `None` at the end.
    pub(super) fn head_at(
        &self,
        offset: u64,
    ) -> Result<Option<(FrameHead, [u8; HEAD_BYTES])>, ReadError> {
        let mut bytes = [0; HEAD_BYTES];
        self.file.read_at(&mut bytes, offset).map_err(ReadError::Disk)?;
        let head = FrameHead::parse(&bytes).map_err(ReadError::Damage)?;
        Ok(head.map(|head| (head, bytes)))
    }

    /// Reads and checks the payload that follows a head.
    pub(super) fn payload(
        &self,
        offset: u64,
        head: &FrameHead,
        head_bytes: &[u8; HEAD_BYTES],
    ) -> Result<Vec<u8>, ReadError> {
        let mut payload = vec![0; head.payload_bytes as usize];
        let at = offset + HEAD_BYTES as u64;
        let read = self.file.read_at(&mut payload, at).map_err(ReadError::Disk)?;
        if read < payload.len() {
            return Err(ReadError::Damage(Damage::Length));
        }
        head.check(head_bytes, &payload).map_err(ReadError::Damage)?;
        Ok(payload)
    }

    /// Checks every frame up to the first that is not whole.
    pub(super) fn walk(&self, mut seen: impl FnMut(&FrameHead, u64)) -> Result<Tail, DiskError> {
        let mut tail =
            Tail { end: HEADER_BYTES, next: self.first, durable: Lsn::ZERO, damage: None };
        loop {
            let checked = self.head_at(tail.end).and_then(|found| {
                let Some((head, bytes)) = found else { return Ok(None) };
                if head.event.lsn != tail.next {
                    return Err(ReadError::Damage(Damage::Lsn));
                }
                self.payload(tail.end, &head, &bytes)?;
                Ok(Some(head))
            });
            match checked {
                Ok(Some(head)) => {
                    seen(&head, tail.end);
                    tail.durable = tail.durable.max(head.durable);
                    tail.end += head.frame_bytes();
                    tail.next = tail.next.next();
                }
                Ok(None) => return Ok(tail),
                Err(ReadError::Disk(error)) => return Err(error),
                Err(ReadError::Damage(damage)) => {
                    tail.damage = Some(damage);
                    return Ok(tail);
                }
            }
        }
    }

    /// Looks behind a bad place for whole frames of later records: the highest record that one
    /// of them calls durable. A torn tail has none that reaches the bad place.
    pub(super) fn durable_behind(&self, tail: &Tail) -> Result<Lsn, DiskError> {
        let size = self.file.size()?;
        let mut durable = Lsn::ZERO;
        let mut at = tail.end + ALIGN_BYTES;
        while at + HEAD_BYTES as u64 <= size {
            let found = match self.head_at(at) {
                Ok(Some((head, bytes))) if head.event.lsn > tail.next => {
                    self.payload(at, &head, &bytes).is_ok().then_some(head)
                }
                Ok(_) | Err(ReadError::Damage(_)) => None,
                Err(ReadError::Disk(error)) => return Err(error),
            };
            at += found.as_ref().map_or(ALIGN_BYTES, FrameHead::frame_bytes);
            durable = durable.max(found.map_or(Lsn::ZERO, |head| head.durable));
        }
        Ok(durable)
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
            ReadError::Damage(damage) => {
                Error::Damaged { segment: segment.path.clone(), lsn, offset, damage }
            }
        }
    }
}
