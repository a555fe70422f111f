//! The store under crashes: the machine dies at every call that changes the disk, while blocks
//! are appended on both lanes, reverted, finalized and sealed, and cursors move. After each crash
//! the store opens, and everything that was acknowledged is there, byte for byte; nothing else is,
//! but what was being written. Then the machine dies again while the store opens, and goes on to
//! the end. The seed of each case is printed when it fails.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use alloy_primitives::B256;

use super::*;
use crate::disk::SimulatedDisk;
use crate::ledger::Cursor;
use crate::model::{Block, BlockRange, ChainEvent, ChainName, Lane, Lsn, Op, Verified};
use crate::parquet::Grid;
use crate::testing::small_block;
use crate::wal;

const LIVE_FROM: u64 = 12;
const HEAD_TARGET: u64 = 30;
const FINAL_DISTANCE: u64 = 4;
/// No run of the work below gets as far.
const BLOCKS_MAX: u64 = 200;
const EXPORTER: &str = "sink";

fn name() -> ChainName {
    "test".parse().unwrap()
}

fn open(disk: &SimulatedDisk) -> Result<(DataDir, Chain), String> {
    let text = |error: &dyn std::error::Error| format!("{error}: {:?}", error.source());
    let data_dir = DataDir::with_disk(Path::new("data"), Arc::new(disk.clone()), None)
        .map_err(|error| text(&error))?;
    let options = ChainOptions {
        grid: Grid { blocks: 8 },
        wal: wal::Options { segment_bytes: 6 << 10 },
        has_index: false,
    };
    let chain = Chain::open(&data_dir, &name(), 7, options).map_err(|error| text(&error))?;
    Ok((data_dir, chain))
}

/// The block of a number on the fork that wins.
fn block(number: u64) -> Arc<Block> {
    static BLOCKS: LazyLock<Vec<Arc<Block>>> = LazyLock::new(|| {
        let mut parent = B256::ZERO;
        let next = |number| {
            let block = Arc::new(small_block(number, parent, 1));
            parent = block.header.hash;
            block
        };
        (0..BLOCKS_MAX).map(next).collect()
    });
    BLOCKS[number as usize].clone()
}

fn applied(block: Arc<Block>, lane: Lane) -> ChainEvent {
    ChainEvent::Applied { block, lane, verified: Verified::HEADER.with(Verified::PARENT) }
}

/// What the world was told.
#[derive(Default)]
struct Told {
    durable: Lsn,
    cursor: Lsn,
    sealed: u64,
}

/// What to append next: a pure function of the state, so that it goes on after any crash.
fn next_events(state: &ChainState) -> Vec<ChainEvent> {
    let Some(head) = state.head().copied() else {
        return vec![applied(block(LIVE_FROM), Lane::Live)];
    };
    let number = head.block.number;
    let is_on_winning_fork = head.block.hash == block(number).header.hash;
    if !is_on_winning_fork {
        // The reorg: the losing head goes, two winning blocks come.
        let mut events = vec![ChainEvent::Reverted(head.block)];
        events.extend((number..number + 2).map(|number| applied(block(number), Lane::Live)));
        return events;
    }
    let last = state.last().0;
    if last.is_multiple_of(5) {
        let losing = small_block(number + 1, head.block.hash, 2);
        return vec![applied(Arc::new(losing), Lane::Live)];
    }
    if last.is_multiple_of(3) || number >= HEAD_TARGET {
        let missing = state.captured().missing(BlockRange { first: 0, last: LIVE_FROM - 1 });
        if let Some(first) = missing.first().map(|range| range.first) {
            return vec![applied(block(first), Lane::Backfill)];
        }
    }
    let mut events = vec![applied(block(number + 1), Lane::Live)];
    let below = (number + 1).checked_sub(FINAL_DISTANCE).filter(|below| *below >= LIVE_FROM);
    if let Some(below) = below {
        let block = block(below).block_ref();
        if state.finalized().is_none_or(|at| at.number < below) {
            events.push(ChainEvent::Finalized(block));
        }
    }
    events
}

/// Works until the goal or the first failure; `told` has what was acknowledged.
fn work(data_dir: &DataDir, chain: &Chain, told: &mut Told) -> Result<(), String> {
    for step in 0.. {
        let is_done = chain.with_state(|state| {
            let all = BlockRange { first: 0, last: HEAD_TARGET };
            state.captured().missing(all).is_empty()
        });
        if is_done {
            return Ok(());
        }
        let events = chain.with_state(next_events);
        chain.append(&events).map_err(|error| format!("{error:?}"))?;
        told.durable = chain.log().durable();
        if let Some(sealable) = chain.next_sealable(false) {
            chain.seal(&sealable).map_err(|error| format!("{error:?}"))?;
            told.sealed += sealable.range.len();
        }
        if step % 2 == 0 {
            let cursor = Cursor { exported: told.durable, intent: None };
            let moved = data_dir.ledger().set_cursor(EXPORTER, &name(), cursor);
            moved.map_err(|error| format!("{error:?}"))?;
            told.cursor = told.durable;
        }
    }
    Ok(())
}

