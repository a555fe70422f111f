//! Sends rows: those of one partition together, many requests in flight.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use crate::width::Width;

use super::encode::BoundRow;
use super::failure::Failure;

/// Rows and bytes of a request; one of a single partition is under no limit of the server's but
/// that of a frame.
const ROWS_MAX: usize = 200;
const BYTES_MAX: usize = 100 << 10;
/// What is too much for the cluster is asked again so many times, 0.1 s doubling apart.
const BUSY_TIMES_MAX: u32 = 3;
const BUSY_FIRST: Duration = Duration::from_millis(100);

/// What went wrong, and with which row.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) failure: Failure,
    /// The row that is refused, where it is one.
    pub(super) row: Option<usize>,
}

/// Where rows go, and how many requests at once.
pub(super) struct RowWriter<'a> {
    pub(super) session: &'a Session,
    /// By layout.
    pub(super) inserts: &'a [PreparedStatement],
    /// Requests in flight.
    pub(super) width: &'a Width,
    pub(super) name: &'a str,
}

impl RowWriter<'_> {
    /// Writes sorted rows; on an error some may be written.
    pub(super) async fn write(&self, rows: &[BoundRow]) -> Result<(), Unwritten> {
        let mut waiting = pieces(rows).into_iter();
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < self.width.now() {
                let Some(piece) = waiting.next() else { break };
                flying.push(self.write_patiently(piece));
            }
            match flying.next().await {
                Some(written) => written?,
                None => return Ok(()),
            }
        }
    }

    /// Writes rows of one partition; waits while that is too much for the cluster.
    async fn write_patiently(&self, piece: &[BoundRow]) -> Result<(), Unwritten> {
        let mut busy = 0;
        loop {
            let round = self.width.sent();
            let written = self.write_piece(piece).await;
            match &written {
                Ok(()) => self.width.took(round),
                Err(Unwritten { failure: Failure::Busy(reason), .. }) => {
                    self.width.too_much(round, self.name, reason);
                    if busy < BUSY_TIMES_MAX {
                        tokio::time::sleep(BUSY_FIRST.saturating_mul(1 << busy)).await;
                        busy += 1;
                        continue;
                    }
                }
                // What a replica took before may be gone too: that is the runner's to send again.
                Err(Unwritten { failure: Failure::Late(reason), .. }) => {
                    self.width.too_much(round, self.name, reason);
                }
                Err(_) => {}
            }
            return written;
        }
    }

    async fn write_piece(&self, piece: &[BoundRow]) -> Result<(), Unwritten> {
        if let [row] = piece {
            return self.write_row(row).await;
        }
        let Some(insert) = piece.first().and_then(|row| self.inserts.get(row.layout)) else {
            return Ok(());
        };
        let mut batch = Batch::new(BatchType::Unlogged);
        for _ in piece {
            batch.append_statement(insert.clone());
        }
        batch.set_is_idempotent(true);
        let failure = match self.session.batch(&batch, piece).await {
            Ok(_) => return Ok(()),
            Err(error) => Failure::from(error),
        };
        if !matches!(failure, Failure::Invalid(_)) {
            return Err(Unwritten { failure, row: None });
        }
        // One of them is refused: one by one says which.
        for row in piece {
            self.write_row(row).await?;
        }
        Ok(())
    }

    async fn write_row(&self, row: &BoundRow) -> Result<(), Unwritten> {
        let Some(insert) = self.inserts.get(row.layout) else { return Ok(()) };
        match self.session.execute_unpaged(insert, row).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = Failure::from(error);
                let is_refused = matches!(failure, Failure::Invalid(_));
                Err(Unwritten { failure, row: is_refused.then_some(row.row) })
            }
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
