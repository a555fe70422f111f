//! What all requests have together: threads that read, bytes of bodies and of answers, sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::supervisor::on_cpu;

/// Reads at the same time; capture has other threads, and always finds one.
const READS_MAX: usize = 32;
/// Bytes of bodies that are being answered; as JSON in memory they are up to sixteen times as many.
const BODY_BYTES_TOTAL: usize = 16 << 20;
/// Bytes of answers that are made, or not read by their clients yet.
const ANSWER_BYTES_TOTAL: usize = 256 << 20;
/// `WebSockets` at the same time.
const SOCKETS_MAX: usize = 256;
/// How long a request waits for its share.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come again, as `retry-after` says it.
pub(super) const RETRY_SECS: u64 = 5;

/// There is no room for one more.
#[derive(Debug, thiserror::Error)]
#[error("too many requests at the same time ({what}): ask again in {RETRY_SECS} s")]
pub struct Busy {
    /// What there is no more of.
    what: &'static str,
}

/// The shares. Clones share the same.
#[derive(Clone)]
pub(super) struct Bounds {
    reads: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
}

/// Bytes that count until this is dropped.
pub(super) struct Share {
    total: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes_max: usize,
    what: &'static str,
}

/// Bytes with their share: it is given back when the last piece of them is written.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

/// Whether somebody waits for an answer; told by being dropped that nobody does.
struct Interest(Arc<AtomicBool>);

impl Bounds {
    /// For so many connections.
    pub(super) fn of(connections: usize) -> Bounds {
        Bounds {
            reads: Arc::new(Semaphore::new(READS_MAX)),
            bodies: Arc::new(Semaphore::new(BODY_BYTES_TOTAL)),
            answers: Arc::new(Semaphore::new(ANSWER_BYTES_TOTAL)),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX.min(connections / 2))),
        }
    }

    /// A turn among those that read, for as long as it is held.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Busy> {
        within(self.reads.clone().acquire_owned(), "reads").await
    }

    /// Runs what blocks, once there is a thread for it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        self.read_while(|_| work()).await
    }

    /// The same for what takes long: it is given a way to ask whether somebody still waits.
    pub(super) async fn read_while<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let permit = self.turn().await?;
        let interest = Interest(Arc::new(AtomicBool::new(true)));
        let is_wanted = interest.0.clone();
        let done = on_cpu(move || {
            // The thread is taken until the work ends, whether or not somebody waits for it.
            let _permit = permit;
            work(&|| is_wanted.load(Ordering::Relaxed))
        });
        let done = done.await;
        drop(interest);
        Ok(done)
    }

    /// A share of the bytes of bodies, of none yet.
    pub(super) fn body(&self) -> Share {
        Share::of(&self.bodies, BODY_BYTES_TOTAL, "bodies")
    }

    /// A share of the bytes of answers, of none yet.
    pub(super) fn answer(&self) -> Share {
        Share::of(&self.answers, ANSWER_BYTES_TOTAL, "bytes of answers")
    }

    /// A place for one more WebSocket, for as long as it is held.
    pub(super) fn socket(&self) -> Result<OwnedSemaphorePermit, Busy> {
        self.sockets.clone().try_acquire_owned().map_err(|_| Busy { what: "WebSockets" })
    }
}

impl Share {
    fn of(total: &Arc<Semaphore>, bytes_max: usize, what: &'static str) -> Share {
        Share { total: total.clone(), held: None, bytes_max, what }
    }

    /// Counts more bytes, once there is room for them.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), Busy> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        // One may have all, and then no more: it would wait for itself.
        let more = bytes.min(self.bytes_max.saturating_sub(held));
        if more == 0 {
            return Ok(());
        }
        let more = self.total.clone().acquire_many_owned(more as u32);
        let more = within(more, self.what).await?;
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// Bytes that keep this share until they are written.
    pub(super) fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _share: self })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn within<T, E>(
    permit: impl Future<Output = Result<T, E>>,
    what: &'static str,
) -> Result<T, Busy> {
    match tokio::time::timeout(PATIENCE, permit).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(Busy { what }),
    }
}
