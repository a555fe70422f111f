//! What a block and the one after it ask for gas: EIP-1559, and for blobs EIP-4844, 7691, 7892 and
//! 7918.

use alloy::eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy::eips::eip7840::BlobParams;
use headwater_storage::model::{Block, Header, Transaction};

const MAINNET: u64 = 1;
/// Chains whose base fee moves by Ethereum's parameters: Ethereum, Gnosis, Holesky, Hoodi, Sepolia,
/// and the chains of developers (geth's and ours, anvil's and Hardhat's).
const MOVE_AS_ETHEREUM: [u64; 7] = [MAINNET, 100, 1_337, 17_000, 31_337, 560_048, 11_155_111];
/// Ethereum's parameters of blobs by the time from which they hold, newest first: BPO2, BPO1,
/// Osaka, Prague, Cancun (go-ethereum, `params/config.go`).
const MAINNET_BLOBS: [(u64, BlobParams); 5] = [
    (1_767_747_671, BlobParams::bpo2()),
    (1_765_290_071, BlobParams::bpo1()),
    (1_764_798_551, BlobParams::osaka()),
    (1_746_612_311, BlobParams::prague()),
    (0, BlobParams::cancun()),
];
/// e^40 wei: above it the price of blob gas cannot be computed, and never was near it.
const BLOB_FEE_EXPONENT_MAX: u128 = 40;
/// A base fee above it is no chain's; it can be computed with.
const BASE_FEE_MAX: u128 = 1 << 62;

/// The parameters of blobs in a block. Those of other chains are not known here: Prague's are
/// taken.
pub(super) fn blob_params(chain_id: u64, header: &Header) -> BlobParams {
    let of_time = |(from, _): &&(u64, BlobParams)| header.time_seconds() >= *from;
    let known = MAINNET_BLOBS.iter().find(of_time).filter(|_| chain_id == MAINNET);
    known.map_or_else(BlobParams::prague, |(_, params)| *params)
}

/// The base fee of the block after this one. Where it moves by other rules (the OP stack, Arbitrum,
/// Polygon, BNB Smart Chain) it is taken to stay as it is; before EIP-1559 it is 0.
pub(super) fn next_base_fee(chain_id: u64, header: &Header) -> u128 {
    let base_fee = header.base_fee_per_gas.unwrap_or_default();
    let is_sound = base_fee <= BASE_FEE_MAX && header.gas_used <= header.gas_limit;
    match u64::try_from(base_fee) {
        Ok(fee) if fee > 0 && is_sound && MOVE_AS_ETHEREUM.contains(&chain_id) => {
            let (used, limit) = (header.gas_used, header.gas_limit);
            calc_next_block_base_fee(used, limit, fee, BaseFeeParams::ethereum()).into()
        }
        Ok(_) | Err(_) => base_fee,
    }
}

/// Wei per blob gas in a block; `None` before EIP-4844.
///
/// On other chains than Ethereum it is what the block's own blob transactions paid, and of a block
/// without any what Prague's parameters give.
pub(super) fn blob_base_fee(chain_id: u64, block: &Block) -> Option<u128> {
    let excess = block.header.excess_blob_gas?;
    let paid = block.receipts.iter().flatten().find_map(|receipt| receipt.blob_gas_price);
    let computed = || blob_fee(&blob_params(chain_id, &block.header), excess);
    Some(paid.filter(|_| chain_id != MAINNET).unwrap_or_else(computed))
}

/// Wei per blob gas in the block after this one; `None` before EIP-4844.
pub(super) fn next_blob_base_fee(chain_id: u64, header: &Header) -> Option<u128> {
    let params = blob_params(chain_id, header);
    let excess = header.excess_blob_gas?.min(excess_max(&params));
    let used = header.blob_gas_used.unwrap_or_default().min(params.max_blob_gas_per_block());
    let base_fee = u64::try_from(header.base_fee_per_gas.unwrap_or_default()).unwrap_or(u64::MAX);
    let next = params.next_block_excess_blob_gas_osaka(excess, used, base_fee);
    Some(blob_fee(&params, next))
}

