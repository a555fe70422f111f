//! Backfills that somebody asks a running node for: one after the other, each can be paused,
//! resumed and cancelled. A restart forgets them; the same order goes on where they were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_storage::model::BlockRange;
use headwater_storage::store::{Chain, ChainState};
use tokio::sync::watch;

use crate::capture::{Asked, Backfill, CaptureError, ChainStatus};
use crate::clock;
use crate::supervisor::Shutdown;

/// Orders that are remembered, the oldest that are over are forgotten first (INV-10).
const ORDERS_MAX: usize = 256;

/// How an order stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// Others are before it.
    #[default]
    Waiting,
    /// It fetches.
    Running,
    /// It waits until it is resumed.
    Paused,
    /// It has fetched what can be had.
    Done,
    /// It was given up.
    Cancelled,
}

impl BackfillState {
    fn is_over(self) -> bool {
        matches!(self, BackfillState::Done | BackfillState::Cancelled)
    }
}

/// What to do with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillOrder {
    /// Fetch nothing until it is resumed.
    Pause,
    /// Go on.
    Resume,
    /// Give it up; what it fetched stays.
    Cancel,
}

/// Why an order cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum NoBackfill {
    /// No such order.
    #[error("there is no backfill {id}: GET the list; a restart forgets them")]
    Unknown {
        /// What was asked for.
        id: u64,
    },
    /// It is over.
    #[error("backfill {id} is over: order it again")]
    Over {
        /// Which.
        id: u64,
    },
}

/// An order as the API shows it.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct BackfillView {
    /// Its number.
    pub id: u64,
    /// How it stands.
    pub state: String,
    /// What was asked for.
    pub ranges: Vec<BlockRange>,
    /// The last block that was final when it was ordered; what lies above is left to capture.
    pub last_final: Option<u64>,
    /// Final blocks that were asked for.
    pub total_blocks: u64,
    /// How many of them are durable.
    pub done_blocks: u64,
    /// Why it waits, if it does.
    pub problem: Option<String>,
    /// Seconds since 1970-01-01 UTC when it was ordered.
    pub ordered_at: u64,
}

struct Order {
    id: u64,
    asked: Asked,
    state: BackfillState,
    ordered_at: u64,
}

/// The orders of one chain.
#[derive(Default)]
pub struct Backfills {
    orders: Mutex<Vec<Order>>,
    last: AtomicUsize,
    changed: watch::Sender<u64>,
    status: Arc<ChainStatus>,
}

impl Backfills {
    /// How the one that runs stands.
    pub(super) fn status(&self) -> &Arc<ChainStatus> {
        &self.status
    }

    fn orders(&self) -> MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an order; gives its number.
    pub(super) fn add(&self, asked: Asked) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let (state, ordered_at) = (BackfillState::Waiting, clock::unix_seconds());
        let mut orders = self.orders();
        if orders.len() >= ORDERS_MAX
            && let Some(at) = orders.iter().position(|order| order.state.is_over())
        {
            orders.remove(at);
        }
        orders.push(Order { id, asked, state, ordered_at });
        drop(orders);
        self.changed.send_modify(|changes| *changes += 1);
        id
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.orders().iter().filter(|order| !order.state.is_over()).count() < ORDERS_MAX
    }

    /// Pauses, resumes or cancels.
    pub fn tell(&self, id: u64, what: BackfillOrder) -> Result<(), NoBackfill> {
        let mut orders = self.orders();
        let order = orders.iter_mut().find(|order| order.id == id);
        let order = order.ok_or(NoBackfill::Unknown { id })?;
        if order.state.is_over() {
            return Err(NoBackfill::Over { id });
        }
        order.state = match (what, order.state) {
            (BackfillOrder::Pause, _) => BackfillState::Paused,
            (BackfillOrder::Cancel, _) => BackfillState::Cancelled,
            (BackfillOrder::Resume, BackfillState::Running) => BackfillState::Running,
            (BackfillOrder::Resume, _) => BackfillState::Waiting,
        };
        drop(orders);
        self.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// All orders, the oldest first.
    pub fn views(&self, chain: &Chain) -> Vec<BackfillView> {
        let captured = chain.with_state(ChainState::captured);
        let problem = self.status.view().problem;
        let view = |order: &Order| {
            let ranges = || order.asked.final_ranges.iter();
            let total_blocks = ranges().map(BlockRange::len).fold(0, u64::saturating_add);
            let missing = ranges().flat_map(|range| captured.missing(*range));
            let missing = missing.map(|range| range.len()).fold(0, u64::saturating_add);
            let is_running = order.state == BackfillState::Running;
            BackfillView {
                id: order.id,
                state: state_text(order.state).to_owned(),
                ranges: order.asked.ranges.clone(),
                last_final: order.asked.last_final,
                total_blocks,
                done_blocks: total_blocks.saturating_sub(missing),
                problem: problem.clone().filter(|_| is_running),
                ordered_at: order.ordered_at,
            }
        };
        self.orders().iter().map(view).collect()
    }

    /// One order.
    pub fn view(&self, id: u64, chain: &Chain) -> Option<BackfillView> {
        self.views(chain).into_iter().find(|view| view.id == id)
    }

    /// The next order that can run, which is running from now on.
    fn next(&self) -> Option<(u64, Vec<BlockRange>)> {
        let mut orders = self.orders();
        let order = orders.iter_mut().find(|order| order.state == BackfillState::Waiting)?;
        order.state = BackfillState::Running;
        Some((order.id, order.asked.final_ranges.clone()))
    }

    fn state_of(&self, id: u64) -> BackfillState {
        let orders = self.orders();
        let order = orders.iter().find(|order| order.id == id);
        order.map_or(BackfillState::Cancelled, |order| order.state)
    }

    fn is_done(&self, id: u64) {
        if let Some(order) = self.orders().iter_mut().find(|order| order.id == id)
            && order.state == BackfillState::Running
        {
            order.state = BackfillState::Done;
        }
    }

    /// Follows orders until shutdown.
    pub(super) async fn run(
        self: Arc<Backfills>,
        begin: impl Fn(Vec<BlockRange>) -> Backfill,
        running: Arc<AtomicUsize>,
        mut shutdown: Shutdown,
    ) -> Result<(), CaptureError> {
        let mut changed = self.changed.subscribe();
        while !shutdown.is_requested() {
            changed.borrow_and_update();
            let Some((id, ranges)) = self.next() else {
                tokio::select! {
                    // The sender lives in `self`.
                    _changed = changed.changed() => {}
                    () = shutdown.requested() => {}
                }
                continue;
            };
            // Sealing takes whole cells only, as long as one runs.
            running.fetch_add(1, Ordering::AcqRel);
            let backfill = begin(ranges).run(shutdown.clone());
            let stopped = async {
                while self.state_of(id) == BackfillState::Running {
                    if changed.changed().await.is_err() {
                        break;
                    }
                }
            };
            let result = tokio::select! {
                result = backfill => Some(result),
                () = stopped => None,
            };
            running.fetch_sub(1, Ordering::AcqRel);
            self.status.goes_on();
            if let Some(result) = result {
                result?;
                if !shutdown.is_requested() {
                    self.is_done(id);
                }
            }
        }
        Ok(())
    }
}

fn state_text(state: BackfillState) -> &'static str {
    match state {
        BackfillState::Waiting => "waiting",
        BackfillState::Running => "running",
        BackfillState::Paused => "paused",
        BackfillState::Done => "done",
        BackfillState::Cancelled => "cancelled",
    }
}
