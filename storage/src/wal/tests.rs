//! The log gives back what went in, cuts torn tails, and refuses every other damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::B256;

use super::frame::FrameHead;
use super::layout::Layout;
use super::*;
use crate::disk::{Disk, Mode, SimulatedDisk};
use crate::model::{Block, BlockRef, ChainEvent, Lane, Lsn, Origin, Provider, Verified};
use crate::testing::small_block;

/// No record is 0.
const NOTHING: std::ops::RangeInclusive<u64> = 0..=0;
const SMALL: Options = Options { segment_bytes: 4 << 10 };

fn folder() -> PathBuf {
    PathBuf::from("wal")
}

fn shared(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn open_on(disk: &SimulatedDisk, acknowledged: u64) -> Result<Writer, Error> {
    open(&shared(disk), &folder(), 1, SMALL, Lsn(acknowledged))
}

fn blocks(count: u64) -> Vec<Arc<Block>> {
    let mut parent = B256::ZERO;
    let next = |number| {
        let block = Arc::new(small_block(number, parent, 1));
        parent = block.header.hash;
        block
    };
    (0..count).map(next).collect()
}

fn applied(block: &Arc<Block>) -> Record {
    let (block, lane, verified) = (block.clone(), Lane::Live, Verified::HEADER);
    let origin = Origin { provider: Provider::named("infura"), at_micros: 1_764_000_000_000_000 };
    Record::new(&ChainEvent::Applied { block, lane, verified, origin })
}

fn write_blocks(disk: &SimulatedDisk, count: u64) -> Vec<Arc<Block>> {
    let blocks = blocks(count);
    let mut writer = open_on(disk, 0).unwrap();
    for pair in blocks.chunks(2) {
        let records: Vec<Record> = pair.iter().map(applied).collect();
        writer.append(&records).unwrap();
    }
    blocks
}

/// The last segment and the offset of its frame `back` from the end.
fn last_frame(disk: &SimulatedDisk, back: usize) -> (PathBuf, u64) {
    let names = disk.list(&folder()).unwrap();
    let name = layout::SegmentName::parse(names.last().unwrap()).unwrap();
    let segment = segment::Segment::open(disk, &folder(), 1, name, Mode::Read).unwrap();
    let scan = segment.scan_last(Lsn::ZERO).unwrap();
    let offset = segment.offset(Lsn(scan.next.0 - 1 - back as u64)).unwrap();
    (segment.path, offset)
}

fn segment_path(first: u64, is_trimmed: bool) -> PathBuf {
    folder().join(layout::SegmentName { first: Lsn(first), is_trimmed }.file_name())
}

/// Every record is there, but those that must be lost.
fn assert_lost(log: &Log, blocks: &[Arc<Block>], lost: std::ops::RangeInclusive<u64>) {
    for (block, lsn) in blocks.iter().zip(1..) {
        let read = log.read(Lsn(lsn));
        if lost.contains(&lsn) {
            assert!(matches!(read, Err(Error::Lost { .. })), "record {lsn}: {read:?}");
        } else {
            assert_eq!(read.unwrap().block.as_ref(), Some(block), "record {lsn}");
        }
    }
}

#[test]
fn records_come_back_across_segments_and_restarts() {
    let disk = SimulatedDisk::new();
    let blocks = write_blocks(&disk, 50);
    assert!(disk.list(&folder()).unwrap().len() > 3, "several segments");
    let mut writer = open_on(&disk, 50).unwrap();
    let reverted = ChainEvent::Reverted(BlockRef { number: 49, hash: blocks[49].header.hash });
    writer.append(&[Record::new(&reverted)]).unwrap();
    let log = open_on(&disk, 51).unwrap().log().clone();
    assert_eq!(log.durable(), Lsn(51));
    for (block, lsn) in blocks.iter().zip(1..) {
        let event = log.read(Lsn(lsn)).unwrap();
        assert_eq!(event.block.as_ref(), Some(block));
        assert_eq!(event.head.parent_hash, block.header.parent_hash);
        assert_eq!(log.head(Lsn(lsn)).unwrap(), event.head);
    }
    assert!(matches!(log.read(Lsn(52)), Err(Error::Unknown { .. })));
}

#[test]
fn nobody_reads_what_was_written_and_not_synced() {
    let mut refused = 0;
    for calls in 0..4 {
        let disk = SimulatedDisk::new();
        write_blocks(&disk, 4);
        let mut writer = open_on(&disk, 4).unwrap();
        let log = writer.log().clone();
        disk.crash_after(calls);
        if writer.append(&[applied(&blocks(5)[4])]).is_err() {
            let read = log.read(Lsn(5));
            assert!(matches!(read, Err(Error::Unknown { .. })), "after {calls} calls (INV-4)");
            assert_eq!(log.durable(), Lsn(4));
            refused += 1;
        }
    }
    assert!(refused >= 2, "the write and the sync failed once each");
}

#[test]
fn a_record_larger_than_a_segment_gets_a_larger_segment() {
    let disk = SimulatedDisk::new();
    let mut big = small_block(0, B256::ZERO, 1);
    let noise = (0..20_000_u64).map(|at| ((at * at * 2_654_435_761) >> 7) as u8);
    big.transactions[0].input = noise.collect::<Vec<u8>>().into();
    let big = Arc::new(big);
    let mut writer = open_on(&disk, 0).unwrap();
    writer.append(&[applied(&big)]).unwrap();
    assert_eq!(open_on(&disk, 1).unwrap().log().read(Lsn(1)).unwrap().block, Some(big));
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let base = SimulatedDisk::new();
    write_blocks(&base, 3);
    let (path, start) = last_frame(&base, 0);
    let end = {
        let tail = base.open(&path, Mode::Read).unwrap();
        let mut bytes = vec![0; 4096];
        let read = tail.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(read);
        bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
    };
    for cut in start..end {
        let disk = base.after_crash(1);
        let file = disk.open(&path, Mode::Write).unwrap();
        let size = file.size().unwrap();
        file.resize(cut).unwrap();
        file.resize(size).unwrap();
        drop(file);
        let mut writer = open_on(&disk, 2).unwrap();
        assert_eq!(writer.log().durable(), Lsn(2), "cut at {cut}");
        writer.append(&[applied(&blocks(3)[2])]).unwrap();
        assert_eq!(open_on(&disk, 3).unwrap().log().durable(), Lsn(3), "cut at {cut}");
    }
}

#[test]
fn an_acknowledged_record_that_is_damaged_is_a_hole_and_the_log_goes_on_in_a_new_file() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 3);
    let (path, start) = last_frame(&disk, 0);
    disk.flip_bit(&path, start + 60);
    let mut writer = open_on(&disk, 3).unwrap();
    let holes = writer.log().take_holes();
    let hole = Hole {
        first: Lsn(3),
        last: Lsn(3),
        segment: path.clone(),
        offset: start,
        damage: Damage::Checksum,
    };
    assert_eq!(holes, [hole], "the damage is named");
    assert_eq!(writer.next_lsn(), Lsn(4), "the number of a lost record is not given again");
    let all = blocks(4);
    writer.append(&[applied(&all[3])]).unwrap();
    assert_lost(writer.log(), &all, 3..=3);
    let again = open_on(&disk, 4).unwrap();
    assert_lost(again.log(), &all, 3..=3);
    assert_eq!(again.log().durable(), Lsn(4));
}

