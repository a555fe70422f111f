//! How capture of a chain stands, for readiness, `status` and the API.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::model::BlockRef;
use headwater_storage::store::AppendError;

use crate::clock;
use crate::rpc::{Cause, RpcError};

/// What those who were asked for a block in vain said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Every provider says that it does not have the block.
    NotThere,
    /// The block is there and new, and what is missing of it may come yet.
    NotYet,
    /// Every provider said something of this block, and none gave it.
    OfBlock,
    /// Some said something of this block; others could not be asked.
    OfSome,
    /// Nobody said anything of this block: providers rest, throttle or are away.
    OfProviders,
}

/// A block was not had.
#[derive(Clone, Debug)]
pub struct NotHad {
    /// Which.
    pub number: u64,
    /// Why.
    pub error: RpcError,
    /// What follows from it.
    pub says: Says,
    /// Whether the block itself came, and only a part of it is missing.
    pub has_body: bool,
}

impl NotHad {
    /// Why, without the block.
    pub fn reason(&self) -> String {
        // What is said of receipts names who said it.
        if self.has_body && self.error.method.contains("Receipt") {
            return self.error.reason.clone();
        }
        self.error.to_string()
    }

    /// Whether providers say that the block or a part of it is not there.
    pub fn is_absence(&self) -> bool {
        self.error.is_absence()
    }
}

impl std::fmt::Display for NotHad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.says {
            Says::OfProviders => write!(f, "{}", self.error),
            Says::NotThere | Says::NotYet | Says::OfBlock | Says::OfSome => {
                write!(f, "block {}: {}", self.number, self.reason())
            }
        }
    }
}

impl std::error::Error for NotHad {}

/// Why capture of a chain cannot go on for now.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No provider gave what was asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A block was not had.
    #[error(transparent)]
    Block(#[from] NotHad),
    /// The log refused or failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The answers of a provider do not fit together: its chain moved meanwhile.
    #[error("the chain moved while block {number} was fetched")]
    Moved {
        /// The block.
        number: u64,
    },
    /// The provider's chain leaves ours below what was final.
    #[error(
        "the provider's chain has another block {number} than the log, which holds {known} as \
         final: capture of this chain stops; check the provider, or begin anew in another data \
         folder. A provider that calls its latest block `finalized` is not to be believed: set \
         `confirmations = 64` (or as many blocks as the chain's reorgs are deep) for this chain"
    )]
    PastFinality {
        /// The height.
        number: u64,
        /// Our final block.
        known: BlockRef,
    },
    /// The provider serves another chain.
    #[error(
        "provider {provider} serves chain id {found}, but chain_id is {expected}: check its `url`"
    )]
    ChainId {
        /// The provider.
        provider: String,
        /// What it says.
        found: u64,
        /// What was configured.
        expected: u64,
    },
}

impl CaptureError {
    /// Whether no provider has the block.
    pub fn is_absence(&self) -> bool {
        match self {
            CaptureError::Rpc(error) | CaptureError::Block(NotHad { error, .. }) => {
                error.is_absence()
            }
            CaptureError::Append(_)
            | CaptureError::Moved { .. }
            | CaptureError::PastFinality { .. }
            | CaptureError::ChainId { .. } => false,
        }
    }

    /// Whether the process must end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, CaptureError::Append(error) if error.is_fatal())
    }
}

/// How long the next block may take to come once a provider named a higher head: so many block
/// times, within these bounds.
const OVERDUE_BLOCKS: u32 = 4;
const OVERDUE_MIN: Duration = Duration::from_secs(10);
const OVERDUE_MAX: Duration = Duration::from_secs(40);
/// How often is logged that it did not.
const TELL_EVERY: Duration = Duration::from_mins(5);

/// How capture of a chain stands.
#[derive(Default)]
pub struct ChainStatus {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    provider_head: Option<u64>,
    announced_by: Option<String>,
    progressed: Option<Instant>,
    problem: Option<String>,
    reverted: u64,
    disagreements: u64,
    /// Our head.
    head: Option<u64>,
    behind: Option<Behind>,
    block_time: Option<Duration>,
    /// When was told last that the next block does not come.
    told_at: Option<Instant>,
    /// Whether it came after that.
    has_come: bool,
}

/// The next block is missing while a provider has a higher head.
struct Behind {
    since: Instant,
    /// What was said when it was asked for last.
    reason: Option<String>,
    /// Where it is there and does not come: its number and when it is asked for again.
    stuck: Option<Again>,
}

