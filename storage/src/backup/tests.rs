//! Backups in single scenes; crashes and faults while one is made are in the store's tests.

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::B256;

use super::*;
use crate::disk::{Disk, SimulatedDisk, read_file};
use crate::ledger::{self, Cursor, Way};
use crate::model::{Block, ChainEvent, ChainName, Lane, Lsn, Origin, Verified};
use crate::parquet::Grid;
use crate::store::{
    Chain, ChainOptions, DataDir, OpenError, Passed, Retention, SalvageRequest, salvage,
};
use crate::testing::small_block;
use crate::wal;

const TO: &str = "/backups";

fn name() -> ChainName {
    "test".parse().unwrap()
}

struct Folder {
    disk: SimulatedDisk,
    data_dir: DataDir,
    chain: Arc<Chain>,
}

fn open(disk: &SimulatedDisk, path: &str) -> Folder {
    let data_dir = DataDir::with_disk(Path::new(path), Arc::new(disk.clone()), None).unwrap();
    let options = ChainOptions {
        grid: Grid { blocks: 8 },
        wal: wal::Options { segment_bytes: 3 << 10 },
        index: None,
    };
    let chain = Arc::new(Chain::open(&data_dir, &name(), 7, options).unwrap());
    Folder { disk: disk.clone(), data_dir, chain }
}

impl Folder {
    /// Appends blocks up to a number, seals and trims.
    fn grow(&self, upto: u64) {
        let blocks = chain_of_blocks(upto);
        let next = self.chain.with_state(|s| s.head().map_or(0, |head| head.block.number + 1));
        for number in next..=upto {
            let block = blocks[number as usize].clone();
            let (lane, verified) = (Lane::Live, Verified::HEADER);
            let event = ChainEvent::Applied { block, lane, verified, origin: Origin::default() };
            self.chain.append(&[event]).unwrap();
        }
        let last = blocks[upto as usize - 2].block_ref();
        self.chain.append(&[ChainEvent::Finalized(last)]).unwrap();
        while let Some(sealable) = self.chain.next_sealable(false) {
            self.chain.seal(&sealable).unwrap();
        }
        let passed = Passed { required: Lsn(0), all: Lsn(0) };
        self.chain.forget(&Retention::default(), 0, passed).unwrap();
    }

    fn back_up(&self, at: u64, may_link: bool) -> Result<BackupReport, BackupError> {
        backup(&BackupRequest {
            data_dir: &self.data_dir,
            chains: std::slice::from_ref(&self.chain),
            to: Path::new(TO),
            may_link,
            made_at: at,
            is_stopped: &|| false,
        })
    }

    fn has_all(&self, upto: u64) {
        for (number, block) in chain_of_blocks(upto).iter().enumerate() {
            let found = self.chain.block_by_number(number as u64).unwrap();
            let found = found.unwrap_or_else(|| panic!("block {number} is gone"));
            assert_eq!(found.block.as_deref(), Some(&**block), "block {number}");
        }
    }
}

fn chain_of_blocks(upto: u64) -> Vec<Arc<Block>> {
    let mut parent = B256::ZERO;
    let next = |number| {
        let block = Arc::new(small_block(number, parent, 1));
        parent = block.header.hash;
        block
    };
    (0..=upto).map(next).collect()
}

fn restored(disk: &SimulatedDisk, backup: &Path, keeps_going: bool) -> Result<(), BackupError> {
    let request = RestoreRequest {
        disk: Arc::new(disk.clone()),
        backup,
        to: Path::new("restored"),
        keeps_going,
        at: 5,
    };
    restore(&request).map(|_| ())
}

#[test]
fn a_backup_shares_what_it_can_and_copies_the_rest_once() {
    let folder = open(&SimulatedDisk::new(), "data");
    folder.grow(30);
    let first = folder.back_up(1_000_000, true).unwrap();
    assert_eq!(first.path, Path::new("/backups/1970-01-12T134640Z"));
    assert!(first.linked_files >= 12, "parts and closed segments: {first:?}");
    let copied: u64 = first.copied_bytes;
    let ledger = read_file(&folder.disk, &first.path.join(ledger::FILE_NAME)).unwrap().len();
    assert!(copied < ledger as u64 + (3 << 10) + 100, "the ledger and a piece of the log");

    // Without sharing with the node all is copied once, also what the backup before shares with
    // it; then it is taken from the one before.
    let second = folder.back_up(1_000_001, false).unwrap();
    assert_eq!((second.linked_files, second.reused_files), (0, 0));
    assert_eq!((second.files, second.copied_bytes), (first.files, second.bytes));
    folder.grow(45);
    let third = folder.back_up(1_000_002, false).unwrap();
    assert!(third.reused_files >= 12 && third.copied_bytes < third.bytes, "{third:?}");
    for report in [&first, &second, &third] {
        let (manifest, damaged) = check(&folder.disk, &report.path).unwrap();
        assert_eq!(damaged, Vec::<String>::new());
        assert_eq!(manifest.files.len(), report.files);
    }
    assert!(matches!(folder.back_up(1_000_002, true), Err(BackupError::Exists { .. })));

    // An old backup goes by itself.
    folder.disk.remove_folder(&first.path).unwrap();
    restored(&folder.disk, &second.path, false).unwrap();
    let again = open(&folder.disk, "restored");
    again.has_all(30);
    assert_eq!(again.chain.log().durable(), second.chains[0].lsn);
    let descent = again.data_dir.ledger().descent().unwrap().unwrap();
    assert_eq!((descent.way, descent.at), (Way::Restored, 5));
    again.grow(50);
    again.has_all(50);
    folder.has_all(45);
    assert!(check(&folder.disk, &second.path).unwrap().1.is_empty(), "the backup is as it was");
}