#[test]
fn damage_before_a_durable_record_is_a_hole_even_without_a_ledger() {
    for (back, offset) in [(3, 20), (3, 118), (3, 165), (5, 0), (6, 9)] {
        let disk = SimulatedDisk::new();
        let options = Options { segment_bytes: 64 << 10 };
        let blocks = blocks(9);
        let mut writer = open(&shared(&disk), &folder(), 1, options, Lsn::ZERO).unwrap();
        for block in &blocks {
            writer.append(&[applied(block)]).unwrap();
        }
        let (path, start) = last_frame(&disk, back);
        disk.flip_bit(&path, start + offset);
        let lost = 9 - back as u64;
        let writer = open(&shared(&disk), &folder(), 1, options, Lsn::ZERO).unwrap();
        assert_eq!(writer.log().durable(), Lsn(9));
        assert_lost(writer.log(), &blocks, lost..=lost);
        assert_eq!(writer.log().weight(Lsn(lost)).unwrap(), 0);
    }
}

#[test]
fn a_file_without_records_that_cannot_be_read_is_made_anew() {
    for offset in [0, 1_024] {
        let disk = SimulatedDisk::new();
        write_blocks(&disk, 50);
        segment::Segment::create(&disk, &folder(), 1, Lsn(51), 4 << 10).unwrap();
        disk.spoil(&segment_path(51, false), offset);
        let mut writer = open_on(&disk, 50).unwrap();
        assert_eq!(writer.next_lsn(), Lsn(51));
        let all = blocks(60);
        for block in &all[50..] {
            writer.append(&[applied(block)]).unwrap();
        }
        let again = open_on(&disk, 60).unwrap();
        assert_lost(again.log(), &all, NOTHING);
        assert_eq!(again.log().take_holes(), []);
    }
}

