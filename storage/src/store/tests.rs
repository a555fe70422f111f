//! The store under crashes, faults and damage. A generated workload appends blocks on both lanes,
//! reverts, finalizes, seals, merges, trims the log, moves cursors and makes backups.
//!
//! Crashes: the machine dies at a call that changes the disk, keeps any part of what was not
//! synced, dies again while the store opens, and goes on to the end. Faults: a call or a read
//! fails once, a write after a part of it. Damage: a bit flips, or a sector cannot be read. After
//! each, everything that was acknowledged is there, byte for byte, and nothing else is; the final
//! chain is right. With its index, whose engine calls the system itself, the store is on a
//! simulated disk that is mounted (`tests/engine.rs`).
//!
//! `HEADWATER_SEEDS` sets how many cases are run (of those that are slow, a tenth),
//! `HEADWATER_SEED` replays one; the seed is in every failure.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use alloy_primitives::B256;

use super::*;
use crate::backup::{self, BackupRequest, RestoreRequest};
use crate::disk::SimulatedDisk;
use crate::ledger::Cursor;
use crate::model::{
    Block, BlockRange, BlockRanges, BlockRef, ChainEvent, ChainName, Lane, Lsn, Op, Origin,
    Verified,
};
use crate::parquet::Grid;
use crate::tables::Table;
use crate::testing::small_block;
use crate::wal;

mod ends;
mod engine;

const LIVE_FROM: u64 = 12;
const HEAD_TARGET: u64 = 36;
/// No run of the work below gets as far.
const BLOCKS_MAX: u64 = 200;
const EXPORTER: &str = "sink";

fn name() -> ChainName {
    "test".parse().unwrap()
}

fn options() -> ChainOptions {
    ChainOptions {
        grid: Grid { blocks: 8 },
        wal: wal::Options { segment_bytes: 3 << 10 },
        index: None,
    }
}

fn open(disk: &SimulatedDisk) -> Result<(DataDir, Arc<Chain>), String> {
    let text = |error: &dyn std::error::Error| format!("{error}: {:?}", error.source());
    let data_dir = DataDir::with_disk(Path::new("/data"), Arc::new(disk.clone()), None)
        .map_err(|error| text(&error))?;
    let chain = Chain::open(&data_dir, &name(), 7, options()).map_err(|error| text(&error))?;
    Ok((data_dir, Arc::new(chain)))
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
    let verified = Verified::HEADER.with(Verified::PARENT);
    ChainEvent::Applied { block, lane, verified, origin: Origin::default() }
}

/// What the world was told.
#[derive(Default)]
struct Told {
    durable: Lsn,
    cursor: Lsn,
    sealed: u64,
    /// Backups, and the record that each was cut at.
    backups: Vec<(std::path::PathBuf, Lsn)>,
}

/// What a seed makes of the work.
#[derive(Clone, Copy)]
struct Work {
    fork_every: u64,
    history_every: u64,
    final_distance: u64,
    cursor_every: u64,
    trim_every: u64,
    backup_every: u64,
}

impl Work {
    fn of(seed: u64) -> Work {
        let pick = |salt: u64, from: u64, count: u64| {
            from + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(salt as u32) >> 7) % count
        };
        Work {
            fork_every: pick(3, 4, 6),
            history_every: pick(11, 2, 4),
            final_distance: pick(19, 2, 4),
            cursor_every: pick(29, 1, 4),
            trim_every: pick(41, 3, 6),
            backup_every: pick(53, 9, 9),
        }
    }

    /// What to append next: a pure function of the state, so that it goes on after any crash.
    fn next_events(self, state: &ChainState) -> Vec<ChainEvent> {
        match state.next_repair(Some(LIVE_FROM), &BlockRanges::default()) {
            Some(Repair::TakeBack(block)) => return vec![ChainEvent::Reverted(block)],
            Some(Repair::Fetch { range, lane }) => {
                return vec![applied(block(range.first), lane)];
            }
            None => {}
        }
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
        if last.is_multiple_of(self.fork_every) && number < HEAD_TARGET {
            let losing = small_block(number + 1, head.block.hash, 2);
            return vec![applied(Arc::new(losing), Lane::Live)];
        }
        if last.is_multiple_of(self.history_every) || number >= HEAD_TARGET {
            let missing = state.captured().missing(BlockRange { first: 0, last: LIVE_FROM - 1 });
            if let Some(first) = missing.first().map(|range| range.first) {
                return vec![applied(block(first), Lane::Backfill)];
            }
        }
        let mut events = vec![applied(block(number + 1), Lane::Live)];
        let below = (number + 1).checked_sub(self.final_distance);
        if let Some(below) = below.filter(|below| *below >= LIVE_FROM) {
            let block = block(below).block_ref();
            if state.finalized().is_none_or(|at| at.number < below) {
                events.push(ChainEvent::Finalized(block));
            }
        }
        events
    }
}

