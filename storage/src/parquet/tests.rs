//! Names come back from their text, and the plan cuts at cells, dates and ends.

use super::*;
use crate::model::{BlockRange, BlockRef, EventHead, Lane, Lsn, Op, Verified, date_text};
use crate::tables::Table;

#[test]
fn a_part_s_path_comes_back_as_its_name() {
    for (date, text) in [(0, "1970-01-01"), (20_779, "2026-11-22"), (11_016, "2000-02-29")] {
        assert_eq!(date_text(date), text);
        let range = BlockRange { first: 1000, last: 1999 };
        let name = PartName { table: Table::ChainEvents, chain_id: 1, date, range };
        assert_eq!(PartName::parse(&name.path()), Some(name));
    }
    assert_eq!(PartName::parse("parts/blocks/chain_id=1/date=x/blocks-1-2.parquet"), None);
}

fn heads(numbers: impl IntoIterator<Item = u64>, block_time: u64) -> Vec<EventHead> {
    let head = |number| EventHead {
        lsn: Lsn(number + 1),
        op: Op::Applied,
        lane: Lane::Live,
        block: BlockRef { number, hash: alloy_primitives::B256::ZERO },
        parent_hash: alloy_primitives::B256::ZERO,
        timestamp: number * block_time,
        verified: Verified::default(),
        origin: crate::model::Origin::default(),
    };
    numbers.into_iter().map(head).collect()
}

fn planned(numbers: impl IntoIterator<Item = u64>, flush: bool) -> Vec<(u64, u64)> {
    // 100 s a block: the dates change after blocks 863, 1727, ...
    let plan = plan(&heads(numbers, 100), Grid { blocks: 500 }, |_| flush);
    plan.iter().map(|sealable| (sealable.range.first, sealable.range.last)).collect()
}

#[test]
fn the_plan_cuts_at_cells_dates_gaps_and_ends() {
    assert_eq!(planned(0..499, false), []);
    assert_eq!(planned(0..500, false), [(0, 499)]);
    assert_eq!(planned(3..1200, false), [(3, 499), (500, 863), (864, 999)]);
    assert_eq!(planned((3..20).chain(30..40), false), []);
    assert_eq!(planned((3..20).chain(30..40), true), [(3, 19), (30, 39)]);
    assert_eq!(planned([], true), []);
}
