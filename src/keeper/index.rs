//! The index follows the log, and is begun anew when its engine fails or is stuck.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::store::{Chain, StoreError, error_text};

use crate::supervisor::{Shutdown, on_cpu};

/// Records that the index takes in one step.
const STEP: usize = 128;
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
/// A step that takes longer has met a stuck engine.
const STUCK_AFTER: Duration = Duration::from_mins(2);
/// Failures after which opening it again does not help.
const FAILURES_MAX: u32 = 3;

/// Indexes what becomes durable.
pub async fn index(chain: Arc<Chain>, shutdown: Shutdown) -> Result<(), StoreError> {
    let step = |chain: &Chain| chain.open_index().and_then(|()| chain.index_some(STEP));
    follow(chain, step, STUCK_AFTER, shutdown).await
}

/// Takes steps while there is something to index; one that takes longer than `stuck_after` is left
/// to itself, and the index begun anew.
async fn follow(
    chain: Arc<Chain>,
    step: impl Fn(&Chain) -> Result<bool, StoreError> + Clone + Send + 'static,
    stuck_after: Duration,
    mut shutdown: Shutdown,
) -> Result<(), StoreError> {
    let mut durable = chain.durable();
    let mut failures = 0;
    loop {
        durable.borrow_and_update();
        let (indexing, step) = (chain.clone(), step.clone());
        let stepped = on_cpu(move || step(&indexing));
        let pause = match tokio::time::timeout(stuck_after, stepped).await {
            Ok(Ok(has_more)) => {
                failures = 0;
                if has_more && !shutdown.is_requested() {
                    continue;
                }
                Duration::MAX
            }
            // The index can be made again: its failure stops lookups, never capture (INV-3).
            Ok(Err(error)) => {
                failures += 1;
                let error = error_text(&error);
                tracing::warn!(chain = %chain.name(), error, "the index waits");
                mend(&chain, failures >= FAILURES_MAX).await;
                PAUSE_AFTER_ERROR
            }
            Err(_) => {
                tracing::error!(chain = %chain.name(), "the index is stuck: it is begun anew");
                mend(&chain, true).await;
                Duration::ZERO
            }
        };
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => break,
        }
    }
    on_cpu(move || chain.index().map_or(Ok(()), |index| Ok(index.persist()?))).await
}

/// After the disk failed the engine refuses everything: it is opened again, or begun anew.
async fn mend(chain: &Arc<Chain>, anew: bool) {
    let mending = chain.clone();
    let mended =
        on_cpu(move || if anew { mending.begin_index_anew() } else { mending.reopen_index() });
    if let Err(error) = mended.await {
        tracing::warn!(chain = %chain.name(), error = error_text(&error), "no index for now");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use headwater_storage::model::{Block, ChainEvent, Lane, Origin, Verified};
    use headwater_storage::store::{ChainOptions, DataDir, Lookups};

    use super::*;
    use crate::supervisor::Supervisor;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_is_stuck_is_left_behind_and_the_index_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let name = "test".parse().unwrap();
        let chain = Chain::open(&data_dir, &name, 7, ChainOptions::default()).unwrap();
        let chain = Arc::new(chain);
        let mut block = Block::default();
        block.header.number = 5;
        let event = ChainEvent::Applied {
            block: Arc::new(block),
            lane: Lane::Live,
            verified: Verified::HEADER,
            origin: Origin::default(),
        };
        chain.append(&[event]).unwrap();
        assert_eq!(chain.lookups(), Lookups::Opening);
        chain.open_index().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let (free, stuck) = std::sync::mpsc::sync_channel::<()>(1);
        let stuck = Arc::new(std::sync::Mutex::new(stuck));
        let counted = calls.clone();
        let step = move |chain: &Chain| {
            if counted.fetch_add(1, Ordering::AcqRel) == 0 {
                // The engine never answers.
                stuck.lock().unwrap().recv().ok();
            }
            chain.index_some(STEP)
        };
        let supervisor = Supervisor::default();
        let before = chain.index().unwrap();
        let work = follow(chain.clone(), step, Duration::from_millis(50), supervisor.shutdown());
        let indexed = async {
            while chain.index().is_none_or(|index| index.indexed() != chain.log().durable()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            result = work => panic!("{result:?}"),
            () = indexed => {}
        }
        assert!(!Arc::ptr_eq(&before, &chain.index().unwrap()), "another index");
        assert!(calls.load(Ordering::Acquire) >= 2);
        assert_eq!(chain.lookups(), Lookups::Ready);
        drop(free);
    }
}
