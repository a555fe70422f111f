//! How far a sink is, in the words that it keeps itself.

use headwater_storage::model::{EventHead, Lsn};

/// A position that a sink stores together with the rows, so that both are there or neither.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// The sink holds all records up to this one.
    pub lsn: Lsn,
    /// Raised by every rewind: a mark of an earlier one says nothing any more.
    pub generation: u64,
    /// What happened in that record: in another log the number means another event.
    pub event: String,
}

impl Mark {
    /// The position behind an event.
    pub fn of(head: &EventHead, generation: u64) -> Mark {
        let event = format!("{} {} {}", head.op.as_str(), head.block.number, head.block.hash);
        Mark { lsn: head.lsn, generation, event }
    }
}