struct Again {
    number: u64,
    at: Instant,
    /// Whether it may only be late.
    is_late: bool,
}

impl Inner {
    /// Heads moved: whether one is missing now.
    fn compare(&mut self) {
        let is_behind = match (self.head, self.provider_head) {
            (Some(ours), Some(theirs)) => theirs > ours,
            (None, theirs) => theirs.is_some(),
            (Some(_), None) => false,
        };
        if !is_behind && self.behind.as_ref().is_none_or(|behind| behind.stuck.is_none()) {
            self.behind = None;
        } else if self.behind.is_none() {
            self.behind = Some(Behind { since: clock::now(), reason: None, stuck: None });
        }
    }

    /// Why the next block is missing, where that is so for too long, or is no mere delay.
    fn overdue(&self) -> Option<String> {
        let behind = self.behind.as_ref()?;
        let patience = self.block_time.map_or(OVERDUE_MAX, |time| time * OVERDUE_BLOCKS);
        let (waited, again) = (behind.since.elapsed(), behind.stuck.as_ref());
        let is_late = again.is_none_or(|again| again.is_late);
        if is_late && waited < patience.clamp(OVERDUE_MIN, OVERDUE_MAX) {
            return None;
        }
        let number = again.map(|again| again.number).or(self.head.map(|head| head + 1));
        let what = number.map_or("the first block".to_owned(), |number| format!("block {number}"));
        let theirs = || format!("a provider named head {}", self.provider_head.unwrap_or_default());
        let reason = behind.reason.clone().unwrap_or_else(theirs);
        let next = again.map_or(String::new(), |again| {
            let pause = again.at.saturating_duration_since(clock::now()).as_secs();
            format!("; next try in {pause} s")
        });
        Some(format!("{what} since {} s: {reason}{next}", waited.as_secs()))
    }

    fn problem(&self) -> Option<String> {
        self.problem.clone().or_else(|| self.overdue())
    }
}

/// What the API shows of a chain's capture.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StatusView {
    /// Highest block that a provider announced.
    pub provider_head: Option<u64>,
    /// Who announces new heads over WebSocket.
    pub announced_by: Option<String>,
    /// Seconds since a provider last answered well.
    pub seconds_since_answer: Option<u64>,
    /// Why capture waits, if it does.
    pub problem: Option<String>,
    /// Blocks taken back in reorgs since the start.
    pub reverted_blocks: u64,
    /// How often a provider had another block than ours at a height that we had, since the start.
    pub disagreements: u64,
}

impl ChainStatus {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A provider answered with its head.
    pub fn saw_head(&self, number: u64) {
        self.with(|inner| {
            inner.provider_head = Some(number);
            inner.progressed = Some(clock::now());
            inner.compare();
        });
    }

    /// Blocks come at this rhythm.
    pub(super) fn keeps_time(&self, block_time: Duration) {
        self.with(|inner| inner.block_time = Some(block_time));
    }

    /// Our head is here.
    pub(super) fn has(&self, head: Option<u64>) {
        self.with(|inner| {
            if inner.head != head {
                inner.has_come |= inner.told_at.is_some();
                (inner.head, inner.behind, inner.told_at) = (head, None, None);
            }
            inner.compare();
        });
    }

    /// The next block was asked for, and nobody has it.
    pub(super) fn missed(&self, reason: String) {
        self.with(|inner| {
            if let Some(behind) = &mut inner.behind {
                (behind.reason, behind.stuck) = (Some(reason), None);
            }
        });
    }

    /// The next block is there and does not come; it is asked for again at a time. Whether that is
    /// news to tell.
    pub(super) fn stuck(&self, not_had: &NotHad, at: Instant) -> bool {
        let number = not_had.number;
        // What is not there, by all that is said, may come; what is wrong or an error is no delay.
        let is_late = not_had.says == Says::NotYet || not_had.is_absence();
        self.with(|inner| {
            inner.progressed = Some(clock::now());
            inner.problem = None;
            let since = inner.behind.take().map_or_else(clock::now, |behind| behind.since);
            let (reason, stuck) = (Some(not_had.reason()), Some(Again { number, at, is_late }));
            inner.behind = Some(Behind { since, reason, stuck });
            let is_news = !is_late && inner.told_at.is_none();
            if is_news {
                inner.told_at = Some(clock::now());
            }
            is_news
        })
    }