/// Why the work stopped.
#[derive(Debug)]
struct Stopped {
    /// After that the process ends: a sync of the log failed.
    is_fatal: bool,
    #[expect(dead_code, reason = "shown when a case fails")]
    reason: String,
}

fn stopped(error: impl std::fmt::Debug) -> Stopped {
    Stopped { is_fatal: false, reason: format!("{error:?}") }
}

/// Works until the goal or the first failure; `told` has what was acknowledged.
fn run(work: Work, data_dir: &DataDir, chain: &Arc<Chain>, told: &mut Told) -> Result<(), Stopped> {
    for step in 0.. {
        assert!(step < 400, "the work comes to its end");
        let is_done = chain.with_state(|state| {
            let all = BlockRange { first: 0, last: HEAD_TARGET };
            let is_winning = |head: &crate::model::EventHead| {
                head.block.hash == block(head.block.number).header.hash
            };
            state.captured().missing(all).is_empty()
                && state.next_repair(Some(LIVE_FROM), &BlockRanges::default()).is_none()
                && state.head().is_none_or(is_winning)
        });
        if is_done {
            return tidy_up(chain, told);
        }
        let events = chain.with_state(|state| work.next_events(state));
        match chain.append(&events) {
            Err(AppendError::Violation(Violation::NotLinked { block, neighbour })) => {
                let below = BlockRef { number: block.number - 1, hash: neighbour };
                chain.append(&[ChainEvent::Reverted(below)]).map_err(stopped)?;
            }
            Err(AppendError::Violation(Violation::NotTheLost { lost, .. })) => {
                chain.append(&[ChainEvent::Reverted(lost)]).map_err(stopped)?;
            }
            Err(error) => {
                let is_fatal = error.is_fatal();
                return Err(Stopped { is_fatal, reason: format!("{error:?}") });
            }
            Ok(_) => {}
        }
        told.durable = chain.log().durable();
        chain.index_some(8).map_err(stopped)?;
        if let Some(sealable) = chain.next_sealable(false) {
            chain.seal(&sealable).map_err(stopped)?;
            told.sealed += sealable.range.len();
        }
        if step % work.cursor_every == 0 {
            let cursor = Cursor { exported: told.durable, ..Cursor::default() };
            let moved = data_dir.ledger().set_cursor(EXPORTER, &name(), cursor);
            moved.map_err(stopped)?;
            told.cursor = told.durable;
        }
        if step % work.trim_every == 0 {
            tidy_up(chain, told)?;
        }
        if step % work.backup_every == 5 {
            back_up(data_dir, chain, told)?;
        }
    }
    Ok(())
}

fn back_up(data_dir: &DataDir, chain: &Arc<Chain>, told: &mut Told) -> Result<(), Stopped> {
    let request = BackupRequest {
        data_dir,
        chains: std::slice::from_ref(chain),
        to: &data_dir.path().with_file_name("backups"),
        may_link: told.backups.len().is_multiple_of(2),
        made_at: told.durable.0,
        is_stopped: &|| false,
    };
    match backup::backup(&request) {
        Ok(report) => told.backups.push((report.path, report.chains[0].lsn)),
        // Two of the same record have the same name.
        Err(backup::BackupError::Exists { .. }) => {}
        Err(error) => return Err(stopped(error)),
    }
    Ok(())
}

