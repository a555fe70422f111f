//! Runs one read-only statement within its bounds, in a process of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_storage::store::{Chain, Kept};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::supervisor::on_cpu;

use super::about::ProviderRow;
use super::process::{Busy, Workers, signal_of};
use super::source::{Providers, Sources};
use super::tail::{BYTES_MAX, TailCache};
use super::wire::{Form, Frame, Gap, Kind, Order};
use super::{Format, QueryConfig, QueryError};

/// How often it is looked at whether statements keep within their memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of an answer that a reader takes a second, at least.
const READ_PER_SECOND: u64 = 64 << 10;
const SIGKILL: i32 = 9;

/// Answers statements over some chains.
pub struct Engine {
    chains: Vec<(Arc<Chain>, Arc<TailCache>)>,
    providers: Providers,
    config: QueryConfig,
    permits: Arc<Semaphore>,
    /// `eth_getLogs` has places of its own: long statements do not keep it waiting.
    permits_of_logs: Arc<Semaphore>,
    workers: Arc<Workers>,
}

/// An answer as it comes. Its worker and its place among the statements are held until it is read
/// or dropped.
pub struct Answer {
    /// Each chain as of which record.
    pub lsn: BTreeMap<String, u64>,
    /// Blocks between those that were read that are not captured: chain, first, last.
    pub gaps: Vec<(String, u64, u64)>,
    next: Option<Vec<u8>>,
    running: Option<Running>,
}

struct Running {
    worker: Busy,
    sources: Arc<Sources>,
    gaps: Vec<Gap>,
    config: QueryConfig,
    began: Instant,
    sent_bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl Engine {
    /// An engine over chains of one data folder; statements spill to `scratch`.
    pub fn new(chains: &[Arc<Chain>], config: QueryConfig, scratch: &Path) -> Engine {
        let chains = chains.iter().map(|chain| (chain.clone(), Arc::new(TailCache::default())));
        Engine {
            chains: chains.collect(),
            providers: Arc::new(Vec::new),
            config,
            permits: Arc::new(Semaphore::new(config.concurrency.max(1))),
            permits_of_logs: Arc::new(Semaphore::new(config.concurrency.max(1))),
            workers: Arc::new(Workers::new(scratch, config.memory_bytes)),
        }
    }

    /// The same engine, with rows for the table `providers`.
    #[must_use]
    pub fn with_providers(
        mut self,
        providers: impl Fn() -> Vec<ProviderRow> + Send + Sync + 'static,
    ) -> Engine {
        self.providers = Arc::new(providers);
        self
    }

    /// Runs a statement until the first piece of its answer is there.
    pub async fn run(&self, sql: &str, format: Format) -> Result<Answer, QueryError> {
        self.begin(sql, Form::User(format), self.config.rows_max).await
    }

    /// Rows of `logs` as a list of JSON-RPC's log objects; `None` if it has more than `bytes_max`.
    pub async fn logs(
        &self,
        sql: &str,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Option<String>, QueryError> {
        let mut answer = self.begin(sql, Form::Logs, rows_max).await?;
        let mut text = Vec::new();
        while let Some(piece) = answer.next().await? {
            if text.len() + piece.len() > bytes_max {
                return Ok(None);
            }
            text.extend_from_slice(&piece);
        }
        let text = String::from_utf8(text);
        text.map(Some).map_err(|error| QueryError::Failed { reason: error.to_string() })
    }

    async fn begin(&self, sql: &str, form: Form, rows_max: usize) -> Result<Answer, QueryError> {
        let bound = Duration::from_secs(self.config.timeout_secs);
        let run = async {
            let permits = match form {
                Form::User(_) => &self.permits,
                Form::Logs => &self.permits_of_logs,
            };
            let permit = permits.clone().acquire_owned().await;
            let permit = permit.map_err(|error| failed(&error))?;
            let sources = Arc::new(Sources::new(&self.chains, self.providers.clone()));
            let order = Order {
                sql: sql.to_owned(),
                form,
                rows_max,
                memory_bytes: self.config.memory_bytes,
                spill_bytes: self.config.spill_bytes,
                lsn: sources.lsn(),
            };
            self.begin_now(order, sources, permit).await
        };
        let seconds = self.config.timeout_secs;
        tokio::time::timeout(bound, run).await.unwrap_or(Err(QueryError::Timeout { seconds }))
    }

    async fn begin_now(
        &self,
        order: Order,
        sources: Arc<Sources>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Answer, QueryError> {
        let worker = self.workers.take().map_err(|error| failed(&error))?;
        let mut running = Running {
            worker,
            sources,
            gaps: Vec::new(),
            config: self.config,
            began: clock::now(),
            sent_bytes: 0,
            _permit: permit,
        };
        let frame = Frame::json(Kind::Order, &order).map_err(|error| failed(&error))?;
        running.send(&frame).await?;
        let next = running.piece().await?;
        let gaps = running.gaps.iter().map(|gap| (gap.chain.clone(), gap.first, gap.last));
        Ok(Answer { lsn: order.lsn, gaps: gaps.collect(), next, running: Some(running) })
    }

    /// What is kept in memory: rows of unsealed blocks, and what statements use.
    pub fn memory(&self) -> Vec<Kept> {
        let mut kept: Vec<Kept> = self
            .chains
            .iter()
            .map(|(chain, tail)| Kept {
                what: "rows of unsealed blocks",
                chain: Some(chain.name().to_string()),
                bytes: tail.bytes() as u64,
                bytes_max: BYTES_MAX as u64,
            })
            .collect();
        kept.push(Kept {
            what: "statements (query.memory_bytes)",
            chain: None,
            bytes: self.workers.used_bytes() as u64,
            bytes_max: self.config.memory_bytes as u64,
        });
        kept
    }
}

impl Answer {
    /// The next piece, of at most 64 KiB; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, QueryError> {
        let Some(piece) = self.next.take() else {
            self.running = None;
            return Ok(None);
        };
        if let Some(running) = &mut self.running {
            self.next = running.next_piece(piece.len()).await?;
        }
        Ok(Some(piece))
    }
}

impl Running {
    /// The piece after one of so many bytes, unless its reader was too slow.
    async fn next_piece(&mut self, bytes: usize) -> Result<Option<Vec<u8>>, QueryError> {
        self.sent_bytes += bytes as u64;
        let due = 2 * self.config.timeout_secs + self.sent_bytes / READ_PER_SECOND;
        let left = Duration::from_secs(due).saturating_sub(self.began.elapsed());
        let slow = QueryError::Slow { per_second: READ_PER_SECOND };
        tokio::time::timeout(left, self.piece()).await.unwrap_or(Err(slow))
    }

    /// The next piece; `None` at the end.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, QueryError> {
        loop {
            let frame = self.receive().await?;
            match frame.kind {
                Kind::Piece => return Ok(Some(frame.payload)),
                Kind::Question => self.answer(&frame).await?,
                Kind::Done => {
                    self.worker.is_done();
                    return Ok(None);
                }
                Kind::Failed => {
                    self.worker.is_done();
                    return Err(frame.error());
                }
                Kind::Order | Kind::Extent | Kind::Rows => return Err(frame.error()),
            }
        }
    }

    async fn answer(&mut self, question: &Frame) -> Result<(), QueryError> {
        let question = question.read_json(Kind::Question).map_err(|error| failed(&error))?;
        let sources = self.sources.clone();
        let answered = on_cpu(move || sources.answer(&question)).await;
        let (extent, rows) = answered.map_err(|error| failed(&error))?;
        let extent_frame = Frame::json(Kind::Extent, &extent).map_err(|error| failed(&error))?;
        self.gaps.extend(extent.gaps);
        self.gaps.sort();
        self.gaps.dedup();
        self.send(&extent_frame).await?;
        self.send(&Frame { kind: Kind::Rows, payload: rows }).await
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), QueryError> {
        let sent = match self.worker.socket() {
            Ok(socket) => frame.send(socket).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.ended(&error).await),
        }
    }