#[test]
fn a_folder_of_backups_in_the_data_folder_or_relative_is_refused() {
    let disk = SimulatedDisk::new();
    let folder = open(&disk, "/data");
    folder.grow(10);
    let to = |to: &str| {
        let request = BackupRequest {
            data_dir: &folder.data_dir,
            chains: std::slice::from_ref(&folder.chain),
            to: Path::new(to),
            may_link: true,
            made_at: 1,
            is_stopped: &|| false,
        };
        backup(&request).unwrap_err().to_string()
    };
    assert!(to("/data/backups").contains("outside"));
    assert!(to("backups").contains("absolute"));
    let stopping = BackupRequest {
        data_dir: &folder.data_dir,
        chains: std::slice::from_ref(&folder.chain),
        to: Path::new(TO),
        may_link: false,
        made_at: 1,
        is_stopped: &|| true,
    };
    assert!(matches!(backup(&stopping), Err(BackupError::Stopped)));
    assert!(disk.list(Path::new(TO)).unwrap().is_empty(), "nothing is left of it");
}

#[test]
fn a_backup_is_not_run_and_a_damaged_one_is_named() {
    let folder = open(&SimulatedDisk::new(), "data");
    folder.grow(40);
    let made = folder.back_up(9, false).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(folder.disk.clone());
    assert!(matches!(
        DataDir::with_disk(&made.path, disk.clone(), None),
        Err(OpenError::Backup { .. })
    ));
    assert!(matches!(check(disk.as_ref(), Path::new(TO)), Err(BackupError::None { .. })));

    // A manifest that was made up writes nowhere.
    let manifest = Manifest::load(disk.as_ref(), &made.path).unwrap();
    for file in ["../../etc/passwd", "/etc/passwd", "parts/../../x"] {
        let mut forged = manifest.clone();
        forged.files[0].path = file.to_owned();
        let text = serde_json::to_vec(&forged).unwrap();
        crate::disk::write_file(disk.as_ref(), Path::new("/forged/MANIFEST.json"), &text).unwrap();
        match restored(&folder.disk, Path::new("/forged"), true) {
            Err(BackupError::Outside { file: named, .. }) => assert_eq!(named, file),
            other => panic!("{other:?}"),
        }
    }
    let part = manifest.files.iter().find(|file| file.path.starts_with("parts/blocks")).unwrap();
    folder.disk.flip_bit(&made.path.join(&part.path), part.bytes / 2);
    assert_eq!(check(disk.as_ref(), &made.path).unwrap().1, std::slice::from_ref(&part.path));
    let refused = restored(&folder.disk, &made.path, false).unwrap_err();
    assert!(refused.to_string().contains(&part.path), "{refused}");
    assert!(matches!(
        DataDir::with_disk(Path::new("restored"), disk, None),
        Err(OpenError::Unfinished { .. })
    ));
    restored(&folder.disk, &made.path, true).unwrap();
    let again = open(&folder.disk, "restored");
    let missing = again.chain.with_state(|state| state.gaps(Some(0)));
    assert_eq!(missing.iter().map(crate::model::BlockRange::len).sum::<u64>(), 8, "{missing:?}");
    assert!(restored(&folder.disk, &made.path, true).is_err(), "it is not empty any more");
}

#[test]
fn a_damaged_part_does_not_get_into_a_backup() {
    let folder = open(&SimulatedDisk::new(), "data");
    folder.grow(40);
    let part = folder.chain.with_state(|state| state.parts().first().cloned()).unwrap();
    folder.disk.flip_bit(&Path::new("data").join(&part.path), part.file_bytes / 2);
    match folder.back_up(9, true) {
        Err(BackupError::DamagedPart { path }) => assert_eq!(path, part.path),
        other => panic!("{other:?}"),
    }
    assert_eq!(folder.chain.damages().unwrap().len(), 1, "it is set aside");
    assert!(folder.back_up(10, true).is_ok());
}

