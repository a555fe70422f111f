//! `chain_events`: one row per event of the log, in its order.

use arrow::array::RecordBatch;

use super::columns::Columns;
use super::read::{ReadError, Row, rows_of};
use super::value::Time;
use crate::model::{BlockRef, EventHead, Lane, Lsn, Op, Origin, Verified, seconds_of};

/// The rows of `chain_events`.
pub fn rows(events: &[EventHead]) -> RecordBatch {
    let mut columns = Columns::new(events.len());
    columns.add("lsn", events.iter().map(|e| e.lsn.0));
    columns.add("op", events.iter().map(|e| e.op.as_str()));
    columns.add("lane", events.iter().map(|e| e.lane.as_str()));
    columns.add("block_number", events.iter().map(|e| e.block.number));
    columns.add("block_hash", events.iter().map(|e| e.block.hash));
    columns.add("parent_hash", events.iter().map(|e| e.parent_hash));
    columns.add("block_timestamp", events.iter().map(|e| Time(e.timestamp)));
    columns.add("verified", events.iter().map(|e| Some(e.verified.to_string())));
    columns.batch()
}

/// The events of rows; where they came from is not among them.
pub fn read_events(rows: &RecordBatch) -> Result<Vec<EventHead>, ReadError> {
    rows_of(rows).map(|row| event(&row)).collect()
}

fn event(row: &Row<'_>) -> Result<EventHead, ReadError> {
    let text = |name| -> Result<String, ReadError> {
        Ok(row.required::<Option<String>>(name)?.unwrap_or_default())
    };
    let (op, lane) = (text("op")?, text("lane")?);
    let op = [Op::Applied, Op::Reverted, Op::Finalized].into_iter().find(|o| o.as_str() == op);
    let lane = [Lane::Live, Lane::Backfill].into_iter().find(|l| l.as_str() == lane);
    Ok(EventHead {
        lsn: Lsn(row.required("lsn")?),
        op: op.ok_or_else(|| row.missing("op"))?,
        lane: lane.ok_or_else(|| row.missing("lane"))?,
        block: BlockRef {
            number: row.required("block_number")?,
            hash: row.required("block_hash")?,
        },
        parent_hash: row.required("parent_hash")?,
        // Earlier versions took every number for seconds.
        timestamp: seconds_of(row.required::<Time>("block_timestamp")?.0),
        verified: Verified::parse(&text("verified")?),
        origin: Origin::default(),
    })
}
