//! What an operator tells an exporter to do.

use std::collections::BTreeSet;

use headwater_storage::ledger::Cursor;
use headwater_storage::model::Lsn;
use headwater_storage::store::Chain;
use tokio::sync::{mpsc, oneshot};

use super::station::ForwardError;

/// Orders that wait for an exporter; more are refused.
const WAITING_MAX: usize = 8;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send nothing any more, over restarts too.
    Pause,
    /// Go on.
    Resume,
    /// Send everything behind this record again.
    Rewind(Lsn),
    /// Try rows again that were set aside: those, or all.
    Replay(Option<BTreeSet<String>>),
    /// Let rows go that were set aside: those, or all.
    Drop(Option<BTreeSet<String>>),
}

impl Order {
    /// What it means for the cursor; rows that were set aside are none of its.
    pub(super) fn turn(&self, cursor: &mut Cursor) {
        match self {
            Order::Pause => cursor.is_paused = true,
            Order::Resume => cursor.is_paused = false,
            Order::Rewind(exported) => {
                let generation = cursor.generation + 1;
                *cursor = Cursor { exported: *exported, intent: None, generation, ..*cursor };
            }
            Order::Replay(_) | Order::Drop(_) => {}
        }
    }
}

/// What became of a row that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unparked {
    /// The row.
    pub event_id: String,
    /// `sent`, `dropped`, `obsolete`: a reorg took it back since, or why it stays.
    pub outcome: String,
}

pub(super) struct Ordered {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<Vec<Unparked>, ForwardError>>,
}

/// The way to an exporter that runs.
#[derive(Clone)]
pub struct Orders(mpsc::Sender<Ordered>);

/// Where an exporter hears them.
pub struct Hearing(pub(super) mpsc::Receiver<Ordered>);

/// A way to an exporter, and its end.
pub fn orders() -> (Orders, Hearing) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Orders(sender), Hearing(receiver))
}

impl Orders {
    /// Orders, and waits until it is done; `None` when the exporter is busy or ends.
    pub async fn order(&self, order: Order) -> Option<Result<Vec<Unparked>, ForwardError>> {
        let (answer, done) = oneshot::channel();
        self.0.try_send(Ordered { order, answer }).ok()?;
        done.await.ok()
    }
}

impl Hearing {
    /// Does something until it is done, or until there is an order: then it is dropped.
    pub(super) async fn unless_ordered<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Ordered> {
        tokio::select! {
            biased;
            Some(ordered) = self.0.recv() => Err(ordered),
            value = work => Ok(value),
        }
    }
}

/// The last record before any that speaks of a block or of later ones; `None` when there is none.
pub fn before_block(chain: &Chain, number: u64) -> Option<Lsn> {
    let first = chain.with_state(|state| {
        let unsealed = state.unsealed_events().filter(|head| head.block.number >= number);
        let sealed = state.parts().iter().filter(|part| part.range.last >= number);
        unsealed.map(|head| head.lsn).chain(sealed.map(|part| part.first_lsn)).min()
    });
    first.map(|first| Lsn(first.0.saturating_sub(1)))
}
