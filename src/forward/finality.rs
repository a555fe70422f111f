//! `finalized = true`: what of the log can no longer be taken back. What that is does not depend on
//! when it is asked (INV-7): records are read only once all blocks up to them are decided.

use headwater_storage::model::{EventHead, Lane, Lsn, Op};
use headwater_storage::store::{Chain, StoreError};

/// The last record up to which every block is final or was taken back.
pub(super) fn decided(chain: &Chain, durable: Lsn) -> Lsn {
    let first_open = chain.with_state(|state| {
        let height = state.finalized().map(|block| block.number);
        let is_open = |head: &&EventHead| {
            // History is fetched only once it is final.
            head.op == Op::Applied
                && head.lane == Lane::Live
                && height.is_none_or(|height| head.block.number > height)
                && state.hash_at(head.block.number) == Some(head.block.hash)
        };
        state.unsealed_events().filter(is_open).map(|head| head.lsn).min()
    });
    first_open.map_or(durable, |first| durable.min(Lsn(first.0.saturating_sub(1))))
}

/// Whether a decided event is the one that a block stands by: of a block that came back only the
/// last one does.
pub(super) fn stands(chain: &Chain, head: &EventHead) -> Result<bool, StoreError> {
    match head.op {
        Op::Finalized => Ok(true),
        Op::Reverted => Ok(false),
        Op::Applied => {
            let canonical = chain.block_by_number(head.block.number)?;
            Ok(canonical.is_some_and(|known| known.head.lsn == head.lsn))
        }
    }
}
