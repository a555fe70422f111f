//! How capture of a chain stands, for readiness, `status` and the API.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::model::BlockRef;
use headwater_storage::store::AppendError;

use crate::clock;
use crate::rpc::{Cause, RpcError};

/// Why capture of a chain cannot go on for now.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No provider gave what was asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
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
         folder"
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
        matches!(self, CaptureError::Rpc(error) if error.is_absence())
    }

    /// Whether the process must end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, CaptureError::Append(error) if error.is_fatal())
    }
}

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
        });
    }

    /// Who announces new heads, if somebody does.
    pub fn announced_by(&self, provider: Option<String>) {
        self.with(|inner| inner.announced_by = provider);
    }

    /// Capture waits because of an error; whether that is news. That providers rest is none: it
    /// follows from the error that is known already.
    pub fn waits(&self, error: &CaptureError) -> bool {
        let is_rest = matches!(error, CaptureError::Rpc(error) if error.cause == Cause::Resting);
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
        self.with(|inner| inner.problem.take().is_some())
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
            problem: inner.problem.clone(),
            reverted_blocks: inner.reverted,
            disagreements: inner.disagreements,
        })
    }

    /// Why the chain is not ready, if it is not: it has to have heard of its head lately.
    pub fn unready(&self, patience: Duration) -> Option<String> {
        self.with(|inner| {
            let is_fresh = inner.progressed.is_some_and(|at| at.elapsed() < patience);
            match (&inner.problem, is_fresh) {
                (Some(problem), _) => Some(problem.clone()),
                (None, true) => None,
                (None, false) => Some("no provider has answered yet".to_owned()),
            }
        })
    }
}
