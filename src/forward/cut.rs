//! Where a batch ends: a pure function of the log and of the position in it (INV-7).

use headwater_exporters::BatchSize;
use headwater_storage::model::Lsn;

/// Where an exporter stands.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The sink holds everything up to here.
    pub exported: Lsn,
    /// A batch up to here was being sent when the process ended: the same is sent again.
    pub intent: Option<Lsn>,
    /// Nothing later may be read (INV-4).
    pub durable: Lsn,
}

/// The last record of the next batch; `None` when everything is exported.
pub fn cut<E>(
    position: Position,
    size: BatchSize,
    frame_bytes: impl Fn(Lsn) -> Result<u64, E>,
) -> Result<Option<Lsn>, E> {
    let Position { exported, intent, durable } = position;
    if exported >= durable {
        return Ok(None);
    }
    if let Some(intent) = intent.filter(|last| *last > exported && *last <= durable) {
        return Ok(Some(intent));
    }
    let first = exported.next();
    let grid_end = (first.0 / size.records + 1) * size.records - 1;
    let mut bytes = 0;
    let mut last = first;
    for lsn in first.0..=grid_end.min(durable.0) {
        bytes += frame_bytes(Lsn(lsn))?;
        if bytes > size.bytes && lsn > first.0 {
            break;
        }
        last = Lsn(lsn);
    }
    Ok(Some(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BatchSize = BatchSize { records: 64, bytes: 1 << 20 };

    fn cut_at(exported: u64, intent: Option<u64>, durable: u64, frame: u64) -> Option<u64> {
        let intent = intent.map(Lsn);
        let position = Position { exported: Lsn(exported), intent, durable: Lsn(durable) };
        let last: Result<Option<Lsn>, ()> = cut(position, SIZE, |_| Ok(frame));
        last.unwrap().map(|lsn| lsn.0)
    }

    #[test]
    fn batches_end_at_the_grid_the_bytes_the_intent_or_the_end() {
        assert_eq!(cut_at(0, None, 0, 1), None);
        assert_eq!(cut_at(0, None, 10, 1), Some(10));
        assert_eq!(cut_at(0, None, 1000, 1), Some(63));
        assert_eq!(cut_at(63, None, 1000, 1), Some(127));
        assert_eq!(cut_at(70, None, 1000, 1), Some(127));
        assert_eq!(cut_at(0, None, 1000, 256 << 10), Some(4));
        assert_eq!(cut_at(0, None, 1000, 9 << 20), Some(1));
        assert_eq!(cut_at(5, Some(9), 1000, 1), Some(9));
        assert_eq!(cut_at(9, Some(9), 1000, 1), Some(63));
        assert_eq!(cut_at(5, Some(9), 8, 1), Some(8));
    }
}
