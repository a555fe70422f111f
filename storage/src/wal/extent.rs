//! The files that hold a log up to one record, for who copies it while it is written.

use crate::model::Lsn;

use super::layout::SegmentName;
use super::{Error, Log};

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name in the log's folder.
    pub name: String,
    /// The bytes that count, where others follow that are not durable yet.
    pub bytes: Option<u64>,
}

impl Log {
    /// The files that hold all records up to a durable one, and nothing behind it.
    pub fn files_upto(&self, lsn: Lsn) -> Result<Vec<LogFile>, Error> {
        let mut files = Vec::new();
        for facts in self.segments().into_iter().filter(|facts| facts.first <= lsn) {
            let name = SegmentName { first: facts.first, is_trimmed: facts.is_trimmed };
            let ends_before = facts.last.is_some_and(|last| last <= lsn);
            let bytes = if ends_before { None } else { self.end_of(lsn)? };
            files.push(LogFile { name: name.file_name(), bytes });
        }
        Ok(files)
    }

    /// Where a record ends in its file; `None` where it is damaged, and the whole file is due.
    fn end_of(&self, lsn: Lsn) -> Result<Option<u64>, Error> {
        match self.find(lsn) {
            Ok((_, offset, found)) => Ok(Some(offset + found.head.frame_bytes())),
            Err(Error::Lost { .. } | Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