/// The newest backup is whole, and a node begins from it where it was cut; earlier ones are whole.
fn check_backups(simulated: &SimulatedDisk, told: &Told, case: &str) {
    let disk = simulated;
    for (path, lsn) in &told.backups {
        let (manifest, damaged) = backup::check(disk, path).unwrap();
        assert!(damaged.is_empty(), "{case}: {damaged:?} of a backup");
        assert_eq!(manifest.chains[0].lsn, *lsn, "{case}");
    }
    let Some((path, lsn)) = told.backups.last() else { return };
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
    let to = Path::new("restored");
    let request =
        RestoreRequest { disk: disk.clone(), backup: path, to, keeps_going: false, at: 1 };
    disk.remove_folder(to).or_else(|_| disk.remove_folder(to)).unwrap();
    // A call may fail; then it is begun again.
    let restored = backup::restore(&request).or_else(|_| backup::restore(&request));
    restored.unwrap_or_else(|error| panic!("{case}: {error}"));
    // What has not failed until here does not fail any more.
    simulated.fail_after(1 << 40, std::io::ErrorKind::Other);
    simulated.fail_read_after(1 << 40);
    let data_dir = DataDir::with_disk(to, disk, None).unwrap();
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    assert_eq!(chain.log().durable(), *lsn, "{case}: the cut");
    let ledger = data_dir.ledger();
    assert_eq!(ledger.descent().unwrap().unwrap().chains[&name()], *lsn, "{case}: descent");
    let cursor = ledger.cursor(EXPORTER, &name()).unwrap().unwrap_or_default().exported;
    check(&data_dir, &chain, &Told { durable: *lsn, cursor, ..Told::default() }, case);
}

/// Seals what can be sealed, merges what can be merged, and trims the log as far as that allows.
fn tidy_up(chain: &Chain, told: &mut Told) -> Result<(), Stopped> {
    while let Some(sealable) = chain.next_sealable(false) {
        chain.seal(&sealable).map_err(stopped)?;
        told.sealed += sealable.range.len();
    }
    while let Some(range) = chain.next_mergeable(1 << 20) {
        chain.merge(range).map_err(stopped)?;
    }
    let passed = Passed { required: told.cursor, all: told.cursor };
    chain.forget(&Retention::default(), 0, passed).map_err(stopped)?;
    Ok(())
}

/// Everything that was told is there, and all that is there is right.
fn check(data_dir: &DataDir, chain: &Chain, told: &Told, case: &str) {
    let log = chain.log();
    assert!(log.durable() >= told.durable, "{case}: acknowledged records are gone");
    assert_eq!(log.first(), Lsn(1), "{case}");
    let mut state = ChainState::new(Vec::new(), None);
    for lsn in 1..=log.durable().0 {
        let event = chain.read(Lsn(lsn)).unwrap_or_else(|error| panic!("{case}: {error}"));
        state.check(&event.head).unwrap_or_else(|error| panic!("{case}: record {lsn}: {error}"));
        state.apply(event.head);
        let is_with_block = event.head.op != Op::Finalized;
        assert_eq!(event.block.is_some(), is_with_block, "{case}: record {lsn}");
        if let Some(found) = event.block {
            let number = found.header.number;
            let salt = found.transactions[0].input[0];
            let parent = found.header.parent_hash;
            assert_eq!(*found, small_block(number, parent, salt), "{case}: record {lsn}");
            assert_eq!(found.block_ref(), event.head.block, "{case}: record {lsn}");
        }
    }
    let cursor = data_dir.ledger().cursor(EXPORTER, &name()).unwrap().unwrap_or_default();
    assert!(cursor.exported >= told.cursor, "{case}: the cursor went back");
    assert!(cursor.exported <= log.durable(), "{case}: the cursor leads the log");
    chain.with_state(|found| {
        assert_eq!(found.captured(), state.captured(), "{case}: captured");
        assert_eq!(found.head().map(|h| h.block), state.head().map(|h| h.block), "{case}: head");
        assert_eq!(found.finalized(), state.finalized(), "{case}: finalized");
        assert_eq!(found.latest(), state.latest(), "{case}: latest");
        assert_eq!(found.latest_final(), state.latest_final(), "{case}: latest final");
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

/// Seeds of long runs that found something.
const FINDINGS: [u64; 7] = [619, 784, 927, 1_391, 2_094, 4_386, 6_699];

/// Cases of most tests.
const CASES: u64 = 200;

/// The numbers of the cases, spread over the machine's cores, and those that found something once.
fn for_each_seed(count: u64, case: impl Fn(u64) + Sync) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HEADWATER_SEED") {
        return case(seed);
    }
    let count = number("HEADWATER_SEEDS").unwrap_or(CASES) * count / CASES;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let case = &case;
            let seeds = (0..count).chain(FINDINGS.into_iter().filter(move |seed| *seed >= count));
            scope.spawn(move || seeds.skip(worker).step_by(workers).for_each(case));
        }
    });
}

