//! Writing: a group of records, one write, one sync.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::model::Lsn;

use super::layout::HEADER_BYTES;
use super::log::Place;
use super::segment::Segment;
use super::{Error, Log, Options, Record};

/// Bytes of the buffer that are kept.
const BUFFER_BYTES_MAX: usize = 16 << 20;

/// The only writer of a log.
pub struct Writer {
    pub(super) options: Options,
    pub(super) log: Arc<Log>,
    /// The segment that is written; none before the first record, and after damage.
    pub(super) segment: Option<Arc<Segment>>,
    pub(super) end: u64,
    pub(super) next: Lsn,
    /// Kept between groups, so that its pages are there already.
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    /// The number that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// The readable side.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Writes a group and syncs it; when this returns, all of it survives a crash (INV-1).
    ///
    /// After an error nothing of the group counts, and the same place is written again; but after
    /// a failed sync the process must end, because the kernel may have dropped the pages.
    pub fn append(&mut self, group: &[Record]) -> Result<Option<RangeInclusive<Lsn>>, Error> {
        if self.segment.is_some() {
            self.log.check_name()?;
        }
        let first = self.next;
        let mut rest = group;
        while let Some(record) = rest.first() {
            let room = self.room()?;
            if room < record.frame_bytes() {
                self.roll(record.frame_bytes())?;
                continue;
            }
            let mut left = room;
            let fits = rest.iter().take_while(|record| {
                let fits = left >= record.frame_bytes();
                left = left.saturating_sub(record.frame_bytes());
                fits
            });
            let count = fits.count();
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            self.write(now)?;
            rest = later;
        }
        Ok((self.next > first).then(|| first..=Lsn(self.next.0 - 1)))
    }

    fn room(&self) -> Result<u64, Error> {
        match &self.segment {
            Some(segment) => Ok(segment.file.size()?.saturating_sub(self.end)),
            None => Ok(0),
        }
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let Some(segment) = self.segment.clone() else { return Ok(()) };
        let durable = self.log.durable();
        self.buffer.clear();
        let mut offsets = Vec::with_capacity(records.len());
        let mut next = self.next;
        for record in records {
            offsets.push(self.end + self.buffer.len() as u64);
            record.put(next, durable, &mut self.buffer);
            next = next.next();
        }
        segment.file.write_at(&self.buffer, self.end)?;
        segment.file.sync()?;
        for offset in offsets {
            segment.push_offset(Some(offset));
        }
        self.end += self.buffer.len() as u64;
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        self.next = next;
        self.log.set_durable(Lsn(next.0 - 1));
        Ok(())
    }

    /// Starts the next segment; the one before is synced, so only the last one can be torn.
    fn roll(&mut self, frame_bytes: u64) -> Result<(), Error> {
        let bytes = self.options.segment_bytes.max(HEADER_BYTES + frame_bytes);
        let Place { disk, folder, chain_id } = &self.log.place;
        let segment = Segment::create(disk.as_ref(), folder, *chain_id, self.next, bytes)?;
        let segment = Arc::new(segment);
        self.log.add_active(&segment, bytes);
        self.segment = Some(segment);
        self.end = HEADER_BYTES;
        Ok(())
    }
}
