//! How many blocks may be in flight: as many as are wanted, and no more than their bytes allow
//! (INV-10).

use headwater_storage::model::Block;

/// What a block is taken for before one was seen.
const FIRST_GUESS: u64 = 1 << 20;
/// A block in flight is there as the text of its answers, twice as long as the bytes in it, and as
/// what was read from that.
const COPIES: u64 = 3;
/// Bytes of the fields of a transaction with its receipt, of a log, and of a trace, beside those
/// that vary.
const TRANSACTION_BYTES: u64 = 1_000;
const LOG_BYTES: u64 = 300;
const TRACE_BYTES: u64 = 300;

/// The room for blocks in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    blocks_max: u64,
    bytes_max: u64,
    /// Bytes that a block takes, lately at most.
    of_block: u64,
}

impl Room {
    pub(super) fn new(blocks_max: usize, bytes_max: u64) -> Room {
        Room { blocks_max: blocks_max as u64, bytes_max, of_block: FIRST_GUESS }
    }

    /// A block came: the largest counts, and is forgotten slowly.
    pub(super) fn saw(&mut self, block: &Block) {
        let forgotten = self.of_block - self.of_block / 16;
        self.of_block = (COPIES * weight(block)).max(forgotten).max(1);
    }

    /// Whether one more may be asked for, beside those in flight and those that are appended; one
    /// always may.
    pub(super) fn is_there(&self, in_flight: usize, appended: usize) -> bool {
        let (in_flight, appended) = (in_flight as u64, appended as u64);
        let by_bytes = (self.bytes_max / self.of_block).max(1);
        in_flight < self.blocks_max && in_flight + appended < by_bytes.max(appended + 1)
    }
}

/// About the bytes in a block.
pub(super) fn weight(block: &Block) -> u64 {
    let transactions = block.transactions.iter().map(|t| TRANSACTION_BYTES + t.input.len() as u64);
    let logs = block.logs().map(|(_, log)| LOG_BYTES + log.data.len() as u64);
    let traces = block.traces.iter().map(|trace| {
        let output = trace.output.as_ref().map_or(0, |output| output.len());
        TRACE_BYTES + (trace.input.len() + output) as u64
    });
    transactions.sum::<u64>() + logs.sum::<u64>() + traces.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use headwater_storage::model::Transaction;

    use super::*;

    #[test]
    fn large_blocks_leave_room_for_few_and_small_ones_for_all_that_are_wanted() {
        let block = |bytes: usize| {
            let input = vec![0; bytes].into();
            let transaction = Transaction { input, ..Transaction::default() };
            Block { transactions: vec![transaction], ..Block::default() }
        };
        let mut room = Room::new(8, 64 << 20);
        let most = |room: &Room, appended| (0..100).find(|n| !room.is_there(*n, appended)).unwrap();
        assert_eq!(most(&room, 0), 8, "nothing is known yet");
        room.saw(&block(10 << 20));
        assert_eq!((most(&room, 0), most(&room, 1)), (2, 1));
        room.saw(&block(100 << 20));
        assert_eq!((most(&room, 0), most(&room, 5)), (1, 1), "one always may");
        for _ in 0..20 {
            room.saw(&block(100));
        }
        assert_eq!(most(&room, 0), 1, "it may come again");
        for _ in 0..200 {
            room.saw(&block(100));
        }
        assert_eq!((most(&room, 0), most(&room, 32)), (8, 8));
    }
}