/// The disk after a whole run of a seed's work.
fn whole_run(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    let mut told = Told::default();
    run(Work::of(seed), &data_dir, &chain, &mut told).unwrap();
    check(&data_dir, &chain, &told, "without a crash");
    chain.with_state(|state| assert!(state.sealed().count() >= 16, "several parts were sealed"));
    assert!(chain.log().segments().iter().any(|facts| facts.is_trimmed), "the log was trimmed");
    assert!(!told.backups.is_empty(), "a backup was made");
    disk
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash() {
    let calls = whole_run(0).calls();
    assert!(calls > 200, "the run is long enough to mean something");
    // 7,919 is a prime that does not divide it: as many seeds as calls crash at every call.
    for_each_seed(CASES, |seed| {
        let at = 1 + seed.wrapping_mul(7_919) % calls;
        let case = format!("HEADWATER_SEED={seed}, crash at call {at}");
        let work = Work::of(seed);
        let disk = SimulatedDisk::new();
        disk.crash_after(at);
        let mut told = Told::default();
        if let Ok((data_dir, chain)) = open(&disk) {
            run(work, &data_dir, &chain, &mut told).ok();
        }
        // The recovery dies too, at a call that depends on the seed.
        let second = disk.after_crash(seed * 2 + 1);
        second.crash_after(seed % 11 + 1);
        if let Ok((data_dir, chain)) = open(&second) {
            check(&data_dir, &chain, &told, &case);
        }
        let third = second.after_crash((seed + 1).rotate_left(17));
        let (data_dir, chain) = open(&third).unwrap_or_else(|error| panic!("{case}: {error}"));
        check(&data_dir, &chain, &told, &case);
        check_backups(&third, &told, &case);
        run(work, &data_dir, &chain, &mut told).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        check(&data_dir, &chain, &told, &case);
        check_backups(&third, &told, &case);
    });
}

#[test]
fn a_call_that_fails_costs_nothing_that_was_acknowledged() {
    use std::io::ErrorKind;
    let whole = whole_run(0);
    for_each_seed(CASES, |seed| {
        let kind = if seed % 3 == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
        let is_read = seed % 3 == 2;
        let count = if is_read { whole.reads() } else { whole.calls() };
        let at = 1 + seed.wrapping_mul(7_919) % count;
        let what = if is_read { "read" } else { "call" };
        let case = format!("HEADWATER_SEED={seed}, {kind:?} at {what} {at}");
        let work = Work::of(seed);
        let mut disk = SimulatedDisk::new();
        if is_read {
            disk.fail_read_after(at);
        } else {
            disk.fail_after(at, kind);
        }
        let mut told = Told::default();
        for _ in 0..6 {
            let Ok((data_dir, chain)) = open(&disk) else { continue };
            let mut result = run(work, &data_dir, &chain, &mut told);
            while result.as_ref().is_err_and(|stopped| !stopped.is_fatal) {
                result = run(work, &data_dir, &chain, &mut told);
            }
            match result {
                Ok(()) => {
                    check(&data_dir, &chain, &told, &case);
                    return check_backups(&disk, &told, &case);
                }
                // The process ends, and nothing of what the kernel kept back is there after it.
                Err(_) => disk = disk.after_crash(seed + 1),
            }
        }
        panic!("{case}: it never came to its end");
    });
}

/// What a sink has that applies and takes back what it is told.
#[derive(Default)]
struct Sink {
    cursor: u64,
    blocks: std::collections::BTreeMap<u64, B256>,
}

impl Sink {
    fn take(&mut self, chain: &Chain) {
        for lsn in self.cursor + 1..=chain.log().durable().0 {
            let Some(event) = chain.read_if_there(Lsn(lsn)).unwrap() else { continue };
            let block = event.head.block;
            match event.head.op {
                Op::Applied => drop(self.blocks.insert(block.number, block.hash)),
                Op::Reverted if self.blocks.get(&block.number) == Some(&block.hash) => {
                    self.blocks.remove(&block.number);
                }
                Op::Reverted | Op::Finalized => {}
            }
        }
        self.cursor = chain.log().durable().0;
    }
}

#[test]
fn damage_anywhere_is_set_aside_and_mended() {
    let mut damaged = std::sync::atomic::AtomicU64::new(0);
    for_each_seed(CASES, |seed| {
        let work = Work::of(seed);
        let disk = SimulatedDisk::new();
        let (data_dir, chain) = open(&disk).unwrap();
        let mut told = Told::default();
        run(work, &data_dir, &chain, &mut told).unwrap();
        let mut sink = Sink::default();
        if seed % 3 == 0 {
            sink.take(&chain);
        }
        let mut files: Vec<std::path::PathBuf> = chain.with_state(|s| {
            s.parts().iter().map(|part| data_dir.path().join(&part.path)).collect()
        });
        let wal = data_dir.wal_folder(&name());
        let names = crate::disk::Disk::list(&disk, &wal).unwrap();
        files.extend(names.iter().chain(&names).chain(&names).map(|name| wal.join(name)));
        drop((data_dir, chain));
        let path = &files[seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % files.len()];
        let written = crate::disk::read_file(&disk, path).unwrap();
        let written = written.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        let offset = seed.wrapping_mul(0xd134_2543_de82_ef95) % written;
        let is_bad_sector = seed % 5 == 4;
        if is_bad_sector {
            disk.spoil(path, offset);
        } else {
            disk.flip_bit(path, offset);
        }
        let what = if is_bad_sector { "bad sector" } else { "flip" };
        let case = format!("HEADWATER_SEED={seed}, {what} of {} at {offset}", path.display());

        let (data_dir, chain) = open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        let mut position = ScrubPosition::default();
        while position.rounds == 0 {
            chain.scrub_some(&mut position, 1 << 16).unwrap();
        }
        // Damage that is not in padding is named.
        let found = chain.damages().unwrap();
        damaged.fetch_add(found.len() as u64, std::sync::atomic::Ordering::Relaxed);
        run(work, &data_dir, &chain, &mut told).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert!(chain.damages().unwrap().iter().all(|(_, is_back)| *is_back), "{case}: {found:?}");
        for again in 0..2 {
            let (data_dir, chain) = open(&disk).unwrap();
            let mut state_of_sink = Sink { cursor: sink.cursor, blocks: sink.blocks.clone() };
            state_of_sink.take(&chain);
            let head = chain.with_state(|state| state.head().unwrap().block.number);
            for number in 0..=head {
                let event = if again == 0 {
                    chain.with_state(|state| state.canonical(number).copied())
                } else {
                    None
                };
                let expected = block(number).header.hash;
                if let Some(event) = event {
                    let found = chain.block_of(&event).unwrap().unwrap();
                    assert_eq!(*found, *block(number), "{case}: block {number}");
                }
                let found = chain.block_by_number(number).unwrap();
                let found = found.unwrap_or_else(|| panic!("{case}: block {number} is gone"));
                assert_eq!(found.block.as_deref(), Some(&*block(number)), "{case}");
                let has = state_of_sink.blocks.get(&number);
                assert_eq!(has, Some(&expected), "{case}: block {number} of the sink");
            }
            // Above the head it may have what the log lost, until a block comes there.
            let below = state_of_sink.blocks.range(..=head).count() as u64;
            assert_eq!(below, head + 1, "{case}: the sink");
            drop(data_dir);
        }
    });
    // One case that is replayed says nothing about most.
    if std::env::var_os("HEADWATER_SEED").is_none() {
        assert!(*damaged.get_mut() > 120, "most flips were noticed");
    }
}

#[test]
fn parts_that_vanish_are_sealed_again() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    let mut told = Told::default();
    run(Work::of(0), &data_dir, &chain, &mut told).unwrap();
    let part = chain.with_state(|state| state.parts().first().cloned()).unwrap();
    let path = data_dir.path().join(&part.path);
    drop((data_dir, chain));
    crate::disk::Disk::remove(&disk, &path).unwrap();
    let (data_dir, chain) = open(&disk).unwrap();
    told.sealed = 0;
    // The log has forgotten the blocks: they come again from a provider, under new numbers.
    let number = part.range.first;
    assert!(chain.with_state(|state| state.is_lost(number)), "nothing but the part had it");
    run(Work::of(0), &data_dir, &chain, &mut told).unwrap();
    for number in part.range.numbers() {
        let found = chain.block_by_number(number).unwrap().unwrap();
        assert_eq!(found.block.as_deref(), Some(&*block(number)));
    }
}

