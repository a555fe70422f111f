//! Opening a log after any end of the last process: the torn tail goes, nothing else.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::disk::{Disk, DiskError, Mode, read_twice};
use crate::model::Lsn;

use super::layout::{HEADER_BYTES, Layout, SegmentName};
use super::log::{Place, Slot};
use super::segment::Segment;
use super::{Error, Log, Options, Writer};

/// Opens the log in `folder`. `acknowledged` is the highest record that anybody was told of: what
/// is missing up to there is damage, not a torn tail.
pub fn open(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    chain_id: u64,
    options: Options,
    acknowledged: Lsn,
) -> Result<Writer, Error> {
    disk.create_folder(folder)?;
    let mut names = list(disk.as_ref(), folder)?;
    let place = Place { disk: disk.clone(), folder: folder.to_owned(), chain_id };
    drop_unborn(&place, &mut names, acknowledged)?;
    let log = Arc::new(Log::new(place));
    let last = names.pop();
    {
        let mut slots = log.slots.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let file_bytes = disk.open(&folder.join(name.file_name()), Mode::Read)?.size()?;
            let slot = Slot { file_bytes, is_trimmed: name.is_trimmed, segment: None };
            slots.insert(name.first, slot);
        }
    }
    let (end, next, buffer) = (0, Lsn(1), Vec::new());
    let mut writer = Writer { options, log: log.clone(), segment: None, end, next, buffer };
    let Some(name) = last else {
        // Whatever was acknowledged is gone with the files; its numbers are not given again.
        writer.next = acknowledged.next();
        log.set_durable(acknowledged);
        return Ok(writer);
    };
    let segment = Segment::open(disk.as_ref(), folder, chain_id, name, Mode::Write)?;
    if !segment.is_headed {
        tracing::warn!(segment = %segment.path.display(), "the header of a segment is damaged");
    }
    let scan = segment.scan_last(acknowledged)?;
    let ends_in_hole = scan.holes.last().is_some_and(|hole| hole.offset == scan.end);
    let mut is_sound = true;
    if scan.is_torn && !ends_in_hole {
        cut(&segment, scan.end, scan.next)?;
        is_sound = can_be_read(&segment, scan.end)?;
    }
    log.found_holes(scan.holes);
    log.set_durable(Lsn(scan.next.0 - 1));
    writer.next = scan.next;
    if !is_sound && scan.next == segment.first {
        // Nothing in it counts, and the file of the next record has its name.
        disk.remove(&segment.path)?;
        disk.sync_folder(folder)?;
        return Ok(writer);
    }
    let file_bytes = segment.file.size()?;
    let segment = Arc::new(segment);
    log.add_active(&segment, file_bytes);
    // Damage is left as it is, earlier formats are only read, and what is written to a sector that
    // the disk does not give back may be lost: the next record begins a file.
    let is_todays = segment.layout == Layout::V2 && segment.is_headed && !name.is_trimmed;
    if is_todays && !ends_in_hole && is_sound {
        (writer.segment, writer.end) = (Some(segment), scan.end);
    }
    Ok(writer)
}

/// The segments in order. A crash while one was trimmed leaves both of its files: the trimmed one
/// is whole, since it got its name when it was.
fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<SegmentName>, DiskError> {
    let names = disk.list(folder)?;
    let mut found: Vec<SegmentName> =
        names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    found.sort_unstable();
    let mut kept: Vec<SegmentName> = Vec::with_capacity(found.len());
    for name in found {
        if let Some(whole) = kept.pop_if(|before| before.first == name.first) {
            disk.remove(&folder.join(whole.file_name()))?;
        }
        kept.push(name);
    }
    for name in names.iter().filter(|name| is_temporary(name)) {
        disk.remove(&folder.join(name))?;
    }
    Ok(kept)
}

/// Whether a name is that of a file that was being written.
pub(super) fn is_temporary(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

/// A crash while a segment was made leaves a name without a header: it holds nothing yet.
fn drop_unborn(
    place: &Place,
    names: &mut Vec<SegmentName>,
    acknowledged: Lsn,
) -> Result<(), Error> {
    let last = names.last().copied();
    let Some(last) = last.filter(|last| last.first > acknowledged && !last.is_trimmed) else {
        return Ok(());
    };
    let disk = place.disk.as_ref();
    let segment = Segment::open(disk, &place.folder, place.chain_id, last, Mode::Read)?;
    let scan = segment.scan_last(acknowledged)?;
    if !segment.is_headed && scan.next == segment.first && scan.holes.is_empty() {
        disk.remove(&segment.path)?;
        disk.sync_folder(&place.folder)?;
        names.pop();
    }
    Ok(())
}

/// Whether the disk gives what is behind an offset.
fn can_be_read(segment: &Segment, offset: u64) -> Result<bool, DiskError> {
    let bytes = segment.file.size()?.saturating_sub(offset);
    let mut rest = vec![0; usize::try_from(bytes).unwrap_or(0)];
    Ok(read_twice(segment.file.as_ref(), &mut rest, offset).is_ok())
}

/// Erases what a crash left behind the last whole frame, so that it can never be taken for the
/// continuation of a later one.
fn cut(segment: &Segment, end: u64, next: Lsn) -> Result<(), Error> {
    tracing::info!(
        segment = %segment.path.display(), lsn = next.0, offset = end,
        "cut the torn tail of the log"
    );
    let size = segment.file.size()?.max(HEADER_BYTES);
    segment.file.resize(end)?;
    segment.file.resize(size)?;
    segment.file.sync()?;
    Ok(())
}
