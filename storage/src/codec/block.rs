//! A block's bytes, version 1: header, transactions, receipts, withdrawals, each field in the
//! order of its declaration in `model`.

use alloy_primitives::Bytes;

use crate::model::Block;

use super::wire::{DecodeError, Input, Wire};

/// The version that is written.
pub const VERSION: u8 = 1;

/// Appends the bytes of a block.
pub fn encode_block(block: &Block, out: &mut Vec<u8>) {
    block.header.put(out);
    block.transactions.put(out);
    block.receipts.put(out);
    block.withdrawals.put(out);
}

/// Reads a block of the given version; all bytes must be used. Its byte strings share their memory.
pub fn decode_block(version: u8, bytes: &Bytes) -> Result<Block, DecodeError> {
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    let mut input = Input::new(bytes);
    let block = Block {
        header: Wire::take(&mut input)?,
        transactions: Wire::take(&mut input)?,
        receipts: Wire::take(&mut input)?,
        withdrawals: Wire::take(&mut input)?,
    };
    match input.remaining() {
        0 => Ok(block),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}
