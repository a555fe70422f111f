//! What to ask of a chain, whether it is right, and in which order it enters the log.

mod asked;
mod asking;
mod assemble;
mod backfill;
mod config;
pub mod examine;
mod fetch;
mod follow;
mod holes;
mod late;
mod look;
mod receipts;
mod reorg;
mod room;
mod schedule;
mod source;
mod span;
mod status;
mod stuck;
mod survey;
mod traces;
pub mod verify;

pub use asked::Asked;
pub use assemble::Piece;
pub use backfill::{Backfill, Progress};
pub use config::{ChainConfig, Start};
pub use follow::Follower;
pub use holes::{Hole, Holes};
pub use reorg::{Link, Step, next_step};
pub use source::{Fetched, Source};
pub use span::{Edge, Span, SpanError};
pub use status::{CaptureError, ChainStatus, NotHad, Says, StatusView};
