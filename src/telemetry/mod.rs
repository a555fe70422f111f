//! What the process says of itself: logs and metrics.

pub mod logging;
pub mod metrics;
