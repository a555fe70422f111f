//! Receipts as providers were seen to give them: not yet, not whole, or not in this way.

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Provider;
use super::node::Built;

/// What is wrong with the list of a block's receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListFault {
    /// Nothing.
    #[default]
    None,
    /// `null`.
    Null,
    /// `[]`.
    Empty,
    /// Error -32000.
    Error,
    /// The last one is missing.
    Missing,
    /// One is `null`.
    NullElement,
    /// The last one comes twice.
    TooMany,
    /// The first one stands in the place of the last, too.
    Twice,
    /// The last comes first.
    Shuffled,
    /// The list is that of the block below.
    OtherBlock,
    /// One names another block.
    OtherElement,
    /// In a batch it is too large.
    TooLargeInBatch,
    /// It is always too large.
    TooLarge,
    /// Only a hash is taken.
    HashOnly,
    /// Only an object with a hash is taken.
    HashObjectOnly,
}

/// What is wrong with single receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SingleFault {
    /// Nothing.
    #[default]
    None,
    /// They are `null`.
    Null,
    /// One of each block is error -32000.
    OneFails,
    /// In a batch all but the first are too large.
    TooLargeInBatch,
    /// The method does not exist.
    NoMethod,
}

/// Receipts that are not as they should be, of which blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptFaults {
    /// The list.
    pub list: ListFault,
    /// Those that are asked for one by one.
    pub single: SingleFault,
    /// Only blocks whose number is a multiple are so; 0: all are.
    pub every: u64,
    /// Only blocks from this on are so.
    pub from: u64,
    /// Only so many of them are so; 0: all are.
    pub count: u64,
}

type Given = Result<String, (i64, String)>;

fn failed(code: i64, message: &str) -> Given {
    Err((code, message.to_owned()))
}

impl ReceiptFaults {
    fn are_of(&self, number: u64) -> bool {
        let is_multiple = self.every == 0 || number.is_multiple_of(self.every);
        let is_counted = self.count == 0 || number < self.from.saturating_add(self.count);
        is_multiple && number >= self.from && is_counted
    }
}

fn number_of(block: &Built) -> u64 {
    let text = block.header.get("number").and_then(Value::as_str).unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default()
}

/// The list of a block's receipts in place of the right one; `at` is the place in a batch.
pub(super) fn bad_list(
    provider: &Provider,
    block: &Built,
    parameter: &Value,
    at: usize,
) -> Option<Given> {
    let faults = provider.faults().receipts;
    if !faults.are_of(number_of(block)) {
        return None;
    }
    let mut list = block.receipts.clone();
    let first = list.first().cloned();
    let is_hash = parameter.as_str().is_some_and(|text| text.len() == 66);
    match faults.list {
        ListFault::None => return None,
        ListFault::OtherBlock | ListFault::HashOnly if is_hash => return None,
        ListFault::HashObjectOnly if parameter.is_object() => return None,
        ListFault::TooLargeInBatch if at == 0 => return None,
        ListFault::Null => return Some(Ok("null".to_owned())),
        ListFault::Empty => list.clear(),
        ListFault::Error => return Some(failed(-32000, "receipts length mismatch: 1 vs 0")),
        ListFault::Missing => drop(list.pop()),
        ListFault::NullElement => {
            list.iter_mut().skip(1).take(1).for_each(|one| *one = Value::Null);
        }
        ListFault::TooMany => list.extend(list.last().cloned()),
        ListFault::Twice => {
            list.pop();
            list.extend(first);
        }
        ListFault::Shuffled => list.reverse(),
        ListFault::OtherBlock => {
            let parent =
                block.header.get("parentHash").and_then(|hash| hash.as_str()?.parse().ok());
            let below = parent.and_then(|hash| provider.chain.by_hash(hash));
            return below.map(|below| Ok(below.receipts_text.clone()));
        }
        ListFault::OtherElement => {
            if let Some(one) = list.last_mut().and_then(Value::as_object_mut) {
                one.insert("blockHash".to_owned(), B256::repeat_byte(0x66).to_string().into());
            }
        }
        ListFault::TooLargeInBatch | ListFault::TooLarge => {
            return Some(failed(-32003, "response too large"));
        }
        ListFault::HashOnly | ListFault::HashObjectOnly => {
            return Some(failed(-32602, "invalid argument 0: want a block hash"));
        }
    }
    Some(Ok(Value::from(list).to_string()))
}

/// A single receipt in place of the right one.
pub(super) fn bad_single(
    provider: &Provider,
    block: &Built,
    position: usize,
    at: usize,
) -> Option<Given> {
    let faults = provider.faults().receipts;
    if !faults.are_of(number_of(block)) {
        return None;
    }
    match faults.single {
        SingleFault::OneFails if position == 0 => Some(failed(-32000, "receipt cannot be read")),
        SingleFault::Null => Some(Ok("null".to_owned())),
        SingleFault::TooLargeInBatch if at > 0 => Some(failed(-32003, "response too large")),
        SingleFault::NoMethod => Some(failed(-32601, "the method does not exist/is not available")),
        SingleFault::None | SingleFault::OneFails | SingleFault::TooLargeInBatch => None,
    }
}
