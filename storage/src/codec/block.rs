//! A block's bytes: header, transactions, receipts, withdrawals and, from version 2 on, traces,
//! each field in the order of its declaration in `model`.

use alloy_primitives::Bytes;

use crate::model::Block;

use super::wire::{DecodeError, Input, Wire};

/// The highest version that is known.
pub const VERSION: u8 = 2;

/// Appends the bytes of a block and gives their version: 1 without traces, 2 with them.
pub fn encode_block(block: &Block, out: &mut Vec<u8>) -> u8 {
    block.header.put(out);
    block.transactions.put(out);
    block.receipts.put(out);
    block.withdrawals.put(out);
    if block.traces.is_empty() {
        return 1;
    }
    block.traces.put(out);
    2
}

/// Reads a block of the given version; all bytes must be used. Its byte strings share their memory.
pub fn decode_block(version: u8, bytes: &Bytes) -> Result<Block, DecodeError> {
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::Version { version });
    }
    let mut input = Input::new(bytes);
    let block = Block {
        header: Wire::take(&mut input)?,
        transactions: Wire::take(&mut input)?,
        receipts: Wire::take(&mut input)?,
        withdrawals: Wire::take(&mut input)?,
        traces: if version == 1 { Vec::new() } else { Wire::take(&mut input)? },
    };
    match input.remaining() {
        0 => Ok(block),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}
