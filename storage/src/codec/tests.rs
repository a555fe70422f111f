//! A block's bytes: the same for ever, and never a panic on others.

use std::path::Path;

use alloy_primitives::Bytes;

use super::*;
use crate::testing;

fn sample() -> crate::model::Block {
    let text = include_str!("golden-v1.json");
    let (block, receipts) = text.split_once("\n---\n").unwrap();
    testing::parse(block, Some(receipts)).unwrap()
}

fn sample_with_traces() -> crate::model::Block {
    crate::model::Block { traces: testing::traces(), ..sample() }
}

fn sample_of_amsterdam() -> crate::model::Block {
    let text = include_str!("golden-v1.json");
    let (block, receipts) = text.split_once("\n---\n").unwrap();
    testing::parse(&with_amsterdam(block, "\"0x1e240\""), Some(receipts)).unwrap()
}

/// The block with the fields of Amsterdam in its header.
fn with_amsterdam(block: &str, slot: &str) -> String {
    let hash = alloy_primitives::B256::repeat_byte(0xba);
    let fields = format!("{{\"blockAccessListHash\":\"{hash}\",\"slotNumber\":{slot},");
    block.replacen('{', &fields, 1)
}

/// The bytes of a version never change: these files were written once and are only read.
#[test]
fn the_bytes_of_each_version_are_golden() {
    for (version, block) in [(1, sample()), (2, sample_with_traces()), (3, sample_of_amsterdam())] {
        let name = format!("src/codec/golden-v{version}.bin");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let mut bytes = Vec::new();
        assert_eq!(encode_block(&block, &mut bytes), version, "the lowest that says it");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() && !golden.exists() {
            std::fs::write(&golden, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&golden).unwrap(), bytes);
        assert_eq!(decode_block(version, &bytes.into()).unwrap(), block);
    }
}

/// A version that did not know the fields of Amsterdam kept them among the unknown ones.
#[test]
fn what_was_stored_as_unknown_is_known_when_it_is_read_and_given_back_once() {
    for (slot, number) in [("\"0x1e240\"", Some(123_456)), ("123456", Some(123_456)), ("{}", None)]
    {
        let text = include_str!("golden-v1.json").split_once("\n---\n").unwrap().0;
        let text = with_amsterdam(text, slot);
        let mut stored = sample();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let extra = stored.header.extra.get_or_insert_default();
        for key in ["blockAccessListHash", "slotNumber"] {
            extra.insert(key.to_owned(), value[key].clone());
        }
        let mut bytes = Vec::new();
        assert_eq!(encode_block(&stored, &mut bytes), 1, "as the old version wrote it");
        let read = decode_block(1, &bytes.into()).unwrap();
        let hash = alloy_primitives::B256::repeat_byte(0xba);
        assert_eq!(read.header.block_access_list_hash, Some(hash));
        assert_eq!(read.header.slot_number, number);
        let json = read.to_json();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        assert_eq!(json.matches("slotNumber").count(), 1, "{json}");
        let mut again = Vec::new();
        let version = encode_block(&read, &mut again);
        assert_eq!(decode_block(version, &again.into()).unwrap(), read);
    }
}

#[test]
fn a_field_that_was_learned_is_given_back_as_it_came() {
    let (text, _) = include_str!("golden-v1.json").split_once("\n---\n").unwrap();
    for slot in ["\"0x7\"", "null", "7", "\"0x07\"", "\"a name of the chain's own\"", "[1]"] {
        let text = with_amsterdam(text, slot);
        let block = testing::parse(&text, None).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(encode_block(&block, &mut bytes), 3);
        let read = decode_block(3, &bytes.into()).unwrap();
        assert_eq!(read, block);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&read.to_json()), value(&text));
    }
}

#[test]
fn cut_and_flipped_bytes_are_errors_or_other_blocks_but_no_panic() {
    let mut bytes = Vec::new();
    let sample = crate::model::Block { traces: testing::traces(), ..sample_of_amsterdam() };
    encode_block(&sample, &mut bytes);
    for end in 0..bytes.len() {
        assert!(decode_block(VERSION, &bytes[..end].to_vec().into()).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0xff;
        decode_block(VERSION, &flipped.into()).ok();
    }
    bytes.push(0);
    assert!(matches!(
        decode_block(VERSION, &bytes.clone().into()),
        Err(DecodeError::Trailing { bytes: 1 })
    ));
    assert!(matches!(decode_block(9, &bytes.into()), Err(DecodeError::Version { version: 9 })));
}

#[test]
fn every_recorded_block_survives_its_bytes() {
    let Some(data) = testing::chain_data() else { return };
    let mut count = 0;
    for folder in testing::block_folders(&data) {
        let block = testing::read_gz(&folder.join("block.json.gz")).unwrap();
        let receipts = testing::read_gz(&folder.join("receipts.json.gz"));
        let Ok(block) = testing::parse(&block, receipts.as_deref()) else { continue };
        let mut bytes = Vec::new();
        let version = encode_block(&block, &mut bytes);
        assert_eq!(decode_block(version, &bytes.into()).unwrap(), block, "{}", folder.display());
        count += 1;
    }
    assert!(count > 800, "{count} blocks");
}

#[test]
fn any_bytes_are_a_block_or_an_error() {
    let golden: [(u8, &[u8]); 3] = [
        (1, include_bytes!("golden-v1.bin")),
        (2, include_bytes!("golden-v2.bin")),
        (3, include_bytes!("golden-v3.bin")),
    ];
    bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|changes| {
        let raw: Vec<u8> = changes.iter().map(|(_, byte)| *byte).collect();
        for (version, bytes) in golden {
            drop(decode_block(version, &Bytes::from(raw.clone())));
            let mut bytes = bytes.to_vec();
            for (at, byte) in changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            drop(decode_block(version, &Bytes::from(bytes)));
        }
    });
}