#[test]
fn a_ledger_that_is_damaged_anywhere_is_made_again() {
    let disk = SimulatedDisk::new();
    let folder = open(&disk, "data");
    folder.grow(40);
    let cursor = Cursor { exported: Lsn(20), ..Cursor::default() };
    folder.data_dir.ledger().set_cursor("sink", &name(), cursor).unwrap();
    let made = folder.back_up(9, false).unwrap();
    let path = Path::new("data").join(ledger::FILE_NAME);
    let bytes = read_file(&disk, &path).unwrap();
    let facts = folder.chain.with_state(|state| (state.captured(), state.finalized()));
    drop(folder);
    let mut anew = 0;
    for seed in 0..60_u64 {
        let disk = disk.after_crash(1);
        // Pages that are not used are as good as empty.
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % used.len()];
        disk.flip_bit(&path, at as u64);
        let request = SalvageRequest {
            disk: Arc::new(disk.clone()),
            path: Path::new("data"),
            backup: seed.is_multiple_of(2).then_some(made.path.as_path()),
            is_dry_run: false,
        };
        let report = salvage(&request).unwrap_or_else(|error| panic!("{at}: {error}"));
        anew += usize::from(report.is_ledger_new);
        let folder = open(&disk, "data");
        folder.has_all(40);
        let found = folder.chain.with_state(|state| (state.captured(), state.finalized()));
        assert_eq!(found, facts, "{at}");
        let cursor = folder.data_dir.ledger().cursor("sink", &name()).unwrap();
        if report.is_ledger_new && request.backup.is_none() {
            assert_eq!(cursor, None, "{at}");
            assert!(report.findings.iter().any(|text| text.contains("cursors")), "{report:?}");
        } else {
            assert_eq!(cursor.unwrap().exported, Lsn(20), "{at}");
        }
        folder.grow(50);
        folder.has_all(50);
        let again = salvage(&request);
        drop(folder);
        assert!(again.is_ok());
    }
    assert!(anew > 10, "{anew} flips were noticed");
}

#[test]
fn nothing_is_lost_with_the_ledger_format_file_and_a_foreign_segment() {
    let disk = SimulatedDisk::new();
    let folder = open(&disk, "data");
    folder.grow(40);
    let wal = folder.data_dir.wal_folder(&name());
    drop(folder);
    for file in [ledger::FILE_NAME, "FORMAT"] {
        disk.remove(&Path::new("data").join(file)).unwrap();
    }
    // A segment of another chain, under the name of the next one.
    let other = open(&disk, "other");
    other.grow(3);
    drop(other);
    let stray = disk.list(&Path::new("other").join("chains/test/wal")).unwrap()[0].clone();
    let bytes = read_file(&disk, &Path::new("other/chains/test/wal").join(stray)).unwrap();
    let foreign = wal.join(format!("{:020}.wal", 900));
    crate::disk::write_file(&disk, &foreign, &foreign_header(&bytes, 900)).unwrap();
    let mut request = SalvageRequest {
        disk: Arc::new(disk.clone()),
        path: Path::new("data"),
        backup: None,
        is_dry_run: true,
    };
    let before = disk.calls();
    let findings = salvage(&request).unwrap().findings;
    assert_eq!(disk.calls(), before, "a dry run changes nothing");
    assert_eq!(findings.len(), 3, "{findings:?}");
    request.is_dry_run = false;
    salvage(&request).unwrap();
    assert_eq!(disk.list(Path::new("data/quarantine")).unwrap().len(), 1);
    let folder = open(&disk, "data");
    folder.has_all(40);
    assert_eq!(salvage(&request).unwrap().findings, Vec::<String>::new());
    let empty = SalvageRequest { path: Path::new("nothing"), ..request };
    assert!(salvage(&empty).unwrap_err().to_string().contains("nothing to repair"));
}

#[test]
fn a_part_in_a_bad_sector_does_not_keep_a_folder_from_being_repaired() {
    let disk = SimulatedDisk::new();
    let folder = open(&disk, "data");
    folder.grow(40);
    let part = folder.chain.with_state(|state| state.parts().first().cloned()).unwrap();
    drop(folder);
    disk.spoil(&Path::new("data").join(&part.path), 100);
    disk.remove(&Path::new("data").join(ledger::FILE_NAME)).unwrap();
    let request = SalvageRequest {
        disk: Arc::new(disk.clone()),
        path: Path::new("data"),
        backup: None,
        is_dry_run: false,
    };
    let report = salvage(&request).unwrap();
    assert!(report.findings.iter().any(|text| text.contains(&part.path)), "{report:?}");
    let missing = open(&disk, "data").chain.with_state(|state| state.gaps(Some(0)));
    assert_eq!(missing, [part.range], "that run alone is fetched again");
}

/// The header of a segment of chain 8 that begins at a record.
fn foreign_header(segment: &[u8], first: u64) -> Vec<u8> {
    let mut bytes = segment[..64].to_vec();
    bytes[12..20].copy_from_slice(&8_u64.to_le_bytes());
    bytes[20..28].copy_from_slice(&first.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    bytes
}
