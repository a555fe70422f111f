//! The write-ahead log: the only truth, and the outbox of every exporter.
//!
//! One log per chain, a row of segment files with one checksummed frame per event. A frame counts
//! when its group was synced (INV-1); nobody reads past that (INV-4).

mod error;
mod extent;
mod frame;
mod inspect;
mod layout;
mod log;
mod open;
mod scan;
mod segment;
mod trim;
mod writer;

pub use error::{Damage, Error};
pub use extent::LogFile;
pub use frame::Record;
pub use inspect::chain_ids;
pub use log::{Log, SegmentFacts};
pub use open::open;
pub use scan::Hole;
pub use writer::Writer;

/// Bytes of a new segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes reserved for a new segment; a larger record gets a larger segment.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: SEGMENT_BYTES }
    }
}

#[cfg(test)]
mod tests;
