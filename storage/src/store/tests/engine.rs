//! The store with its index, on a simulated disk that is mounted: the machine dies under all of it
//! at once, and once more while it opens. Lookups then find every transaction, and none of them is
//! wrong.
//!
//! The engine's own thread takes its time: a seed replays the work and the loss, not its calls.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256};

use super::{
    ChainState, SimulatedDisk, Told, Work, applied, block, check, for_each_seed, name, options, run,
};
use crate::disk::{Mounted, RealDisk};
use crate::index;
use crate::model::{ChainEvent, Lane, Lsn, Op};
use crate::store::{Chain, ChainOptions, DataDir, Lookups};
use crate::testing::small_block;

/// From an engine that writes and merges tables all the time to one that keeps most in its journal.
fn memtable_bytes(seed: u64) -> u64 {
    512 << (seed % 5)
}

/// Mounts the disk; says why it does not where the machine does not let it.
fn mount(disk: &SimulatedDisk) -> Option<Mounted> {
    match Mounted::new(disk) {
        Ok(mounted) => Some(mounted),
        Err(error) => {
            writeln!(std::io::stderr(), "SKIPPED: a simulated disk is not mounted: {error}").ok();
            None
        }
    }
}

fn open(mounted: &Mounted, seed: u64) -> Result<(DataDir, Arc<Chain>), String> {
    let text = |error: &dyn std::error::Error| format!("{error}: {:?}", error.source());
    let index = Some(index::Options { memtable_bytes: memtable_bytes(seed) });
    let path = mounted.path().join("data");
    std::fs::create_dir_all(&path).map_err(|error| text(&error))?;
    let data_dir =
        DataDir::with_disk(&path, Arc::new(RealDisk), None).map_err(|error| text(&error))?;
    let chain = Chain::open(&data_dir, &name(), 7, ChainOptions { index, ..options() })
        .map_err(|error| text(&error))?;
    chain.open_index().map_err(|error| text(&error))?;
    Ok((data_dir, Arc::new(chain)))
}

/// Every lookup gives what the log says.
fn check_lookups(chain: &Chain, case: &str) {
    while chain.index_some(8).unwrap_or_else(|error| panic!("{case}: {error:?}")) {}
    assert_eq!(chain.lookups(), Lookups::Ready, "{case}");
    let durable = chain.log().durable();
    assert_eq!(chain.index().unwrap().indexed(), durable, "{case}");
    let mut state = ChainState::new(Vec::new(), None);
    let mut canonical = std::collections::BTreeMap::new();
    for lsn in 1..=durable.0 {
        let event = chain.read(Lsn(lsn)).unwrap();
        state.apply(event.head);
        let block = event.head.block;
        match event.head.op {
            Op::Applied => drop(canonical.insert(block.number, block.hash)),
            Op::Reverted => drop(canonical.remove(&block.number)),
            Op::Finalized => {}
        }
    }
    for lsn in 1..=durable.0 {
        let event = chain.read(Lsn(lsn)).unwrap();
        let Some(found) = event.block.filter(|_| event.head.op == Op::Applied) else { continue };
        let (number, hash) = (found.header.number, found.header.hash);
        let by_hash = chain.block_by_hash(hash).unwrap().and_then(|event| event.block);
        assert_eq!(by_hash.as_deref(), Some(&*found), "{case}: block {hash}");
        let by_transaction = chain.transaction(found.transactions[0].hash).unwrap();
        let by_transaction = by_transaction.map(|(event, at)| (event.block.unwrap(), at));
        let is_canonical = canonical.get(&number) == Some(&hash);
        let expected = is_canonical.then_some((found.clone(), 0));
        assert_eq!(by_transaction, expected, "{case}: the transaction of block {number}");
        if is_canonical {
            let by_number = chain.block_by_number(number).unwrap().and_then(|event| event.block);
            assert_eq!(by_number, Some(found), "{case}: block {number}");
        }
    }
    let senders: Vec<(u64, B256)> = canonical.iter().rev().map(|(n, hash)| (*n, *hash)).collect();
    let found = chain.by_address(Address::ZERO, u64::MAX, usize::MAX).unwrap();
    let found: Vec<(u64, B256)> = found
        .into_iter()
        .map(|(touch, transaction)| {
            let (event, _) = chain.transaction(transaction).unwrap().unwrap();
            (touch.block_number, event.head.block.hash)
        })
        .collect();
    assert_eq!(found, senders, "{case}: what the address sent, newest first");
}

