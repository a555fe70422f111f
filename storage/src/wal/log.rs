//! Reading: any durable record by its number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{EventHead, Lsn, OwnedEvent};

use super::frame::BlockError;
use super::segment::Segment;
use super::{Damage, Error};

/// The readable side of a log, shared by all readers.
#[derive(Default)]
pub struct Log {
    segments: RwLock<BTreeMap<Lsn, Arc<Segment>>>,
    durable: AtomicU64,
}

impl Log {
    /// The last record that survives a crash.
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The first record that is still there.
    pub fn first(&self) -> Lsn {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.keys().next().copied().unwrap_or(Lsn(1))
    }

    /// Bytes of all segment files.
    pub fn file_bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().filter_map(|segment| segment.file.size().ok()).sum()
    }

    /// A record's small facts.
    pub fn head(&self, lsn: Lsn) -> Result<EventHead, Error> {
        let (segment, offset) = self.place(lsn)?;
        match segment.head_at(offset).map_err(|error| error.at(&segment, lsn, offset))? {
            Some((head, _)) if head.event.lsn == lsn => Ok(head.event),
            Some(_) => Err(damaged(&segment, lsn, offset, Damage::Lsn)),
            None => Err(damaged(&segment, lsn, offset, Damage::Missing)),
        }
    }

    /// Bytes of a record's frame.
    pub fn frame_bytes(&self, lsn: Lsn) -> Result<u64, Error> {
        let (segment, offset) = self.place(lsn)?;
        match segment.head_at(offset).map_err(|error| error.at(&segment, lsn, offset))? {
            Some((head, _)) => Ok(head.frame_bytes()),
            None => Err(damaged(&segment, lsn, offset, Damage::Missing)),
        }
    }

    /// A record with its block.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedEvent, Error> {
        let (segment, offset) = self.place(lsn)?;
        let found = segment.head_at(offset).map_err(|error| error.at(&segment, lsn, offset))?;
        let Some((head, bytes)) = found else {
            return Err(damaged(&segment, lsn, offset, Damage::Missing));
        };
        if head.event.lsn != lsn {
            return Err(damaged(&segment, lsn, offset, Damage::Lsn));
        }
        let payload = segment
            .payload(offset, &head, &bytes)
            .map_err(|error| error.at(&segment, lsn, offset))?;
        let block = head.block(&payload).map_err(|error| match error {
            BlockError::Compression => damaged(&segment, lsn, offset, Damage::Compression),
            BlockError::Decode(source) => Error::Decode { lsn, source },
        })?;
        Ok(OwnedEvent { head: head.event, block })
    }

    fn place(&self, lsn: Lsn) -> Result<(Arc<Segment>, u64), Error> {
        let unknown = || Error::Unknown { lsn, first: self.first(), durable: self.durable() };
        // INV-4: nobody reads past what is durable.
        if lsn > self.durable() {
            return Err(unknown());
        }
        let (segment, until) = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let segment = segments.range(..=lsn).next_back().map(|(_, segment)| segment.clone());
            let after = segments.range(lsn.next()..).next().map(|(first, _)| *first);
            (segment.ok_or_else(unknown)?, after.unwrap_or_else(|| self.durable().next()))
        };
        if segment.offset(lsn).is_none() {
            segment.find_frames(until)?;
        }
        let offset = segment.offset(lsn).ok_or_else(unknown)?;
        Ok((segment, offset))
    }

    pub(super) fn add(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment.first, segment);
    }

    pub(super) fn set_durable(&self, lsn: Lsn) {
        debug_assert!(lsn >= self.durable(), "what is durable stays durable");
        self.durable.store(lsn.0, Ordering::Release);
    }
}

fn damaged(segment: &Segment, lsn: Lsn, offset: u64, damage: Damage) -> Error {
    Error::Damaged { segment: segment.path.clone(), lsn, offset, damage }
}
