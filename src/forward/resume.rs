//! Where an exporter goes on: what the sink says of itself against what the ledger says.

use headwater_exporters::Mark;
use headwater_storage::ledger::Cursor;
use headwater_storage::model::Lsn;
use headwater_storage::store::{Chain, StoreError};
use headwater_storage::wal;

/// What became of a sink's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It says nothing else than the ledger, or nothing that counts.
    AsTheLedgerSays(Cursor),
    /// The sink is right: rows and mark are one transaction there.
    AsTheSinkSays(Cursor),
    /// It is of another log than this one, which the sink does not know yet.
    OfAnotherLog(Cursor),
}

/// Weighs a sink's mark; `is_ours` says whether this log has that event in that record.
pub fn resume(cursor: Cursor, mark: &Mark, is_ours: bool) -> Resumed {
    if mark.generation < cursor.generation {
        // The ledger went back on purpose since.
        return Resumed::AsTheLedgerSays(cursor);
    }
    if !is_ours {
        return Resumed::OfAnotherLog(Cursor { generation: mark.generation + 1, ..cursor });
    }
    let told = Cursor { exported: mark.lsn, intent: None, generation: mark.generation, ..cursor };
    if told.exported == cursor.exported && told.generation == cursor.generation {
        return Resumed::AsTheLedgerSays(cursor);
    }
    Resumed::AsTheSinkSays(told)
}

/// The mark behind a record of the log; it names no event where damage took it.
pub(super) fn mark_at(chain: &Chain, lsn: Lsn, generation: u64) -> Result<Mark, StoreError> {
    match chain.head(lsn) {
        Ok(head) => Ok(Mark::of(&head, generation)),
        Err(StoreError::Log(
            wal::Error::Lost { .. } | wal::Error::Damaged { .. } | wal::Error::Unknown { .. },
        )) => Ok(Mark { lsn, generation, event: String::new() }),
        Err(error) => Err(error),
    }
}

/// Whether this log has a mark's event in its record.
pub(super) fn is_ours(chain: &Chain, mark: &Mark) -> Result<bool, StoreError> {
    if mark.lsn > chain.log().durable() {
        return Ok(false);
    }
    let here = mark_at(chain, mark.lsn, mark.generation)?;
    Ok(here.event.is_empty() || mark.event.is_empty() || here.event == mark.event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sink_is_right_but_after_a_rewind_and_about_another_log() {
        let cursor = |exported, generation| Cursor {
            exported: Lsn(exported),
            intent: Some(Lsn(exported + 5)),
            generation,
            is_paused: false,
        };
        let mark = |lsn, generation| Mark { lsn: Lsn(lsn), generation, event: String::new() };
        let told = |lsn, generation| {
            let cursor = Cursor { intent: None, ..cursor(lsn, generation) };
            Resumed::AsTheSinkSays(cursor)
        };
        let here = cursor(10, 1);
        let same = Resumed::AsTheLedgerSays(here);
        assert_eq!(resume(here, &mark(10, 1), true), same);
        assert_eq!(resume(here, &mark(15, 1), true), told(15, 1), "it had committed");
        assert_eq!(resume(here, &mark(5, 1), true), told(5, 1), "the ledger was ahead of it");
        assert_eq!(resume(here, &mark(90, 0), true), same, "it was rewound since");
        assert_eq!(resume(here, &mark(90, 0), false), same);
        assert_eq!(resume(here, &mark(90, 3), true), told(90, 3), "the ledger was lost");
        let other = Resumed::OfAnotherLog(Cursor { generation: 2, ..here });
        assert_eq!(resume(here, &mark(90, 1), false), other);
    }
}