#[test]
fn the_same_log_gives_the_same_parts() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    chain.append(&(0..20).map(|n| applied(block(n), Lane::Live)).collect::<Vec<_>>()).unwrap();
    chain.append(&[ChainEvent::Finalized(block(15).block_ref())]).unwrap();
    let seal_all = |chain: &Chain| {
        while let Some(sealable) = chain.next_sealable(false) {
            chain.seal(&sealable).unwrap();
        }
        let read = |part: &crate::ledger::Part| {
            crate::disk::read_file(&disk, &data_dir.path().join(&part.path)).unwrap()
        };
        chain.with_state(|s| s.parts().iter().map(read).collect::<Vec<_>>())
    };
    let before = seal_all(&chain);
    assert!(before.len() >= 4);
    let paths: Vec<_> = chain.with_state(|s| s.parts().iter().map(|p| p.path.clone()).collect());
    for path in paths {
        crate::disk::Disk::remove(&disk, &data_dir.path().join(path)).unwrap();
    }
    drop(chain);
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    assert_eq!(seal_all(&chain), before, "INV-7");
}

#[test]
fn an_excerpt_holds_exactly_the_blocks_of_any_range() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    for number in 0..30 {
        chain.append(&[applied(block(number), Lane::Live)]).unwrap();
    }
    chain.append(&[ChainEvent::Finalized(block(28).block_ref())]).unwrap();
    while let Some(sealable) = chain.next_sealable(false) {
        chain.seal(&sealable).unwrap();
    }
    // A date has 12 blocks, in parts of 8 and 4.
    let (scratch, tables) = (Path::new("scratch"), [Table::Blocks, Table::Transactions]);
    let reader = crate::parquet::PartReader::new(Arc::new(disk.clone()), scratch.to_owned());
    for (first, last) in [(0, 7), (2, 5), (0, 11), (6, 9), (8, 11), (11, 11)] {
        let range = BlockRange { first, last };
        let excerpt = chain.excerpt(range, &tables, scratch).unwrap().unwrap();
        let header = |number: u64| block(number).header.clone();
        assert_eq!(excerpt.edges.parent_hash, header(first).parent_hash, "{range}");
        let hashes = (excerpt.edges.first_hash, excerpt.edges.last_hash);
        assert_eq!(hashes, (header(first).hash, header(last).hash), "{range}");
        assert_eq!(excerpt.files.len(), 2);
        let is_part = range == BlockRange { first: 0, last: 7 } || first == 8;
        for file in &excerpt.files {
            assert_eq!(
                (file.part.range, file.part.rows, file.part.date),
                (range, last - first + 1, 0)
            );
            assert_eq!(file.place.starts_with(data_dir.path()), is_part, "{range}");
            let (bytes, crc32c) = crate::disk::checksum(&disk, &file.place).unwrap();
            assert_eq!((bytes, crc32c), (file.part.file_bytes, file.part.crc32c));
            if !is_part {
                let rows = reader.rows(&file.part, range, None).unwrap();
                let numbers = crate::parquet::integers_of(&rows, "block_number");
                assert_eq!(numbers, range.numbers().collect::<Vec<_>>(), "{range}");
            }
        }
        let places: Vec<_> = excerpt.files.iter().map(|file| file.place.clone()).collect();
        drop(excerpt);
        reader.forget();
        for place in places {
            let is_there = crate::disk::read_file(&disk, &place).is_ok();
            assert_eq!(is_there, is_part, "what was made is swept, what was here stays");
        }
    }
    let beyond = BlockRange { first: 20, last: 29 };
    assert!(chain.excerpt(beyond, &tables, scratch).unwrap().is_none(), "not all is sealed");
    // A flipped bit is found before it goes anywhere.
    let part = chain.with_state(|state| state.part_of(Table::Transactions, 3).cloned()).unwrap();
    disk.flip_bit(&data_dir.path().join(&part.path), 200);
    let damaged = BlockRange { first: 4, last: 9 };
    assert!(chain.excerpt(damaged, &tables, scratch).unwrap().is_none());
    assert!(!chain.damages().unwrap().is_empty(), "it is set aside, and mended");
}

