//! What a record of the log is to those who follow the chain: subscriptions and installed filters.

use std::ops::RangeInclusive;

use headwater_storage::model::{Block, LogKey, Op};
use serde_json::Value;

use super::error::CallError;
use super::filter::{Filter, Span};

/// What somebody follows.
#[derive(Clone)]
pub(super) enum Topic {
    /// Blocks that become canonical.
    Heads,
    /// Logs of blocks of these numbers.
    Logs(Filter, RangeInclusive<u64>),
}

impl Topic {
    /// The logs that the filter object in a place of the parameters wants; all where there is none.
    pub(super) fn logs(place: usize, object: Option<&Value>) -> Result<Topic, CallError> {
        let Some(object) = object else {
            return Ok(Topic::Logs(Filter::default(), 0..=u64::MAX));
        };
        let numbers = Span::read(place, object)?.to_come(place)?;
        Ok(Topic::Logs(Filter::read(place, object)?, numbers))
    }

    /// Addresses and hashes that it names.
    pub(super) fn len(&self) -> usize {
        match self {
            Topic::Heads => 0,
            Topic::Logs(filter, _) => filter.len(),
        }
    }

    /// Whether it may tell of what happened to the block of a number.
    pub(super) fn tells(&self, op: Op, number: u64) -> bool {
        match (self, op) {
            (Topic::Heads, Op::Applied) => true,
            (Topic::Logs(_, numbers), Op::Applied | Op::Reverted) => numbers.contains(&number),
            (Topic::Heads, Op::Reverted) | (_, Op::Finalized) => false,
        }
    }
}

/// The logs of a block that a filter wants; those of one that was taken back are `removed`.
pub(super) fn logs_of<'a>(
    filter: &'a Filter,
    op: Op,
    block: &'a Block,
) -> impl Iterator<Item = String> + 'a {
    block.logs().filter(|(_, log)| filter.takes(log)).map(move |(at, log)| {
        let mut log = log.clone();
        log.removed = Some(op == Op::Reverted);
        log.set(LogKey::removed);
        let mut text = String::new();
        log.write_json(&block.log_links(at), &mut text);
        text
    })
}
