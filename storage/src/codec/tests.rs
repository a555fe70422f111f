//! A block's bytes: the same for ever, and never a panic on others.

use std::path::Path;

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

/// The bytes of a version never change: these files were written once and are only read.
#[test]
fn the_bytes_of_each_version_are_golden() {
    for (version, block) in [(1, sample()), (2, sample_with_traces())] {
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

#[test]
fn cut_and_flipped_bytes_are_errors_or_other_blocks_but_no_panic() {
    let mut bytes = Vec::new();
    encode_block(&sample_with_traces(), &mut bytes);
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
