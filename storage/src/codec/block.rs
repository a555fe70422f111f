//! A block's bytes: header, transactions, receipts, withdrawals and, from version 2 on, traces,
//! each field in the order of its declaration in `model`. Version 3 ends with the fields of the
//! header that were learned later.

use alloy_primitives::Bytes;

use crate::model::{Block, Learned as _};

use super::wire::{DecodeError, Input, Wire};

/// The highest version that is known.
pub const VERSION: u8 = 3;

/// Appends the bytes of a block and gives their version, the lowest that says all: 1 without
/// traces, 2 with them, 3 when the header has a field of Amsterdam.
pub fn encode_block(block: &Block, out: &mut Vec<u8>) -> u8 {
    block.header.put(out);
    block.transactions.put(out);
    block.receipts.put(out);
    block.withdrawals.put(out);
    let has_learned = block.header.has_learned();
    if block.traces.is_empty() && !has_learned {
        return 1;
    }
    block.traces.put(out);
    if !has_learned {
        return 2;
    }
    block.header.put_learned(out);
    3
}

/// Reads a block of the given version; all bytes must be used. Its byte strings share their memory.
pub fn decode_block(version: u8, bytes: &Bytes) -> Result<Block, DecodeError> {
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::Version { version });
    }
    let mut input = Input::new(bytes);
    let mut block = Block {
        header: Wire::take(&mut input)?,
        transactions: Wire::take(&mut input)?,
        receipts: Wire::take(&mut input)?,
        withdrawals: Wire::take(&mut input)?,
        traces: if version == 1 { Vec::new() } else { Wire::take(&mut input)? },
    };
    if version >= 3 {
        block.header.take_learned(&mut input)?;
    }
    if input.remaining() > 0 {
        return Err(DecodeError::Trailing { bytes: input.remaining() });
    }
    // What was stored before these fields and other units of time were known.
    block.header.learn();
    block.settle_times();
    Ok(block)
}