    /// A frame; meanwhile it is looked at whether the statement keeps within its memory.
    async fn receive(&mut self) -> Result<Frame, QueryError> {
        let received = {
            let workers = self.worker.memory();
            let socket = self.worker.socket().map_err(|error| failed(&error))?;
            let mut receiving = std::pin::pin!(Frame::receive(socket));
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    frame = &mut receiving => break Some(frame),
                    _ = looks.tick() => if workers.is_too_large() { break None },
                }
            }
        };
        match received {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => Err(self.ended(&error).await),
            None => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> QueryError {
        let reason = format!(
            "it had the most of the {} bytes that statements share",
            self.config.memory_bytes
        );
        QueryError::Memory { reason }
    }

    /// Why a worker that went away did so.
    async fn ended(&mut self, error: &io::Error) -> QueryError {
        let (status, words) = self.worker.outcome().await;
        if words.contains("memory allocation of") {
            let end = words.lines().find(|line| line.contains("memory allocation of"));
            return QueryError::Memory { reason: end.unwrap_or_default().to_owned() };
        }
        if words.contains("has overflowed its stack") {
            return QueryError::Complex {
                what: "is nested deeper than there is room to plan it".to_owned(),
                fix: "write it with fewer operators inside of each other".to_owned(),
            };
        }
        if signal_of(status) == Some(SIGKILL) {
            return QueryError::Memory { reason: "the system ended it".to_owned() };
        }
        let status = status.map_or_else(|| error.to_string(), |status| status.to_string());
        tracing::warn!(status, words, "a statement's worker ended");
        QueryError::Failed { reason: format!("its worker ended: {status}") }
    }
}

fn failed(error: &dyn std::error::Error) -> QueryError {
    QueryError::Failed { reason: error.to_string() }
}
