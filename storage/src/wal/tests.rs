//! The log gives back what went in, cuts torn tails, and refuses every other damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::B256;

use super::*;
use crate::disk::{Disk, Mode, SimulatedDisk};
use crate::model::{Block, BlockRef, ChainEvent, Lane, Lsn, Verified};
use crate::testing::small_block;

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
    Record::new(&ChainEvent::Applied { block, lane, verified })
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
    let path = folder().join(names.last().unwrap());
    let first = segment::parse_name(names.last().unwrap()).unwrap();
    let segment = segment::Segment::open(disk, &folder(), 1, first, Mode::Read).unwrap();
    let mut offsets = Vec::new();
    segment.walk(|_, offset| offsets.push(offset)).unwrap();
    (path, offsets[offsets.len() - 1 - back])
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
fn an_acknowledged_record_that_is_torn_is_damage_not_a_tail() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 3);
    let (path, start) = last_frame(&disk, 0);
    disk.flip_bit(&path, start + 60);
    let error = open_on(&disk, 3).err().unwrap();
    assert!(
        matches!(error, Error::Damaged { lsn: Lsn(3), damage: Damage::Checksum, .. }),
        "{error}"
    );
}

#[test]
fn damage_before_a_durable_record_is_refused_even_without_a_ledger() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 8);
    let (path, start) = last_frame(&disk, 3);
    disk.flip_bit(&path, start + 20);
    assert!(matches!(open_on(&disk, 0), Err(Error::Damaged { .. })));
}

#[test]
fn damage_in_an_older_segment_is_named_when_it_is_read() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 50);
    let path = folder().join(segment::file_name(Lsn(1)));
    disk.flip_bit(&path, segment::HEADER_BYTES + frame::HEAD_BYTES as u64 + 5);
    let writer = open_on(&disk, 50).unwrap();
    let log = writer.log();
    assert!(matches!(
        log.read(Lsn(1)),
        Err(Error::Damaged { lsn: Lsn(1), damage: Damage::Checksum, .. })
    ));
    assert!(log.read(Lsn(2)).is_ok());
}

#[test]
fn newer_and_foreign_segments_are_refused() {
    let disk = SimulatedDisk::new();
    write_blocks(&disk, 1);
    let other = open(&shared(&disk), &folder(), 5, SMALL, Lsn::ZERO);
    assert!(matches!(other, Err(Error::Damaged { .. } | Error::ForeignChain { .. })));
    let path = folder().join(segment::file_name(Lsn(1)));
    let file = disk.open(&path, Mode::Write).unwrap();
    file.write_at(&9_u32.to_le_bytes(), 8).unwrap();
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

/// The bytes of version 1 never change: this file was written once and is only read.
#[test]
fn a_segment_of_version_1_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal/golden-v1.wal");
    let write = || {
        let disk = SimulatedDisk::new();
        let options = Options { segment_bytes: 1 << 10 };
        let mut writer = open(&shared(&disk), &folder(), 1, options, Lsn::ZERO).unwrap();
        let block = blocks(1).remove(0);
        let finalized = ChainEvent::Finalized(block.block_ref());
        writer.append(&[applied(&block), Record::new(&finalized)]).unwrap();
        crate::disk::read_file(&disk, &folder().join(segment::file_name(Lsn(1)))).unwrap()
    };
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() && !golden.exists() {
        std::fs::write(&golden, write()).unwrap();
    }
    let bytes = std::fs::read(&golden).unwrap();
    assert_eq!(bytes, write(), "today's writer gives the same bytes");
    let disk = SimulatedDisk::new();
    let file = disk.open(&folder().join(segment::file_name(Lsn(1))), Mode::Create).unwrap();
    file.write_at(&bytes, 0).unwrap();
    let log = open_on(&disk, 2).unwrap().log().clone();
    assert_eq!(log.read(Lsn(1)).unwrap().block, Some(blocks(1).remove(0)));
}
