//! `latest` and the last final block of a folder, whichever lane its blocks came by, before and
//! after a restart and a sealing.

use super::{Arc, SimulatedDisk, Told, applied, block, name, open, options, tidy_up};
use crate::model::{BlockRange, BlockRanges, ChainEvent, Lane};
use crate::store::{Chain, Repair, ScrubPosition};
use crate::tables::Table;

/// The numbers of `latest` and the last final block, and what is missing from the lowest on.
fn ends(chain: &Chain) -> (Option<u64>, Option<u64>, Vec<BlockRange>) {
    chain.with_state(|state| {
        for end in [state.latest(), state.latest_final()].into_iter().flatten() {
            assert_eq!(end, block(end.number).block_ref(), "a number and its hash");
        }
        let number = |end: Option<crate::model::BlockRef>| end.map(|block| block.number);
        (number(state.latest()), number(state.latest_final()), state.gaps(None))
    })
}

fn append(chain: &Chain, numbers: impl Iterator<Item = u64>, lane: Lane) {
    for number in numbers {
        chain.append(&[applied(block(number), lane)]).unwrap();
    }
}

fn seal(chain: &Chain) {
    while let Some(sealable) = chain.next_sealable(true) {
        chain.seal(&sealable).unwrap();
    }
}

#[test]
fn a_folder_that_only_a_backfill_filled_has_ends() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    assert_eq!(ends(&chain), (None, None, vec![]));
    append(&chain, 0..12, Lane::Backfill);
    assert_eq!(ends(&chain), (Some(11), Some(11), vec![]));
    seal(&chain);
    assert!(chain.with_state(|state| state.unsealed().next().is_none()));
    assert_eq!(ends(&chain), (Some(11), Some(11), vec![]), "sealed");
    append(&chain, 16..20, Lane::Backfill);
    let gap = vec![BlockRange { first: 12, last: 15 }];
    assert_eq!(ends(&chain), (Some(19), Some(19), gap.clone()), "a second range");
    drop(chain);
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    assert_eq!(ends(&chain), (Some(19), Some(19), gap), "restarted");
    assert!(chain.with_state(|state| state.head().is_none()), "nothing was followed");
}

#[test]
fn the_higher_of_both_lanes_counts() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    append(&chain, 0..4, Lane::Backfill);
    append(&chain, 4..9, Lane::Live);
    assert_eq!(ends(&chain), (Some(8), Some(3), vec![]), "what is followed is not final yet");
    chain.append(&[ChainEvent::Finalized(block(6).block_ref())]).unwrap();
    assert_eq!(ends(&chain), (Some(8), Some(6), vec![]));
    chain.append(&[ChainEvent::Reverted(block(8).block_ref())]).unwrap();
    assert_eq!(ends(&chain), (Some(7), Some(6), vec![]), "taken back");
    append(&chain, 20..24, Lane::Backfill);
    let gap = vec![BlockRange { first: 8, last: 19 }];
    assert_eq!(ends(&chain), (Some(23), Some(23), gap.clone()), "history above the live lane");
    seal(&chain);
    assert_eq!(ends(&chain), (Some(23), Some(23), gap.clone()));
    drop(chain);
    let chain = Arc::new(Chain::open(&data_dir, &name(), 7, options()).unwrap());
    assert_eq!(ends(&chain), (Some(23), Some(23), gap), "restarted");
    let live = chain.with_state(|state| state.head().map(|head| head.block.number));
    assert_eq!(live, Some(7), "where capture goes on");
}

#[test]
fn damage_in_history_is_mended_before_anything_is_followed() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    append(&chain, 0..100, Lane::Backfill);
    seal(&chain);
    let none = BlockRanges::default();
    let next = |chain: &Chain| chain.with_state(|state| state.next_repair(Some(0), &none));
    assert_eq!(next(&chain), None);
    tidy_up(&chain, &mut Told::default()).unwrap();
    let part = chain.with_state(|state| state.part_of(Table::Transactions, 0).cloned()).unwrap();
    disk.flip_bit(&data_dir.path().join(&part.path), 200);
    let mut position = ScrubPosition::default();
    while position.rounds == 0 {
        chain.scrub_some(&mut position, 1 << 16).unwrap();
    }
    assert!(chain.with_state(|state| state.is_lost(0)), "nothing but the part had it");
    let Some(Repair::Fetch { range, lane: Lane::Backfill }) = next(&chain) else {
        panic!("{} is due, not {:?}", part.range, next(&chain));
    };
    assert_eq!(range, part.range);
    append(&chain, range.numbers(), Lane::Backfill);
    assert_eq!(next(&chain), None);
}
