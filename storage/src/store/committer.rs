//! Group commit: whoever waits for the log shares one sync.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::metrics;
use crate::model::{ChainEvent, Lsn};
use crate::wal::Record;

use super::{AppendError, Chain};

/// Requests that wait at most.
const QUEUE_LENGTH: usize = 64;
/// Bytes of frames that one sync takes at most.
const GROUP_BYTES_MAX: u64 = 16 << 20;

type Written = Result<Option<RangeInclusive<Lsn>>, AppendError>;

struct Request {
    records: Vec<Record>,
    reply: oneshot::Sender<Written>,
}

/// Appends to one chain's log. Clones share the queue.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Request>,
}

/// The loop that writes; runs on a thread of its own until all appenders are gone.
pub struct Committer {
    chain: Arc<Chain>,
    queue: mpsc::Receiver<Request>,
}

impl Appender {
    /// Writes events as one group: durable when this returns (INV-1).
    pub async fn append(&self, events: &[ChainEvent]) -> Written {
        let records = events.iter().map(Record::new).collect();
        let (reply, written) = oneshot::channel();
        let request = Request { records, reply };
        self.queue.send(request).await.map_err(|_| AppendError::Closed)?;
        written.await.map_err(|_| AppendError::Closed)?
    }
}

impl Committer {
    /// A committer and the handle to its queue.
    pub fn new(chain: Arc<Chain>) -> (Appender, Committer) {
        let (sender, queue) = mpsc::channel(QUEUE_LENGTH);
        (Appender { queue: sender }, Committer { chain, queue })
    }

    /// Writes until all appenders are gone.
    ///
    /// Returns the error after which the process must end: a failed sync is never tried again.
    pub fn run(mut self) -> Result<(), AppendError> {
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            let (records, replies): (Vec<_>, Vec<_>) =
                group.into_iter().map(|request| (request.records, request.reply)).unzip();
            #[expect(clippy::disallowed_methods, reason = "measures a duration, decides nothing")]
            let started = Instant::now();
            let results = self.chain.commit(records);
            metrics::commit_seconds(self.chain.name(), started.elapsed());
            let fatal = results
                .iter()
                .find_map(|result| result.as_ref().err().filter(|error| error.is_fatal()).cloned());
            for (reply, result) in replies.into_iter().zip(results) {
                // Whoever asked may have gone; the records are durable all the same.
                reply.send(result).ok();
            }
            if let Some(error) = fatal {
                return Err(error);
            }
        }
        Ok(())
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let bytes =
            |request: &Request| -> u64 { request.records.iter().map(Record::frame_bytes).sum() };
        let mut total = bytes(&first);
        let mut group = vec![first];
        while total < GROUP_BYTES_MAX {
            let Ok(request) = self.queue.try_recv() else { break };
            total += bytes(&request);
            group.push(request);
        }
        group
    }
}
