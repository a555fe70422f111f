//! Sends rows: those of one partition together, many requests in flight.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::encode::BoundRow;
use super::failure::Failure;

/// Rows and bytes of a request; one of a single partition is under no limit of the server's but
/// that of a frame.
const ROWS_MAX: usize = 200;
const BYTES_MAX: usize = 100 << 10;

/// What went wrong, and with which row.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) failure: Failure,
    /// The row that is refused, where it is one.
    pub(super) row: Option<usize>,
}

/// Writes sorted rows with so many requests in flight; on an error some may be written.
pub(super) async fn write(
    session: &Session,
    inserts: &[PreparedStatement],
    rows: &[BoundRow],
    requests: usize,
) -> Result<(), Unwritten> {
    let mut waiting = pieces(rows).into_iter();
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < requests {
            let Some(piece) = waiting.next() else { break };
            flying.push(write_piece(session, inserts, piece));
        }
        match flying.next().await {
            Some(written) => written?,
            None => return Ok(()),
        }
    }
}

/// The rows as requests: each of one partition.
fn pieces(rows: &[BoundRow]) -> Vec<&[BoundRow]> {
    let is_same =
        |a: &BoundRow, b: &BoundRow| a.layout == b.layout && a.partition() == b.partition();
    let mut pieces = Vec::new();
    for mut partition in rows.chunk_by(is_same) {
        while !partition.is_empty() {
            let mut bytes = 0;
            let fits = |row: &&BoundRow| {
                bytes += row.cells.len();
                bytes <= BYTES_MAX
            };
            let count = partition.iter().take(ROWS_MAX).take_while(fits).count().max(1);
            let (piece, rest) = partition.split_at(count.min(partition.len()));
            pieces.push(piece);
            partition = rest;
        }
    }
    pieces
}

async fn write_piece(
    session: &Session,
    inserts: &[PreparedStatement],
    piece: &[BoundRow],
) -> Result<(), Unwritten> {
    if let [row] = piece {
        return write_row(session, inserts, row).await;
    }
    let Some(insert) = piece.first().and_then(|row| inserts.get(row.layout)) else {
        return Ok(());
    };
    let mut batch = Batch::new(BatchType::Unlogged);
    for _ in piece {
        batch.append_statement(insert.clone());
    }
    batch.set_is_idempotent(true);
    let failure = match session.batch(&batch, piece).await {
        Ok(_) => return Ok(()),
        Err(error) => Failure::from(error),
    };
    if !matches!(failure, Failure::Invalid(_)) {
        return Err(Unwritten { failure, row: None });
    }
    // One of them is refused: one by one says which.
    for row in piece {
        write_row(session, inserts, row).await?;
    }
    Ok(())
}

async fn write_row(
    session: &Session,
    inserts: &[PreparedStatement],
    row: &BoundRow,
) -> Result<(), Unwritten> {
    let Some(insert) = inserts.get(row.layout) else { return Ok(()) };
    match session.execute_unpaged(insert, row).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = Failure::from(error);
            let is_refused = matches!(failure, Failure::Invalid(_));
            Err(Unwritten { failure, row: is_refused.then_some(row.row) })
        }
    }
}