#[test]
fn sectors_that_read_as_zeros_are_a_hole() {
    let disk = SimulatedDisk::new();
    let blocks = write_blocks(&disk, 50);
    let first = writer_first_of_second_segment(&disk);
    let file = disk.open(&segment_path(1, false), Mode::Write).unwrap();
    let before = layout::HEADER_BYTES;
    file.write_at(&[0; 512], before).unwrap();
    drop(file);
    let log = open_on(&disk, 50).unwrap().log().clone();
    assert!(matches!(log.read(Lsn(1)), Err(Error::Lost { .. })));
    let holes = log.take_holes();
    assert_eq!((holes.len(), holes[0].first), (1, Lsn(1)), "{holes:?}");
    assert_lost(&log, &blocks, 1..=holes[0].last.0);
    assert!(holes[0].last.0 + 1 < first, "the rest of the segment is read");
}

fn writer_first_of_second_segment(disk: &SimulatedDisk) -> u64 {
    let names = disk.list(&folder()).unwrap();
    layout::SegmentName::parse(&names[1]).unwrap().first.0
}

#[test]
fn damage_in_an_older_segment_is_named_when_it_is_read() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 50);
    let head_bytes = layout::HEAD_BYTES_MAX as u64;
    disk.flip_bit(&segment_path(1, false), layout::HEADER_BYTES + head_bytes + 5);
    let writer = open_on(&disk, 50).unwrap();
    let log = writer.log();
    assert!(matches!(
        log.read(Lsn(1)),
        Err(Error::Damaged { lsn: Lsn(1), damage: Damage::Checksum, .. })
    ));
    assert!(log.head(Lsn(1)).is_ok(), "a head has a checksum of its own");
    assert!(log.read(Lsn(2)).is_ok());
}

#[test]
fn a_damaged_header_and_a_missing_file_take_only_what_was_in_them() {
    let disk = SimulatedDisk::new();
    let blocks = write_blocks(&disk, 50);
    let second = writer_first_of_second_segment(&disk);
    disk.flip_bit(&segment_path(1, false), 13);
    let log = open_on(&disk, 50).unwrap().log().clone();
    assert_lost(&log, &blocks, NOTHING);
    disk.remove(&segment_path(second, false)).unwrap();
    let log = open_on(&disk, 50).unwrap().log().clone();
    let third = writer_first_of_second_segment(&disk);
    assert_lost(&log, &blocks, second..=third - 1);
}

