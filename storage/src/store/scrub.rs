//! Scrubbing: everything on disk is read again now and then, so that damage is found while it
//! can be mended.

use crate::disk;
use crate::ledger::Part;
use crate::model::{Lsn, Op};
use crate::wal;

use super::{Chain, StoreError};

/// How far a round of scrubbing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubPosition {
    /// The last part that was read.
    part: Option<String>,
    /// The last record that was read, after all parts.
    lsn: Lsn,
    /// Rounds that were finished.
    pub rounds: u64,
}

impl Chain {
    /// Reads parts, then the log, up to about `bytes_max`; damage is set aside. A round that
    /// came to its end begins anew.
    pub fn scrub_some(
        &self,
        position: &mut ScrubPosition,
        bytes_max: u64,
    ) -> Result<(), StoreError> {
        let mut bytes = 0;
        while bytes < bytes_max {
            if position.lsn == Lsn::ZERO
                && let Some(part) = self.part_after(position.part.as_deref())
            {
                bytes += part.file_bytes;
                self.scrub_part(&part)?;
                position.part = Some(part.path);
                continue;
            }
            position.lsn = position.lsn.next().max(self.log.first());
            if position.lsn > self.log.durable() {
                *position = ScrubPosition { rounds: position.rounds + 1, ..Default::default() };
                break;
            }
            bytes += self.scrub_record(position.lsn)?;
        }
        self.note_holes()
    }

    fn part_after(&self, path: Option<&str>) -> Option<Part> {
        self.with_state(|state| {
            let later = state.parts().iter().filter(|p| path.is_none_or(|path| &*p.path > path));
            later.min_by(|a, b| a.path.cmp(&b.path)).cloned()
        })
    }

    /// Compares a part with the checksum that it had when it was sealed.
    pub(super) fn scrub_part(&self, part: &Part) -> Result<(), StoreError> {
        let crc32c = match disk::checksum(self.disk.as_ref(), &self.data_dir.join(&part.path)) {
            Ok((_, crc32c)) => Some(crc32c),
            Err(error) if error.is_missing() => None,
            Err(error) if error.is_unreadable() => {
                return self.set_part_aside(part, &crate::store::error_text(&error));
            }
            Err(error) => return Err(error.into()),
        };
        if crc32c == Some(part.crc32c) {
            return Ok(());
        }
        self.set_part_aside(part, "its checksum is not the one that it was sealed with")
    }

    /// Reads a record as a reader would, which sets damage aside.
    fn scrub_record(&self, lsn: Lsn) -> Result<u64, StoreError> {
        let head = match self.log.head(lsn) {
            Ok(head) => head,
            Err(wal::Error::Lost { .. } | wal::Error::Damaged { .. }) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        if head.op == Op::Applied
            && let Err(error) = self.log.read(lsn)
        {
            self.found_damage(&head, error)?;
        }
        Ok(self.log.weight(lsn)?)
    }
}
