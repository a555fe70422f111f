//! Where a batch ends: a pure function of the log and of the position in it (INV-7).

use headwater_storage::model::Lsn;

/// Batches never cross a multiple of this.
const GRID_RECORDS: u64 = 64;
/// Bytes of frames in a batch, unless a single one is larger.
const BYTES_MAX: u64 = 1 << 20;

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
    let grid_end = (first.0 / GRID_RECORDS + 1) * GRID_RECORDS - 1;
    let mut bytes = 0;
    let mut last = first;
    for lsn in first.0..=grid_end.min(durable.0) {
        bytes += frame_bytes(Lsn(lsn))?;
        if bytes > BYTES_MAX && lsn > first.0 {
            break;
        }
        last = Lsn(lsn);
    }
    Ok(Some(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_at(exported: u64, intent: Option<u64>, durable: u64, frame: u64) -> Option<u64> {
        let intent = intent.map(Lsn);
        let position = Position { exported: Lsn(exported), intent, durable: Lsn(durable) };
        let last: Result<Option<Lsn>, ()> = cut(position, |_| Ok(frame));
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