#[test]
fn a_trimmed_segment_keeps_heads_weights_and_what_parts_do_not_hold() {
    let disk = SimulatedDisk::new();
    let blocks = write_blocks(&disk, 50);
    let log = open_on(&disk, 50).unwrap().log().clone();
    let weights =
        |log: &Log| -> Vec<u64> { (1..=50).map(|lsn| log.weight(Lsn(lsn)).unwrap()).collect() };
    let heads = |log: &Log| -> Vec<crate::model::EventHead> {
        (1..=50).map(|lsn| log.head(Lsn(lsn)).unwrap()).collect()
    };
    let before = (weights(&log), heads(&log));
    let second = writer_first_of_second_segment(&disk);
    let is_in_parts = |lsn: Lsn| lsn != Lsn(3);
    let freed = log.trim(Lsn(1), is_in_parts).unwrap();
    assert!(freed > 0);
    assert_eq!(log.trim(log.segments().last().unwrap().first, is_in_parts).unwrap(), 0);
    for log in [log, open_on(&disk, 50).unwrap().log().clone()] {
        assert_eq!((weights(&log), heads(&log)), before, "batches are cut alike (INV-7)");
        for (block, lsn) in blocks.iter().zip(1..) {
            let is_kept = lsn == 3 || lsn >= second;
            assert_eq!(log.has_payload(Lsn(lsn)).unwrap(), is_kept);
            let expected = is_kept.then_some(block);
            assert_eq!(log.read(Lsn(lsn)).unwrap().block.as_ref(), expected, "record {lsn}");
        }
        assert!(log.segments()[0].is_trimmed);
    }
    assert!(!disk.list(&folder()).unwrap().iter().any(|name| open::is_temporary(name)));
}

#[test]
fn a_crash_while_a_segment_is_trimmed_leaves_all_heads() {
    let base = SimulatedDisk::new();
    let blocks = write_blocks(&base, 30);
    for calls in 0.. {
        let disk = base.after_crash(1);
        let log = open_on(&disk, 30).unwrap().log().clone();
        disk.crash_after(calls);
        let is_done = log.trim(Lsn(1), |_| true).is_ok();
        for seed in 1..6 {
            let log = open_on(&disk.after_crash(seed), 30).unwrap().log().clone();
            for (block, lsn) in blocks.iter().zip(1..) {
                let read = log.read(Lsn(lsn)).unwrap();
                assert_eq!(read.head.block, block.block_ref(), "record {lsn}, call {calls}");
                assert!(read.block.is_none() || read.block.as_ref() == Some(block));
            }
            assert_eq!(log.take_holes(), [], "call {calls}");
        }
        if is_done {
            assert!(calls > 4, "it died at each step before");
            return;
        }
    }
}

#[test]
fn segments_are_dropped_whole_and_what_was_in_them_is_unknown() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 50);
    let log = open_on(&disk, 50).unwrap().log().clone();
    let second = writer_first_of_second_segment(&disk);
    log.drop_before(Lsn(second - 1)).unwrap();
    assert_eq!(log.first(), Lsn(1));
    assert!(log.drop_before(Lsn(second)).unwrap() > 0);
    for log in [log, open_on(&disk, 50).unwrap().log().clone()] {
        assert_eq!(log.first(), Lsn(second));
        assert!(matches!(log.head(Lsn(1)), Err(Error::Unknown { .. })));
        assert!(log.read(Lsn(second)).is_ok());
    }
}

#[test]
fn few_segments_are_open_however_long_the_log_is() {
    let disk = SimulatedDisk::new();
    let blocks = write_blocks(&disk, 400);
    let log = open_on(&disk, 400).unwrap().log().clone();
    for _ in 0..2 {
        assert_lost(&log, &blocks, NOTHING);
    }
    let slots = log.slots.read().unwrap();
    let open = slots.values().filter(|slot| slot.segment.is_some()).count();
    assert!(slots.len() > 30 && open <= 18, "{open} of {} are open", slots.len());
}

#[test]
fn newer_and_foreign_segments_are_refused() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 1);
    let other = open(&shared(&disk), &folder(), 5, SMALL, Lsn::ZERO);
    assert!(matches!(other, Err(Error::ForeignChain { found: 1, expected: 5, .. })));
    let path = segment_path(1, false);
    let mut bytes = crate::disk::read_file(&disk, &path).unwrap();
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
    disk.open(&path, Mode::Write).unwrap().write_at(&bytes, 0).unwrap();
    assert!(matches!(open_on(&disk, 0), Err(Error::Version { version: 9, .. })));
}

