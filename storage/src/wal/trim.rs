//! Trimming: a segment forgets the payloads that parts hold, and keeps every record's small facts
//! and the payloads that nothing else has (orphaned blocks), so that nobody who comes late misses
//! a retraction (INV-8).

use std::sync::PoisonError;

use crate::disk::Mode;
use crate::model::Lsn;

use super::layout::{SegmentName, header};
use super::log::{Place, Slot};
use super::{Error, Log};

/// Bytes that are written at a time.
const CHUNK_BYTES: usize = 1 << 20;

impl Log {
    /// Rewrites a closed segment without the payloads of the records that `is_in_parts` names;
    /// gives the bytes that became free. A crash leaves the old file or the new one.
    pub fn trim(&self, first: Lsn, is_in_parts: impl Fn(Lsn) -> bool) -> Result<u64, Error> {
        let facts = self.segments().into_iter().find(|facts| facts.first == first);
        let Some((facts, last)) = facts.and_then(|facts| Some((facts, facts.last?))) else {
            return Ok(0);
        };
        let Place { disk, folder, chain_id } = &self.place;
        let name = SegmentName { first, is_trimmed: true };
        let path = folder.join(name.file_name());
        let temporary = path.with_extension("tmp");
        let file = disk.open(&temporary, Mode::Create)?;
        let mut bytes = header(*chain_id, first);
        let mut written = 0;
        for lsn in (first.0..=last.0).map(Lsn) {
            self.put_trimmed(lsn, is_in_parts(lsn), &mut bytes)?;
            if bytes.len() >= CHUNK_BYTES || lsn == last {
                file.write_at(&bytes, written)?;
                written += bytes.len() as u64;
                bytes.clear();
            }
        }
        file.sync()?;
        drop(file);
        disk.rename(&temporary, &path)?;
        disk.sync_folder(folder)?;
        {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            let slot = Slot { file_bytes: written, is_trimmed: true, segment: None };
            slots.insert(first, slot);
        }
        if !facts.is_trimmed {
            disk.remove(&folder.join(SegmentName { first, is_trimmed: false }.file_name()))?;
            disk.sync_folder(folder)?;
        }
        Ok(facts.file_bytes.saturating_sub(written))
    }

    /// Copies a record's frame. What cannot be read stays a hole, or becomes one, when parts do
    /// not hold it.
    fn put_trimmed(&self, lsn: Lsn, is_in_parts: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let (segment, offset, found) = match self.find(lsn) {
            Ok(found) => found,
            Err(Error::Lost { .. } | Error::Damaged { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if is_in_parts || !found.head.has_payload() {
            found.head.without_payload().put(&[], out);
            return Ok(());
        }
        match segment.payload(offset, &found).map_err(|error| error.at(&segment, lsn, offset)) {
            Ok(payload) => found.head.put(&payload, out),
            Err(Error::Damaged { .. }) => found.head.without_payload().put(&[], out),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Removes the segments that end before a record; gives the bytes that became free.
    pub fn drop_before(&self, lsn: Lsn) -> Result<u64, Error> {
        let is_before = |last: Option<Lsn>| last.is_some_and(|last| last < lsn);
        let mut freed = 0;
        for facts in self.segments().into_iter().filter(|facts| is_before(facts.last)) {
            let name = SegmentName { first: facts.first, is_trimmed: facts.is_trimmed };
            // Readers first: a record that is not listed is unknown, not damaged.
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&facts.first);
            self.place.disk.remove(&self.place.folder.join(name.file_name()))?;
            freed += facts.file_bytes;
        }
        if freed > 0 {
            self.place.disk.sync_folder(&self.place.folder)?;
        }
        Ok(freed)
    }
}
