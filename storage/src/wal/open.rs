//! Opening a log after any end of the last process: the torn tail goes, nothing else.

use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, Mode};
use crate::model::Lsn;

use super::segment::{HEADER_BYTES, Segment, Tail, parse_name};
use super::{Damage, Error, Log, Options, Writer};

/// Opens the log in `folder`. `acknowledged` is the highest record that anybody was told of:
/// a log that ends before it is damaged, not torn.
pub fn open(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    chain_id: u64,
    options: Options,
    acknowledged: Lsn,
) -> Result<Writer, Error> {
    disk.create_folder(folder)?;
    let names = disk.list(folder)?;
    let mut firsts: Vec<Lsn> = names.iter().filter_map(|name| parse_name(name)).collect();
    drop_unborn(disk.as_ref(), folder, chain_id, &mut firsts, acknowledged)?;
    let log = Arc::new(Log::default());
    let mut writer = Writer {
        disk: disk.clone(),
        folder: folder.to_owned(),
        chain_id,
        options,
        log: log.clone(),
        segment: None,
        end: 0,
        next: Lsn(1),
    };
    let last = firsts.pop();
    for first in firsts {
        log.add(Arc::new(Segment::open(disk.as_ref(), folder, chain_id, first, Mode::Read)?));
    }
    let Some(first) = last else { return expect(writer, acknowledged) };
    let segment = Segment::open(disk.as_ref(), folder, chain_id, first, Mode::Write)?;
    let tail = segment.walk(|_, offset| segment.push_offset(offset))?;
    cut_torn_tail(&segment, &tail, acknowledged)?;
    (writer.end, writer.next) = (tail.end, tail.next);
    log.set_durable(Lsn(tail.next.0 - 1));
    let segment = Arc::new(segment);
    log.add(segment.clone());
    writer.segment = Some(segment);
    expect(writer, acknowledged)
}

/// A crash while a segment was made leaves a name without a header: it holds nothing yet.
fn drop_unborn(
    disk: &dyn Disk,
    folder: &Path,
    chain_id: u64,
    firsts: &mut Vec<Lsn>,
    acknowledged: Lsn,
) -> Result<(), Error> {
    let Some(last) = firsts.last().copied().filter(|last| *last > acknowledged) else {
        return Ok(());
    };
    match Segment::open(disk, folder, chain_id, last, Mode::Read) {
        Err(Error::Damaged { segment, damage: Damage::Header, .. }) => {
            disk.remove(&segment)?;
            disk.sync_folder(folder)?;
            firsts.pop();
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Erases what a crash left behind the last whole frame, so that it can never be taken for the
/// continuation of a later one. Damage before something that was durable is no torn tail.
fn cut_torn_tail(segment: &Segment, tail: &Tail, acknowledged: Lsn) -> Result<(), Error> {
    if let Some(damage) = tail.damage {
        let durable = segment.durable_behind(tail)?.max(tail.durable).max(acknowledged);
        if durable >= tail.next {
            let (segment, lsn) = (segment.path.clone(), tail.next);
            return Err(Error::Damaged { segment, lsn, offset: tail.end, damage });
        }
    }
    if is_clean(segment, tail)? {
        return Ok(());
    }
    tracing::info!(
        segment = %segment.path.display(), lsn = tail.next.0, offset = tail.end,
        "cut the torn tail of the log"
    );
    let size = segment.file.size()?.max(HEADER_BYTES);
    segment.file.resize(tail.end)?;
    segment.file.resize(size)?;
    segment.file.sync()?;
    Ok(())
}

/// Whether nothing but zeros follows the last whole frame.
fn is_clean(segment: &Segment, tail: &Tail) -> Result<bool, Error> {
    let mut buffer = vec![0; 1 << 16];
    let mut at = tail.end;
    loop {
        let read = segment.file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += read as u64;
    }
}

fn expect(writer: Writer, acknowledged: Lsn) -> Result<Writer, Error> {
    if writer.log.durable() >= acknowledged {
        return Ok(writer);
    }
    let segment = match &writer.segment {
        Some(segment) => segment.path.clone(),
        None => writer.folder.clone(),
    };
    let (lsn, damage) = (writer.next, Damage::Missing);
    Err(Error::Damaged { segment, lsn, offset: writer.end, damage })
}