fn blob_fee(params: &BlobParams, excess: u64) -> u128 {
    params.calc_blob_fee(excess.min(excess_max(params)))
}

fn excess_max(params: &BlobParams) -> u64 {
    let excess = params.update_fraction.saturating_mul(BLOB_FEE_EXPONENT_MAX);
    u64::try_from(excess).unwrap_or(u64::MAX)
}

/// Wei per gas that a transaction gives to the proposer; `None` where it does not even pay the base
/// fee, as deposits of rollups.
pub(super) fn effective_tip(transaction: &Transaction, base_fee: u128) -> Option<u128> {
    let fee = transaction.max_fee_per_gas.or(transaction.gas_price)?;
    let tip = transaction.max_priority_fee_per_gas.unwrap_or(fee);
    Some(tip.min(fee.checked_sub(base_fee)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(base_fee: u128, gas_used: u64) -> Header {
        let base_fee_per_gas = Some(base_fee);
        Header { base_fee_per_gas, gas_used, gas_limit: 30_000_000, ..Header::default() }
    }

    #[test]
    fn the_base_fee_moves_by_an_eighth_and_elsewhere_stays() {
        let gwei = 1_000_000_000;
        for (gas_used, expected) in
            [(0, gwei * 7 / 8), (15_000_000, gwei), (30_000_000, gwei * 9 / 8)]
        {
            assert_eq!(next_base_fee(1, &header(gwei, gas_used)), expected);
            assert_eq!(next_base_fee(10, &header(gwei, gas_used)), gwei);
        }
        assert_eq!(next_base_fee(1, &Header::default()), 0, "before EIP-1559");
        for wrong in [u128::MAX, u128::from(u64::MAX)] {
            assert_eq!(next_base_fee(1, &header(wrong, 30_000_000)), wrong);
        }
        assert_eq!(next_base_fee(1, &header(gwei, u64::MAX)), gwei);
    }

    #[test]
    fn blobs_cost_what_their_time_says() {
        let at = |chain_id, timestamp| {
            blob_params(chain_id, &Header { timestamp, ..Header::default() }).max_blob_count
        };
        let times = [1_720_000_000, 1_746_612_311, 1_764_798_551, 1_765_290_071, 1_767_747_671];
        assert_eq!(times.map(|time| at(1, time)), [6, 9, 9, 15, 21]);
        assert_eq!(at(10, 1_767_747_671), 9);
        let block = |excess| {
            let excess_blob_gas = Some(excess);
            let (timestamp, blob_gas_used) = (1_750_000_000, Some(u64::MAX));
            let header = Header { excess_blob_gas, timestamp, blob_gas_used, ..Header::default() };
            Block { header, ..Block::default() }
        };
        assert_eq!(blob_base_fee(1, &block(0)), Some(1));
        assert_eq!(blob_base_fee(1, &block(5_007_716 * 10)), Some(22_026));
        let highest = blob_base_fee(1, &block(u64::MAX));
        assert!(highest.is_some_and(|fee| fee > 1 << 57), "{highest:?}");
        assert!(next_blob_base_fee(1, &block(u64::MAX).header).is_some());
        assert_eq!(blob_base_fee(1, &Block::default()), None);
    }

    #[test]
    fn a_tip_is_what_the_base_fee_leaves() {
        let typed = |fee, tip| Transaction {
            max_fee_per_gas: Some(fee),
            max_priority_fee_per_gas: Some(tip),
            ..Transaction::default()
        };
        let legacy = Transaction { gas_price: Some(12), ..Transaction::default() };
        assert_eq!(effective_tip(&typed(20, 3), 10), Some(3));
        assert_eq!(effective_tip(&typed(11, 3), 10), Some(1));
        assert_eq!(effective_tip(&typed(9, 3), 10), None);
        assert_eq!(effective_tip(&legacy, 10), Some(2));
        assert_eq!(effective_tip(&Transaction::default(), 10), None);
    }
}
