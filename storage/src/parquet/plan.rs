//! Which blocks are sealed next: a pure function, so that a log always gives the same files
//! (INV-7).

use crate::model::{BlockRange, EventHead, date_of};

/// The grid that parts never cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks of a cell; cells start at multiples of it.
    pub blocks: u64,
}

/// A run of blocks that makes one part per table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealable {
    /// The blocks.
    pub range: BlockRange,
    /// Their UTC date.
    pub date: i32,
}

/// Cuts final blocks into parts.
///
/// `finals` are the final, unsealed, canonical blocks in order of number. A run of consecutive
/// numbers of one cell and one date is sealed when nothing can be added to it any more: when it
/// reaches the cell's end, when a later block of another date follows, or when `is_closed` says
/// of its last number that nothing will follow.
pub fn plan(finals: &[EventHead], grid: Grid, is_closed: impl Fn(u64) -> bool) -> Vec<Sealable> {
    let mut plan = Vec::new();
    let mut rest = finals;
    while let Some(first) = rest.first() {
        let run = rest.iter().zip(first.block.number..).take_while(|(head, number)| {
            head.block.number == *number
                && head.block.number / grid.blocks == first.block.number / grid.blocks
                && date_of(head.timestamp) == date_of(first.timestamp)
        });
        let count = run.count();
        let (run, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        rest = after;
        let last = run.last().map_or(first.block.number, |head| head.block.number);
        let is_cell_full = (last + 1).is_multiple_of(grid.blocks);
        // The block after the run is final, and not in it: the date has changed.
        let is_followed = after.first().is_some_and(|head| head.block.number == last + 1);
        if is_cell_full || is_followed || is_closed(last) {
            let range = BlockRange { first: first.block.number, last };
            plan.push(Sealable { range, date: date_of(first.timestamp) });
        }
    }
    plan
}