#[test]
fn a_block_whose_logs_were_forgotten_is_not_given_back_without_them() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    for number in 0..30 {
        chain.append(&[applied(block(number), Lane::Live)]).unwrap();
    }
    chain.append(&[ChainEvent::Finalized(block(28).block_ref())]).unwrap();
    tidy_up(&chain, &mut Told::default()).unwrap();
    drop(chain);
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    let whole = |chain: &Chain| chain.block_by_number(0).unwrap().and_then(|event| event.block);
    assert_eq!(whole(&chain).as_deref(), Some(&*block(0)), "from parts");
    let keep = Keep { days_max: Some(0), bytes_max: None };
    let parts = std::collections::BTreeMap::from([(Table::Logs, keep)]);
    let passed = Passed { required: Lsn(1_000), all: Lsn::ZERO };
    chain.forget(&Retention { log_bytes: 0, parts }, 9, passed).unwrap();
    // What was written lately is in memory, and whole; after a restart nothing has all of it.
    drop(chain);
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    assert_eq!(whole(&chain), None);
    assert!(chain.with_state(|state| state.has(0)), "its other rows are there");
}

#[test]
fn without_a_start_only_what_damage_took_is_fetched() {
    let disk = SimulatedDisk::new();
    let (data_dir, chain) = open(&disk).unwrap();
    chain.append(&[applied(block(3), Lane::Backfill)]).unwrap();
    for number in 12..16 {
        chain.append(&[applied(block(number), Lane::Live)]).unwrap();
    }
    let none = BlockRanges::default();
    let next = |chain: &Chain, first| chain.with_state(|state| state.next_repair(first, &none));
    assert_eq!(next(&chain, None), None, "nobody asked for 4 to 11");
    let range = BlockRange { first: 4, last: 11 };
    assert_eq!(next(&chain, Some(3)), Some(Repair::Fetch { range, lane: Lane::Backfill }));
    // A frame of today has 40 bytes more than what it weighs.
    let second = 64 + chain.log().weight(Lsn(1)).unwrap() + 40;
    drop(chain);
    let wal = data_dir.wal_folder(&name());
    let log = wal.join(&crate::disk::Disk::list(&disk, &wal).unwrap()[0]);
    // The second record's payload: block 12.
    disk.flip_bit(&log, second + 160 + 10);
    let chain = Chain::open(&data_dir, &name(), 7, options()).unwrap();
    let mut position = ScrubPosition::default();
    while position.rounds == 0 {
        chain.scrub_some(&mut position, 1 << 16).unwrap();
    }
    let range = BlockRange { first: 12, last: 12 };
    assert_eq!(chain.damages().unwrap()[0].0.blocks, [range]);
    let Some(Repair::Fetch { range: due, lane }) = next(&chain, None) else { panic!("due") };
    assert_eq!(due, range);
    chain.append(&[applied(block(12), lane)]).unwrap();
    assert_eq!(chain.with_state(|state| state.head().unwrap().block.number), 15);
    assert_eq!(next(&chain, None), None);
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