/// Everything that was told is there, and all that is there is right.
fn check(data_dir: &DataDir, chain: &Chain, told: &Told, case: &str) {
    let log = chain.log();
    assert!(log.durable() >= told.durable, "{case}: acknowledged records are gone");
    let mut state = ChainState::new(Vec::new(), None);
    for lsn in 1..=log.durable().0 {
        let event = log.read(Lsn(lsn)).unwrap_or_else(|error| panic!("{case}: {error}"));
        state.check(&event.head).unwrap_or_else(|error| panic!("{case}: record {lsn}: {error}"));
        state.apply(event.head);
        if let Some(found) = event.block {
            let number = found.header.number;
            let salt = found.transactions[0].input[0];
            let parent = found.header.parent_hash;
            assert_eq!(*found, small_block(number, parent, salt), "{case}: record {lsn}");
            assert_eq!(event.head.op, Op::Applied, "{case}");
        }
    }
    let cursor = data_dir.ledger().cursor(EXPORTER, &name()).unwrap().unwrap_or_default();
    assert!(cursor.exported >= told.cursor, "{case}: the cursor went back");
    assert!(cursor.exported <= log.durable(), "{case}: the cursor leads the log");
    chain.with_state(|found| {
        assert_eq!(found.captured(), state.captured(), "{case}: captured");
        assert_eq!(found.head().map(|h| h.block), state.head().map(|h| h.block), "{case}: head");
        assert_eq!(found.finalized(), state.finalized(), "{case}: finalized");
        for head in found.unsealed() {
            assert_eq!(state.canonical(head.block.number), Some(head), "{case}: canonical");
        }
        assert!(found.sealed().count() >= told.sealed, "{case}: sealed parts are gone");
        for part in found.parts().iter() {
            let path = data_dir.path().join(&part.path);
            let bytes = crate::disk::read_file(data_dir.disk().as_ref(), &path).unwrap();
            assert_eq!(crc32c::crc32c(&bytes), part.crc32c, "{case}: {}", part.path);
        }
    });
}

fn calls_of_a_whole_run() -> u64 {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    let mut told = Told::default();
    work(&data_dir, &chain, &mut told).unwrap();
    check(&data_dir, &chain, &told, "without a crash");
    chain.with_state(|state| assert!(state.sealed().count() >= 16, "several parts were sealed"));
    disk.calls()
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash() {
    let calls = calls_of_a_whole_run();
    assert!(calls > 200, "the run is long enough to mean something");
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                for at in (1..calls).skip(worker).step_by(workers) {
                    for seed in [at * 2 + 1, at * 7_919 + 5] {
                        crash_twice_and_finish(at, seed);
                    }
                }
            });
        }
    });
}

fn crash_twice_and_finish(at: u64, seed: u64) {
    let case = format!("crash at call {at}, seed {seed}");
    let disk = SimulatedDisk::new();
    disk.crash_after(at);
    let mut told = Told::default();
    if let Ok((data_dir, chain)) = open(&disk) {
        work(&data_dir, &chain, &mut told).ok();
    }
    // The recovery dies too, at a call that depends on the seed.
    let second = disk.after_crash(seed);
    second.crash_after(seed % 11 + 1);
    if let Ok((data_dir, chain)) = open(&second) {
        check(&data_dir, &chain, &told, &case);
    }
    let third = second.after_crash(seed.rotate_left(17));
    let (data_dir, chain) = open(&third).unwrap_or_else(|error| panic!("{case}: {error}"));
    check(&data_dir, &chain, &told, &case);
    work(&data_dir, &chain, &mut told).unwrap_or_else(|error| panic!("{case}: {error}"));
    check(&data_dir, &chain, &told, &case);
}

#[test]
fn parts_that_vanish_are_sealed_again() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    let mut told = Told::default();
    work(&data_dir, &chain, &mut told).unwrap();
    let part = chain.with_state(|state| state.parts().first().cloned()).unwrap();
    let path = data_dir.path().join(&part.path);
    let before = crate::disk::read_file(&disk, &path).unwrap();
    drop((data_dir, chain));
    crate::disk::Disk::remove(&disk, &path).unwrap();
    let (data_dir, chain) = open(&disk).unwrap();
    told.sealed = 0;
    check(&data_dir, &chain, &told, "after a part vanished");
    while let Some(sealable) = chain.next_sealable(false) {
        chain.seal(&sealable).unwrap();
    }
    // INV-7: the same log gives the same file, byte for byte.
    assert_eq!(crate::disk::read_file(&disk, &path).unwrap(), before);
}

#[test]
fn events_that_do_not_follow_are_refused_and_change_nothing() {
    let disk = SimulatedDisk::new();
    let (_data_dir, chain) = open(&disk).unwrap();
    chain.append(&[applied(block(5), Lane::Live), applied(block(6), Lane::Live)]).unwrap();
    let refused = |events: &[ChainEvent]| match chain.append(events) {
        Err(AppendError::Violation(violation)) => violation,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&[applied(block(8), Lane::Live)]), Violation::NotOnTop { .. }));
    assert!(matches!(refused(&[applied(block(6), Lane::Backfill)]), Violation::Known { .. }));
    let other = Arc::new(small_block(4, B256::ZERO, 9));
    assert!(matches!(refused(&[applied(other, Lane::Backfill)]), Violation::NotLinked { .. }));
    let five = block(5).block_ref();
    assert!(matches!(refused(&[ChainEvent::Reverted(five)]), Violation::NotHead { .. }));
    chain.append(&[ChainEvent::Finalized(block(6).block_ref())]).unwrap();
    let six = block(6).block_ref();
    assert!(matches!(refused(&[ChainEvent::Reverted(six)]), Violation::Final { .. }));
    assert!(matches!(refused(&[ChainEvent::Finalized(five)]), Violation::NotFinalizable { .. }));
    // A group is refused whole: its good first event is not written either.
    let group = [applied(block(7), Lane::Live), applied(block(9), Lane::Live)];
    assert!(matches!(refused(&group), Violation::NotOnTop { .. }));
    assert_eq!(chain.log().durable(), Lsn(3));
    chain.append(&[applied(block(7), Lane::Live)]).unwrap();
    assert_eq!(chain.log().durable(), Lsn(4));
}