    /// What to log of a block that does not come: now and then, not each time.
    pub(super) fn is_overdue_news(&self) -> Option<String> {
        self.with(|inner| {
            let reason = inner.overdue()?;
            if inner.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
                return None;
            }
            inner.told_at = Some(clock::now());
            Some(reason)
        })
    }

    /// Who announces new heads, if somebody does.
    pub fn announced_by(&self, provider: Option<String>) {
        self.with(|inner| inner.announced_by = provider);
    }

    /// Capture waits because of an error; whether that is news. That providers rest is none: it
    /// follows from the error that is known already.
    pub fn waits(&self, error: &CaptureError) -> bool {
        let is_rest = match error {
            CaptureError::Rpc(error) | CaptureError::Block(NotHad { error, .. }) => {
                error.cause == Cause::Resting
            }
            CaptureError::Append(_)
            | CaptureError::Moved { .. }
            | CaptureError::PastFinality { .. }
            | CaptureError::ChainId { .. } => false,
        };
        let reason = error.to_string();
        self.with(|inner| {
            if is_rest && inner.problem.is_some() {
                return false;
            }
            let is_new = inner.problem.as_ref() != Some(&reason);
            inner.problem = Some(reason);
            is_new
        })
    }

    /// Capture goes on; whether it had waited.
    pub fn goes_on(&self) -> bool {
        self.with(|inner| {
            let has_come = std::mem::take(&mut inner.has_come);
            inner.problem.take().is_some() || has_come
        })
    }

    /// Blocks were taken back.
    pub fn reverted(&self, blocks: u64) {
        self.with(|inner| inner.reverted += blocks);
    }

    /// A provider has another block than ours at a height that we have.
    pub fn disagreed(&self) {
        self.with(|inner| inner.disagreements += 1);
    }

    /// What the API shows.
    pub fn view(&self) -> StatusView {
        self.with(|inner| StatusView {
            provider_head: inner.provider_head,
            announced_by: inner.announced_by.clone(),
            seconds_since_answer: inner.progressed.map(|at| at.elapsed().as_secs()),
            problem: inner.problem(),
            reverted_blocks: inner.reverted,
            disagreements: inner.disagreements,
        })
    }

    /// Why the chain is not ready, if it is not: it has to have heard of its head lately.
    pub fn unready(&self, patience: Duration) -> Option<String> {
        self.with(|inner| {
            let is_fresh = inner.progressed.is_some_and(|at| at.elapsed() < patience);
            match (inner.problem(), is_fresh) {
                (Some(problem), _) => Some(problem),
                (None, true) => None,
                (None, false) => Some("no provider has answered yet".to_owned()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null(number: u64, says: Says) -> NotHad {
        let (provider, reason) = ("p".to_owned(), "receipts null from p (by number)".to_owned());
        let method = "eth_getBlockReceipts";
        let error = RpcError { provider, method, cause: Cause::BlockMissing, reason };
        NotHad { number, error, says, has_body: true }
    }

    #[test]
    fn a_chain_is_ready_while_the_next_block_is_only_late_and_not_for_ever() {
        let status = ChainStatus::default();
        let patience = Duration::from_mins(1);
        status.has(Some(6));
        status.saw_head(7);
        assert_eq!(status.unready(patience), None);
        status.stuck(&null(7, Says::NotYet), clock::now());
        assert_eq!(status.unready(patience), None, "it is late");
        let wrong = NotHad {
            error: RpcError { cause: Cause::Wrong, ..null(7, Says::OfBlock).error },
            ..null(7, Says::OfBlock)
        };
        assert!(status.stuck(&wrong, clock::now()), "that is to be told");
        assert!(!status.stuck(&wrong, clock::now()), "once");
        let reason = status.unready(patience).unwrap();
        assert!(reason.starts_with("block 7 since 0 s: receipts null from p"), "{reason}");
        status.has(Some(7));
        assert_eq!(status.unready(patience), None);
        assert!(status.goes_on(), "it had waited");
        assert!(!status.goes_on());
    }

    #[test]
    fn a_reorg_below_what_was_final_names_the_setting_that_avoids_it() {
        let known = BlockRef { number: 36, hash: [7; 32].into() };
        let error = CaptureError::PastFinality { number: 37, known };
        assert!(error.to_string().contains("`confirmations = 64`"), "{error}");
    }
}
