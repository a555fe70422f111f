//! What was asked for, in numbers: offsets are from the head, dates are looked up, and what is not
//! final yet is left out.

use std::collections::BTreeMap;

use headwater_storage::model::BlockRange;

use crate::rpc::RpcError;

use super::{Source, Span};

/// What was asked for, and what of it can no longer change.
#[derive(Clone, Debug)]
pub struct Asked {
    /// All of it.
    pub ranges: Vec<BlockRange>,
    /// What is final.
    pub final_ranges: Vec<BlockRange>,
    /// The last final block.
    pub last_final: Option<u64>,
    /// The head.
    pub head: u64,
}

impl Asked {
    /// Asks the providers for what spans depend on.
    pub async fn of(
        source: &Source,
        confirmations: Option<u64>,
        spans: &[Span],
    ) -> Result<Asked, RpcError> {
        let head = source.latest().await?.number;
        let last_final = source.finalized(head, confirmations, &|_| None).await?;
        let end = head + 1;
        let mut times = BTreeMap::new();
        let asked: Vec<u64> = spans.iter().flat_map(|span| span.times()).collect();
        for time in asked {
            times.insert(time, source.block_at(time, end).await?);
        }
        let at = |time: u64| times.get(&time).copied();
        let ranges: Vec<BlockRange> =
            spans.iter().filter_map(|span| span.resolve(end, at)).collect();
        let to_final = |range: &BlockRange| {
            last_final.and_then(|last| BlockRange::new(range.first, range.last.min(last)))
        };
        let final_ranges = ranges.iter().filter_map(to_final).collect();
        Ok(Asked { ranges, final_ranges, last_final, head })
    }
}
