//! What goes in comes out, newest first, also after a restart and after the folder was destroyed.

use alloy_primitives::{Address, B256};

use super::*;
use crate::model::{Block, Header, Lsn, Receipt, Transaction};

fn block(number: u64, sender: u8) -> Block {
    let transaction = Transaction {
        hash: B256::repeat_byte(number as u8),
        from: Address::repeat_byte(sender),
        to: Some(Address::repeat_byte(9)),
        ..Transaction::default()
    };
    let hash = B256::repeat_byte(0x80 | number as u8);
    Block {
        header: Header { hash, number, ..Header::default() },
        transactions: vec![transaction],
        receipts: Some(vec![Receipt::default()]),
        withdrawals: None,
        traces: Vec::new(),
    }
}

#[test]
fn lookups_find_the_last_place_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let index = Index::open(&path, Options::default()).unwrap();
    let (one, two) = (block(1, 1), block(2, 1));
    index.insert(&[(Lsn(4), &one), (Lsn(5), &two)], Lsn(6)).unwrap();
    index.persist().unwrap();
    drop(index);
    let index = Index::open(&path, Options::default()).unwrap();
    assert_eq!(index.indexed(), Lsn(6));
    assert_eq!(index.block_by_hash(one.header.hash).unwrap(), Some(Lsn(4)));
    assert_eq!(index.block_by_number(2).unwrap(), Some(Lsn(5)));
    assert_eq!(index.block_by_number(3).unwrap(), None);
    let place = index.transaction(B256::repeat_byte(2)).unwrap();
    assert_eq!(place, Some(Place { lsn: Lsn(5), at: 0 }));
    let numbers = |address, before| -> Vec<u64> {
        let found = index.by_address(Address::repeat_byte(address), before, 10).unwrap();
        found.iter().map(|(touch, _)| touch.block_number).collect()
    };
    assert_eq!(numbers(9, u64::MAX), [2, 1]);
    assert_eq!(numbers(9, 2), [1]);
    assert!(numbers(1, 1).is_empty());
    assert!(numbers(7, u64::MAX).is_empty());
}

#[test]
fn of_each_block_all_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index"), Options::default()).unwrap();
    let busy = |number| {
        let mut block = block(number, 1);
        for salt in 1..5_u8 {
            let hash = B256::repeat_byte((0x10 * salt) | number as u8);
            block.transactions.push(Transaction { hash, ..block.transactions[0].clone() });
        }
        block
    };
    for number in 0..4 {
        let lsn = Lsn(number + 1);
        index.insert(&[(lsn, &busy(number))], lsn).unwrap();
    }
    let numbers = |before, limit| -> Vec<u64> {
        let found = index.by_address(Address::repeat_byte(1), before, limit).unwrap();
        found.iter().map(|(touch, _)| touch.block_number).collect()
    };
    assert_eq!(numbers(u64::MAX, 1), [3; 5]);
    assert_eq!(numbers(3, 6), [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]);
    assert_eq!(numbers(3, 5), [2; 5]);
    assert_eq!(numbers(1, 9), [0; 5]);
    assert!(numbers(3, 0).is_empty() && numbers(0, 9).is_empty(), "nothing is before block 0");
}

#[test]
fn an_index_with_a_foreign_folder_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    drop(Index::open(&path, Options::default()).unwrap());
    // Its engine takes it for granted that folders have numbers for names.
    std::fs::create_dir(path.join("keyspaces").join("foreign")).unwrap();
    let index = Index::open(&path, Options::default()).unwrap();
    assert_eq!(index.indexed(), Lsn::ZERO);
    assert!(path.with_extension("damaged").join("keyspaces/foreign").is_dir());
}

#[test]
fn a_destroyed_index_is_set_aside_and_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    drop(Index::open(&path, Options::default()).unwrap());
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_file() {
            std::fs::write(&entry, b"garbage").unwrap();
        }
    }
    let index = Index::open(&path, Options::default()).unwrap();
    assert_eq!(index.indexed(), Lsn::ZERO);
    assert!(path.with_extension("damaged").is_dir());
}
