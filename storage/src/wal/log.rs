//! Reading: any durable record by its number.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::disk::{Disk, Mode};
use crate::model::{EventHead, Lsn, OwnedEvent};

use super::frame::BlockError;
use super::layout::SegmentName;
use super::scan::Hole;
use super::segment::{Found, Segment};
use super::{Damage, Error};

/// Segments that are held open at most, beside the one that is written: so many file handles,
/// and four bytes for each of their records.
const OPEN_MAX: usize = 16;
/// Holes that are remembered until they are taken.
const HOLES_MAX: usize = 1_024;

/// Where a log lies.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) chain_id: u64,
}

/// A segment's file, open while it is used.
pub(super) struct Slot {
    pub(super) file_bytes: u64,
    pub(super) is_trimmed: bool,
    pub(super) segment: Option<Arc<Segment>>,
}

/// What is known of a segment without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its first record.
    pub first: Lsn,
    /// Its last record; `None` for the segment that is written.
    pub last: Option<Lsn>,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Whether payloads that parts hold were forgotten.
    pub is_trimmed: bool,
}

/// The readable side of a log, shared by all readers.
pub struct Log {
    pub(super) place: Place,
    pub(super) slots: RwLock<BTreeMap<Lsn, Slot>>,
    opened: Mutex<VecDeque<Lsn>>,
    holes: Mutex<Vec<Hole>>,
    durable: AtomicU64,
}

impl Log {
    pub(super) fn new(place: Place) -> Log {
        Log {
            place,
            slots: RwLock::default(),
            opened: Mutex::default(),
            holes: Mutex::default(),
            durable: AtomicU64::new(0),
        }
    }

    /// The last record that survives a crash.
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The first record that is still there.
    pub fn first(&self) -> Lsn {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.keys().next().copied().unwrap_or_else(|| self.durable().next())
    }

    /// Notes that records from `due` on are gone with their files: the first of the log, or all.
    pub(crate) fn note_missing(&self, due: Lsn) {
        let first = self.first();
        if due < first {
            let name = SegmentName { first: due, is_trimmed: false };
            let segment = self.place.folder.join(name.file_name());
            let (last, damage) = (Lsn(first.0 - 1), Damage::Missing);
            self.found_holes(vec![Hole { first: due, last, segment, offset: 0, damage }]);
        }
    }

