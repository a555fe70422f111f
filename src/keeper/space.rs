//! The disk: a full one pauses capture with a reason before anything fails, and lets it go on by
//! itself (INV-10). Exporters and queries go on meanwhile.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::disk::{DiskError, RealDisk};
use headwater_storage::store::Chain;
use tokio::sync::watch;

use crate::clock;
use crate::config::DiskConfig;
use crate::supervisor::{Shutdown, on_cpu};

const EVERY: Duration = Duration::from_secs(1);
/// The forecast looks back over so many samples, one a minute.
const SAMPLES_MAX: usize = 60;
const SAMPLE_EVERY: Duration = Duration::from_mins(1);

/// What is done about the space that is left; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Nothing.
    #[default]
    Fine,
    /// Somebody should look.
    Warn,
    /// What may be forgotten is forgotten at once.
    Forget,
    /// Capture waits.
    Pause,
}

/// What is known of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of all chains' logs, indexes and parts.
    pub used: u64,
}

/// The step that is due: capture waits below `min_free_bytes` or above `quota_bytes`; what may be
/// forgotten goes below twice as much, or above nine tenths; a warning comes below four times as
/// much, or above eight tenths. A pause ends a tenth later than it began.
pub fn step(bytes: Bytes, config: DiskConfig, before: Step) -> Step {
    let slack = if before == Step::Pause { config.min_free_bytes / 10 } else { 0 };
    let least = config.min_free_bytes + slack;
    let quota = |tenths: u64| {
        let quota = config.quota_bytes.map(|quota| quota / 10 * tenths);
        quota.is_some_and(|quota| bytes.used >= quota)
    };
    if bytes.free < least || quota(10) {
        Step::Pause
    } else if bytes.free < config.min_free_bytes.saturating_mul(2) || quota(9) {
        Step::Forget
    } else if bytes.free < config.min_free_bytes.saturating_mul(4) || quota(8) {
        Step::Warn
    } else {
        Step::Fine
    }
}

/// How the disk stands.
pub struct Space {
    data_dir: PathBuf,
    config: DiskConfig,
    step: watch::Sender<Step>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: Bytes,
    samples: VecDeque<(Instant, u64)>,
}

/// What the API shows.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct SpaceView {
    /// What is done about it.
    pub step: Step,
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes of all chains' logs, indexes and parts.
    pub used_bytes: u64,
    /// Seconds until capture has to wait, at the rate of the last hour.
    pub seconds_until_full: Option<u64>,
}

impl Space {
    /// Nothing is known yet.
    pub fn new(data_dir: &Path, config: DiskConfig) -> Space {
        let (step, seen) = (watch::Sender::default(), Mutex::default());
        Space { data_dir: data_dir.to_owned(), config, step, seen }
    }

    /// What is done about it.
    pub fn step(&self) -> Step {
        *self.step.borrow()
    }

    /// Returns when something has to be forgotten at once.
    pub async fn is_short(&self) {
        let mut step = self.step.subscribe();
        // The sender is ours: it does not go away.
        let _step = step.wait_for(|step| *step >= Step::Forget).await;
    }

    fn saw(&self, bytes: Bytes) -> Step {
        let now = clock::now();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.bytes = bytes;
            let last = seen.samples.back().map(|(at, _)| *at);
            if last.is_none_or(|last| now.duration_since(last) >= SAMPLE_EVERY) {
                seen.samples.push_back((now, bytes.used));
                if seen.samples.len() > SAMPLES_MAX {
                    seen.samples.pop_front();
                }
            }
        }
        let step = step(bytes, self.config, self.step());
        self.step.send_if_modified(|known| std::mem::replace(known, step) != step);
        step
    }

    /// What the API shows.
    pub fn view(&self) -> SpaceView {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Bytes { free, used } = seen.bytes;
        let grown = seen.samples.front().and_then(|(since, before)| {
            // What is reserved at the start is no growth.
            let seconds = Some(since.elapsed()).filter(|since| *since >= SAMPLE_EVERY)?;
            let seconds = seconds.as_secs_f64();
            let grown = used.checked_sub(*before).filter(|grown| *grown > 0)?;
            Some(grown as f64 / seconds)
        });
        let by_free = free.saturating_sub(self.config.min_free_bytes);
        let by_quota = self.config.quota_bytes.map_or(u64::MAX, |quota| quota.saturating_sub(used));
        let room = by_free.min(by_quota) as f64;
        SpaceView {
            step: self.step(),
            free_bytes: free,
            used_bytes: used,
            seconds_until_full: grown.map(|rate| (room / rate) as u64),
        }
    }

    /// The reserve gives its bytes to the ledger when the disk is full, and is made again when
    /// there is room.
    fn keep_reserve(&self, step: Step) -> Result<(), DiskError> {
        let reserve = self.data_dir.join("reserve");
        match step {
            Step::Pause => RealDisk::release(&reserve),
            Step::Fine => RealDisk::reserve(&reserve, self.config.reserve_bytes),
            Step::Warn | Step::Forget => Ok(()),
        }
    }
}

fn used_bytes(chain: &Chain) -> u64 {
    let parts: u64 = chain.with_state(|s| s.parts().iter().map(|part| part.file_bytes).sum());
    let index = chain.index().map_or(0, |index| index.file_bytes());
    parts + index + chain.log().file_bytes()
}

/// Watches until shutdown.
pub async fn watch_space(
    space: Arc<Space>,
    chains: Vec<Arc<Chain>>,
    mut shutdown: Shutdown,
) -> Result<(), DiskError> {
    let mut before = Step::Fine;
    while !shutdown.is_requested() {
        let (looking, stores) = (space.clone(), chains.clone());
        let looked = on_cpu(move || {
            let (free, _) = RealDisk::space(&looking.data_dir)?;
            let used = stores.iter().map(|chain| used_bytes(chain)).sum();
            let step = looking.saw(Bytes { free, used });
            let reason = (step == Step::Pause).then(|| looking.config.reason(free));
            for chain in &stores {
                chain.pause(reason.clone());
            }
            looking.keep_reserve(step)?;
            Ok::<_, DiskError>((step, reason))
        });
        match looked.await {
            Ok((step, reason)) => {
                if step > before {
                    let reason = reason.unwrap_or_default();
                    tracing::warn!(?step, reason, "space on the disk is short");
                } else if before == Step::Pause && step < Step::Pause {
                    tracing::info!(?step, "there is space again: capture goes on");
                }
                before = step;
            }
            Err(error) => tracing::debug!(%error, "the disk does not say how full it is"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_what_is_free_and_the_quota() {
        let config = DiskConfig { min_free_bytes: 100, quota_bytes: Some(1_000), reserve_bytes: 0 };
        let at = |free, used, before| step(Bytes { free, used }, config, before);
        assert_eq!(at(400, 0, Step::Fine), Step::Fine);
        assert_eq!(at(399, 0, Step::Fine), Step::Warn);
        assert_eq!(at(199, 0, Step::Fine), Step::Forget);
        assert_eq!(at(99, 0, Step::Fine), Step::Pause);
        assert_eq!(at(105, 0, Step::Pause), Step::Pause, "it does not flutter");
        assert_eq!(at(110, 0, Step::Pause), Step::Forget);
        assert_eq!(at(9_999, 799, Step::Fine), Step::Fine);
        assert_eq!(at(9_999, 800, Step::Fine), Step::Warn);
        assert_eq!(at(9_999, 900, Step::Fine), Step::Forget);
        assert_eq!(at(9_999, 1_000, Step::Fine), Step::Pause);
    }
}
