//! A tip that gets a transaction into the next blocks, by go-ethereum's oracle.

use headwater_storage::model::{Block, BlockRange};
use headwater_storage::store::Chain;

use crate::http::facade::error::CallError;
use crate::http::facade::read::Ends;

use super::rules::effective_tip;
use super::walk::of_each;

/// Blocks that are looked at, tips of each, and which of them is taken (go-ethereum,
/// `eth/gasprice/gasprice.go`).
const BLOCKS: u64 = 20;
const TIPS_OF_EACH: usize = 3;
const PERCENTILE: usize = 60;
/// Tips below this many wei are ignored; none above that many is proposed.
const TIP_MIN: u128 = 2;
const TIP_MAX: u128 = 500_000_000_000;
/// What is proposed where no block has a tip.
const TIP_DEFAULT: u128 = 1_000_000_000;

/// Wei per gas for the proposer.
pub(super) fn tip(chain: &Chain, is_wanted: &dyn Fn() -> bool) -> Result<u128, CallError> {
    Ok(look(chain, is_wanted)?.0)
}

/// Wei per gas altogether: the tip, and the head's base fee.
pub(super) fn gas_price(chain: &Chain, is_wanted: &dyn Fn() -> bool) -> Result<u128, CallError> {
    let (tip, base_fee) = look(chain, is_wanted)?;
    Ok(base_fee.saturating_add(tip))
}

fn look(chain: &Chain, is_wanted: &dyn Fn() -> bool) -> Result<(u128, u128), CallError> {
    let last = Ends::of(chain).latest()?.number;
    // A chain that is followed since a moment ago has fewer.
    let followed = chain.with_state(|state| state.captured().iter().next_back());
    let first = followed.filter(|range| range.contains(last)).map_or(last, |range| range.first);
    let range = BlockRange { first: first.max((last + 1).saturating_sub(BLOCKS)), last };
    let found = of_each(chain, range, is_wanted, |block| {
        Ok((lowest_tips(block), block.header.base_fee_per_gas.unwrap_or_default()))
    })?;
    let base_fee = found.last().map_or(0, |(_, base_fee)| *base_fee);
    Ok((proposal(found.into_iter().flat_map(|(tips, _)| tips).collect()), base_fee))
}

/// The lowest tips of a block that are no gifts; what its own proposer sends pays nobody.
fn lowest_tips(block: &Block) -> Vec<u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let paying = block.transactions.iter().filter(|sent| sent.from != block.header.miner);
    let mut tips: Vec<u128> = paying
        .filter_map(|sent| effective_tip(sent, base_fee))
        .filter(|tip| *tip >= TIP_MIN)
        .collect();
    tips.sort_unstable();
    tips.truncate(TIPS_OF_EACH);
    tips
}

fn proposal(mut tips: Vec<u128>) -> u128 {
    tips.sort_unstable();
    let place = tips.len().saturating_sub(1) * PERCENTILE / 100;
    tips.get(place).copied().unwrap_or(TIP_DEFAULT).min(TIP_MAX)
}

#[cfg(test)]
mod tests {
    use headwater_storage::model::{Address, Header, Transaction};

    use super::*;

    #[test]
    fn three_of_each_block_count_and_neither_gifts_nor_the_proposers_own() {
        let sent = |from, price| Transaction {
            from: Address::repeat_byte(from),
            gas_price: Some(price),
            ..Transaction::default()
        };
        let header = Header {
            miner: Address::repeat_byte(9),
            base_fee_per_gas: Some(10),
            ..Header::default()
        };
        let prices = [(1, 50), (1, 11), (9, 13), (1, 5), (1, 12), (1, 20), (1, 15)];
        let transactions = prices.map(|(from, price)| sent(from, price)).to_vec();
        let block = Block { header, transactions, ..Block::default() };
        assert_eq!(lowest_tips(&block), [2, 5, 10]);
    }

    #[test]
    fn the_sixtieth_percentile_is_proposed() {
        assert_eq!(proposal(Vec::new()), TIP_DEFAULT);
        assert_eq!(proposal(vec![7]), 7);
        assert_eq!(proposal((1..=11).rev().collect()), 7);
        assert_eq!(proposal(vec![u128::MAX]), TIP_MAX);
    }
}