    /// Whether the file that is written is still where it was made.
    pub fn check_name(&self) -> Result<(), Error> {
        let last = {
            let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
            slots.last_key_value().and_then(|(_, slot)| slot.segment.clone())
        };
        match last {
            Some(segment) if !segment.file.has_name()? => {
                Err(Error::Unnamed { segment: segment.path.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Bytes of all segment files.
    pub fn file_bytes(&self) -> u64 {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| slot.file_bytes).sum()
    }

    /// The segments in order.
    pub fn segments(&self) -> Vec<SegmentFacts> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let lasts = slots.keys().skip(1).map(|next| Some(Lsn(next.0 - 1))).chain([None]);
        let facts = |((first, slot), last): ((&Lsn, &Slot), Option<Lsn>)| SegmentFacts {
            first: *first,
            last,
            file_bytes: slot.file_bytes,
            is_trimmed: slot.is_trimmed,
        };
        slots.iter().zip(lasts).map(facts).collect()
    }

    /// A record's small facts.
    pub fn head(&self, lsn: Lsn) -> Result<EventHead, Error> {
        let (_, _, found) = self.find(lsn)?;
        Ok(found.head.event)
    }

    /// What batches are cut by: the bytes of a record's frame as format 1 wrote it; none for a
    /// record that is lost (INV-7).
    pub fn weight(&self, lsn: Lsn) -> Result<u64, Error> {
        match self.find(lsn) {
            Ok((_, _, found)) => Ok(found.head.weight()),
            Err(Error::Lost { .. } | Error::Damaged { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether a record's payload is in the log, and not only in parts.
    pub fn has_payload(&self, lsn: Lsn) -> Result<bool, Error> {
        let (_, _, found) = self.find(lsn)?;
        Ok(found.head.has_payload())
    }

    /// A record with its block; `block` is empty where parts hold it.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedEvent, Error> {
        let (segment, offset, found) = self.find(lsn)?;
        let payload =
            segment.payload(offset, &found).map_err(|error| error.at(&segment, lsn, offset))?;
        let head = found.head;
        if !head.has_payload() {
            return Ok(OwnedEvent { head: head.event, block: None });
        }
        let block = head.block(payload).map_err(|error| match error {
            BlockError::Compression => segment.damaged(lsn, offset, Damage::Compression),
            BlockError::Decode(source) => Error::Decode { lsn, source },
        })?;
        Ok(OwnedEvent { head: head.event, block })
    }

    /// Damage that was found since this was asked last.
    pub fn take_holes(&self) -> Vec<Hole> {
        std::mem::take(&mut *self.holes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn find(&self, lsn: Lsn) -> Result<(Arc<Segment>, u64, Found), Error> {
        let unknown = || Error::Unknown { lsn, first: self.first(), durable: self.durable() };
        // INV-4: nobody reads past what is durable.
        if lsn > self.durable() {
            return Err(unknown());
        }
        let segment = self.segment_of(lsn)?.ok_or_else(unknown)?;
        let Some(offset) = segment.offset(lsn) else {
            return Err(Error::Lost { lsn, segment: segment.path.clone() });
        };
        match segment.head_at(offset).map_err(|error| error.at(&segment, lsn, offset))? {
            Some(found) if found.head.event.lsn == lsn => Ok((segment, offset, found)),
            Some(_) => Err(segment.damaged(lsn, offset, Damage::Lsn)),
            None => Err(segment.damaged(lsn, offset, Damage::Missing)),
        }
    }

    /// The segment that holds a record, opened and looked through when nobody did yet.
    fn segment_of(&self, lsn: Lsn) -> Result<Option<Arc<Segment>>, Error> {
        let (first, is_trimmed, until) = {
            let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
            let Some((first, slot)) = slots.range(..=lsn).next_back() else { return Ok(None) };
            if let Some(segment) = &slot.segment {
                return Ok(Some(segment.clone()));
            }
            let after = slots.range(lsn.next()..).next().map(|(first, _)| *first);
            (*first, slot.is_trimmed, after.unwrap_or_else(|| self.durable().next()))
        };
        let Place { disk, folder, chain_id } = &self.place;
        let name = SegmentName { first, is_trimmed };
        let segment = Segment::open(disk.as_ref(), folder, *chain_id, name, Mode::Read)?;
        self.found_holes(segment.scan_closed(until)?.holes);
        let segment = Arc::new(segment);
        self.keep_open(first, &segment);
        Ok(Some(segment))
    }

    fn keep_open(&self, first: Lsn, segment: &Arc<Segment>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(&first).filter(|slot| slot.segment.is_none()) {
            slot.segment = Some(segment.clone());
            opened.push_back(first);
        }
        while opened.len() > OPEN_MAX {
            let Some(oldest) = opened.pop_front() else { break };
            if let Some(slot) = slots.get_mut(&oldest) {
                slot.segment = None;
            }
        }
    }

    pub(super) fn found_holes(&self, found: Vec<Hole>) {
        let mut holes = self.holes.lock().unwrap_or_else(PoisonError::into_inner);
        for hole in found.into_iter().filter(|hole| hole.first <= hole.last) {
            if holes.len() < HOLES_MAX && !holes.contains(&hole) {
                holes.push(hole);
            }
        }
    }

    /// Adds a segment that stays open: the one that is written.
    pub(super) fn add_active(&self, segment: &Arc<Segment>, file_bytes: u64) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        // The one before is closed by the next reader that needs room.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.extend(slots.last_key_value().map(|(first, _)| *first));
        let slot = Slot { file_bytes, is_trimmed: false, segment: Some(segment.clone()) };
        slots.insert(segment.first, slot);
    }

    pub(super) fn set_durable(&self, lsn: Lsn) {
        debug_assert!(lsn >= self.durable(), "what is durable stays durable");
        self.durable.store(lsn.0, Ordering::Release);
    }
}
