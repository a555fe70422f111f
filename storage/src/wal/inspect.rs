//! What the files of a log say of themselves, without opening the log.

use std::path::Path;

use crate::disk::{Disk, DiskError, Mode, read_around};

use super::layout::{HEADER_BYTES, Header, SegmentName, read_header};

/// No chain has this id (EIP-2294 ends far below).
const NO_CHAIN: u64 = u64::MAX;

/// A file of a log, and the chain that it says it is of; none when its header is damaged.
pub fn chain_ids(disk: &dyn Disk, folder: &Path) -> Result<Vec<(String, Option<u64>)>, DiskError> {
    let mut found = Vec::new();
    for name in disk.list(folder)? {
        let Some(segment) = SegmentName::parse(&name) else { continue };
        let file = disk.open(&folder.join(&name), Mode::Read)?;
        let mut bytes = vec![0; HEADER_BYTES as usize];
        let read = read_around(file.as_ref(), &mut bytes, 0)?;
        bytes.truncate(read);
        let chain_id = match read_header(&bytes, NO_CHAIN, segment.first) {
            Header::Foreign { chain_id } => Some(chain_id),
            Header::Good { .. } | Header::Newer { .. } | Header::Damaged => None,
        };
        found.push((name, chain_id));
    }
    Ok(found)
}
