//! Blocks in a row that are one chain, though the chain moves while they are read.

use headwater_storage::model::{B256, Block, BlockRange};
use headwater_storage::store::Chain;

use crate::http::facade::error::CallError;
use crate::http::facade::read::not_here;

/// How often a range is read that was reorganised meanwhile.
const TRIES: usize = 3;

/// What `look` finds in each block of a range, all of which are here and follow one another.
pub(super) fn of_each<T>(
    chain: &Chain,
    range: BlockRange,
    is_wanted: &dyn Fn() -> bool,
    look: impl Fn(&Block) -> Result<T, CallError>,
) -> Result<Vec<T>, CallError> {
    for _ in 0..TRIES {
        if let Some(found) = of_each_once(chain, range, is_wanted, &look)? {
            return Ok(found);
        }
    }
    Err(CallError::Reorganised { range })
}

/// The same; `None` where a block does not follow the one before it.
fn of_each_once<T>(
    chain: &Chain,
    range: BlockRange,
    is_wanted: &dyn Fn() -> bool,
    look: impl Fn(&Block) -> Result<T, CallError>,
) -> Result<Option<Vec<T>>, CallError> {
    let mut found = Vec::new();
    let mut before: Option<B256> = None;
    for number in range.numbers() {
        if !is_wanted() {
            return Err(CallError::Request("nobody waits for the answer any more"));
        }
        let block = chain.block_by_number(number)?.and_then(|event| event.block);
        let block = block.ok_or_else(|| not_here(chain, format!("block {number} is")))?;
        if before.is_some_and(|before| before != block.header.parent_hash) {
            return Ok(None);
        }
        before = Some(block.header.hash);
        found.push(look(&block)?);
    }
    Ok(Some(found))
}
