//! Ends the process at a named step, for proofs that a crash there loses and doubles nothing.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable: a step and how many times it is passed before, `kafka.sent:3`.
const VARIABLE: &str = "HEADWATER_ABORT_AT";

static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
    let text = std::env::var(VARIABLE).ok()?;
    let (step, times) = text.split_once(':')?;
    Some((step.to_owned(), AtomicU64::new(times.parse().ok()?)))
});

/// A step of delivery; does nothing but for who asked for a crash there.
pub fn reach(step: &str) {
    let Some((armed, times)) = ARMED.as_ref().filter(|(armed, _)| armed == step) else { return };
    if times.fetch_sub(1, Ordering::AcqRel) == 0 {
        tracing::warn!(step = armed, "the process ends here, as {VARIABLE} asks");
        std::process::abort();
    }
}