#[test]
fn a_full_disk_refuses_the_group_and_takes_it_later() {
    let disk = SimulatedDisk::new();
    let mut writer = open_on(&disk, 0).unwrap();
    let blocks = blocks(40);
    disk.set_capacity(Some(10 << 10));
    let mut written = 0;
    let full = loop {
        match writer.append(&[applied(&blocks[written])]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, Error::Disk(error) if error.is_full()), "{full}");
    disk.set_capacity(None);
    for block in &blocks[written..] {
        writer.append(&[applied(block)]).unwrap();
    }
    let log = open_on(&disk, 40).unwrap().log().clone();
    for (block, lsn) in blocks.iter().zip(1..) {
        assert_eq!(log.read(Lsn(lsn)).unwrap().block.as_ref(), Some(block));
    }
}

/// The bytes of a version never change: these files were written once and are only read.
#[test]
fn segments_of_every_version_are_read_and_the_last_is_written_alike() {
    let golden = |version: u32| {
        let name = format!("src/wal/golden-v{version}.wal");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    };
    let write = || {
        let disk = SimulatedDisk::new();
        let options = Options { segment_bytes: 1 << 10 };
        let mut writer = open(&shared(&disk), &folder(), 1, options, Lsn::ZERO).unwrap();
        let block = blocks(1).remove(0);
        let finalized = ChainEvent::Finalized(block.block_ref());
        writer.append(&[applied(&block), Record::new(&finalized)]).unwrap();
        crate::disk::read_file(&disk, &segment_path(1, false)).unwrap()
    };
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() && !golden(2).exists() {
        std::fs::write(golden(2), write()).unwrap();
    }
    assert_eq!(std::fs::read(golden(2)).unwrap(), write(), "today's writer gives the same bytes");
    for version in 1..=2 {
        let disk = SimulatedDisk::new();
        let file = disk.open(&segment_path(1, false), Mode::Create).unwrap();
        file.write_at(&std::fs::read(golden(version)).unwrap(), 0).unwrap();
        let mut writer = open_on(&disk, 2).unwrap();
        let all = blocks(2);
        assert_eq!(writer.log().read(Lsn(1)).unwrap().block.as_ref(), Some(&all[0]));
        let provider = writer.log().head(Lsn(1)).unwrap().origin.provider.name();
        assert_eq!(provider, (version > 1).then_some("infura"));
        // What is written next stands in a file of today's version, and both are read and trimmed.
        writer.append(&[applied(&all[1])]).unwrap();
        let log = open_on(&disk, 3).unwrap().log().clone();
        let weight = log.weight(Lsn(1)).unwrap();
        assert_eq!(log.read(Lsn(3)).unwrap().block.as_ref(), Some(&all[1]));
        if log.segments().len() > 1 {
            log.trim(Lsn(1), |_| true).unwrap();
        }
        assert_eq!(log.weight(Lsn(1)).unwrap(), weight, "version {version}");
        assert_eq!(log.head(Lsn(1)).unwrap().block, all[0].block_ref());
    }
}

#[test]
fn any_bytes_are_the_head_of_a_frame_or_damage() {
    bolero::check!().with_type::<(Vec<u8>, bool)>().for_each(|(bytes, is_sealed)| {
        let mut bytes = bytes.clone();
        bytes.resize(160, 7);
        if *is_sealed {
            // What lies behind the checksum is read too.
            let checksum = crc32c::crc32c(&bytes[4..156]);
            bytes[156..].copy_from_slice(&checksum.to_le_bytes());
        }
        for layout in [Layout::V1, Layout::V2] {
            let Ok(Some(head)) = FrameHead::parse(layout, &bytes) else { continue };
            assert!(head.frame_bytes() > 0);
            let _damage = head.check(&bytes, &[]);
        }
    });
}
