//! Looking through a segment: every frame is found, damage is jumped over and named.

use std::path::PathBuf;

use crate::disk::{DiskError, read_around};
use crate::model::Lsn;

use super::Damage;
use super::frame::FrameHead;
use super::layout::{ALIGN_BYTES, HEADER_BYTES};
use super::segment::{ReadError, Segment};

/// Records whose frames cannot be read: nobody knows what they said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hole {
    /// The first of them.
    pub first: Lsn,
    /// The last.
    pub last: Lsn,
    /// The file.
    pub segment: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// What is wrong there.
    pub damage: Damage,
}

/// How closely frames are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Heads, which lead from one to the next.
    Heads,
    /// Payloads too.
    Whole,
}

/// How a look through a segment ended.
pub(super) struct Scan {
    /// Offset after the last good frame.
    pub(super) end: u64,
    /// The record due there.
    pub(super) next: Lsn,
    /// What could not be read before it.
    pub(super) holes: Vec<Hole>,
    /// Whether something that never counted stands behind the end.
    pub(super) is_torn: bool,
}

/// Whole frames behind a bad place: the first, and what any of them calls durable.
struct Behind {
    first: Option<(Lsn, u64)>,
    durable: Lsn,
}

impl Segment {
    /// Finds the frames of a segment that others follow: all records before `until` were durable.
    pub(super) fn scan_closed(&self, until: Lsn) -> Result<Scan, DiskError> {
        self.scan(Depth::Heads, Lsn(until.0.saturating_sub(1)))
    }

    /// Finds the frames of the last segment. What stands after its last good frame is a torn
    /// write if no frame says that it was durable, and nobody was told of it (`acknowledged`).
    pub(super) fn scan_last(&self, acknowledged: Lsn) -> Result<Scan, DiskError> {
        self.scan(Depth::Whole, acknowledged)
    }

    fn scan(&self, depth: Depth, acknowledged: Lsn) -> Result<Scan, DiskError> {
        let mut scan =
            Scan { end: HEADER_BYTES, next: self.first, holes: Vec::new(), is_torn: false };
        let mut durable = acknowledged;
        let is_due = |scan: &Scan| depth == Depth::Whole || scan.next <= acknowledged;
        while is_due(&scan) {
            let damage = match self.frame_due(&scan, depth) {
                Ok(Some(head)) => {
                    self.push_offset(Some(scan.end));
                    durable = durable.max(head.durable);
                    scan.end += head.frame_bytes();
                    scan.next = scan.next.next();
                    continue;
                }
                Ok(None) => Damage::Missing,
                Err(ReadError::Damage(damage)) => damage,
                Err(ReadError::Disk(error)) => return Err(error),
            };
            let behind = self.look_behind(scan.end, scan.next)?;
            scan.is_torn = behind.is_some();
            let durable = durable.max(behind.as_ref().map_or(Lsn::ZERO, |behind| behind.durable));
            if durable < scan.next {
                return Ok(scan);
            }
            let found = behind.and_then(|behind| behind.first);
            let (after, end) = found.unwrap_or((durable.next(), scan.end));
            for _ in scan.next.0..after.0 {
                self.push_offset(None);
            }
            let (segment, last) = (self.path.clone(), Lsn(after.0 - 1));
            let hole = Hole { first: scan.next, last, segment, offset: scan.end, damage };
            scan.holes.push(hole);
            (scan.next, scan.end) = (after, end);
            if found.is_none() {
                return Ok(scan);
            }
        }
        Ok(scan)
    }

    fn frame_due(&self, scan: &Scan, depth: Depth) -> Result<Option<FrameHead>, ReadError> {
        let Some(found) = self.head_at(scan.end)? else { return Ok(None) };
        if found.head.event.lsn != scan.next {
            return Err(ReadError::Damage(Damage::Lsn));
        }
        if depth == Depth::Whole {
            self.payload(scan.end, &found)?;
        }
        Ok(Some(found.head))
    }

    /// Looks behind a place for whole frames of later records; `None` when only zeros follow.
    fn look_behind(&self, offset: u64, due: Lsn) -> Result<Option<Behind>, DiskError> {
        let size = self.file.size()?;
        let mut rest = vec![0; usize::try_from(size.saturating_sub(offset)).unwrap_or(0)];
        let read = read_around(self.file.as_ref(), &mut rest, offset)?;
        rest.truncate(read);
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut behind = Behind { first: None, durable: Lsn::ZERO };
        let head_bytes = self.layout.head_bytes();
        // A segment holds no more records than it has room for heads.
        let lsn_max = due.0 + size / head_bytes as u64;
        let mut at = 0;
        while let Some(from) = rest.get(at..).filter(|from| from.len() >= head_bytes) {
            let lsn = from.get(8..16).and_then(|bytes| bytes.first_chunk::<8>().copied());
            let lsn = u64::from_le_bytes(lsn.unwrap_or_default());
            let is_likely = lsn > due.0 && lsn <= lsn_max;
            match is_likely.then(|| self.whole_frame(from)).flatten() {
                Some(head) => {
                    behind.first = behind.first.or(Some((head.event.lsn, offset + at as u64)));
                    behind.durable = behind.durable.max(head.durable);
                    at += head.frame_bytes() as usize;
                }
                None => at += ALIGN_BYTES as usize,
            }
        }
        Ok(Some(behind))
    }

    fn whole_frame(&self, bytes: &[u8]) -> Option<FrameHead> {
        let (head_bytes, rest) = bytes.split_at_checked(self.layout.head_bytes())?;
        let head = FrameHead::parse(self.layout, head_bytes).ok()??;
        let payload = rest.get(..head.payload_bytes as usize)?;
        head.check(head_bytes, payload).ok()?;
        Some(head)
    }
}