#[test]
fn the_transaction_of_an_orphan_is_not_found_after_its_number_was_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(folder.path()).unwrap();
    let options = ChainOptions { index: Some(index::Options::default()), ..options() };
    let chain = Chain::open(&data_dir, &name(), 7, options).unwrap();
    chain.open_index().unwrap();
    let orphan = Arc::new(small_block(5, block(4).header.hash, 2));
    chain.append(&(0..5).map(|n| applied(block(n), Lane::Live)).collect::<Vec<_>>()).unwrap();
    chain.append(&[applied(orphan.clone(), Lane::Live)]).unwrap();
    check_lookups(&chain, "the orphan is canonical");
    chain.append(&[ChainEvent::Reverted(orphan.block_ref())]).unwrap();
    chain.append(&(5..20).map(|n| applied(block(n), Lane::Live)).collect::<Vec<_>>()).unwrap();
    check_lookups(&chain, "it is reverted");
    chain.append(&[ChainEvent::Finalized(block(18).block_ref())]).unwrap();
    while let Some(sealable) = chain.next_sealable(false) {
        chain.seal(&sealable).unwrap();
    }
    assert!(chain.with_state(|state| state.sealed().contains(5)));
    check_lookups(&chain, "its number is sealed");
    assert!(chain.transaction(orphan.transactions[0].hash).unwrap().is_none());
}

#[test]
fn lookups_are_right_after_any_crash() {
    let whole = SimulatedDisk::new();
    let Some(mounted) = mount(&whole) else { return };
    let (data_dir, chain) = open(&mounted, 0).unwrap();
    run(Work::of(0), &data_dir, &chain, &mut Told::default()).unwrap();
    check_lookups(&chain, "without a crash");
    drop((data_dir, chain));
    drop(mounted);
    let calls = whole.calls();
    let (survived, durable) = (AtomicU64::new(0), AtomicU64::new(0));
    for_each_seed(20, |seed| {
        let at = 1 + seed.wrapping_mul(7_919) % calls;
        let case = format!("HEADWATER_SEED={seed}, crash at call {at}");
        let work = Work::of(seed);
        let disk = SimulatedDisk::new();
        disk.crash_after(at);
        let mut told = Told::default();
        let mut live = |disk: &SimulatedDisk| {
            let mounted = Mounted::new(disk).unwrap();
            if let Ok((data_dir, chain)) = open(&mounted, seed) {
                run(work, &data_dir, &chain, &mut told).ok();
            }
        };
        live(&disk);
        // The recovery dies too, or what comes after it.
        let second = disk.after_crash(seed * 2 + 1);
        second.crash_after(seed * 13 % 211 + 1);
        live(&second);
        let third = second.after_crash((seed + 1).rotate_left(17));
        let mounted = Mounted::new(&third).unwrap();
        let (data_dir, chain) =
            open(&mounted, seed).unwrap_or_else(|error| panic!("{case}: {error}"));
        check(&data_dir, &chain, &told, &case);
        survived.fetch_add(chain.index().unwrap().indexed().0, Ordering::Relaxed);
        durable.fetch_add(chain.log().durable().0, Ordering::Relaxed);
        check_lookups(&chain, &case);
        run(work, &data_dir, &chain, &mut told).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        check(&data_dir, &chain, &told, &case);
        check_lookups(&chain, &case);
    });
    // One case that is replayed says nothing about most.
    if std::env::var_os("HEADWATER_SEED").is_none() {
        let (survived, durable) = (survived.into_inner(), durable.into_inner());
        assert!(survived * 2 > durable, "most were not begun anew: {survived} of {durable}");
    }
}
