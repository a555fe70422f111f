//! `eth_feeHistory`: what gas cost in each of some blocks, and will cost in the one after them.

use headwater_storage::model::{Block, BlockRange};
use headwater_storage::store::Chain;
use serde_json::{Map, Value, json};

use crate::http::facade::error::CallError;
use crate::http::facade::params::{Height, Params, height, wrong};
use crate::http::facade::read::{Ends, no_receipts};

use super::rules::{blob_base_fee, blob_params, effective_tip, next_base_fee, next_blob_base_fee};
use super::walk::of_each;

/// Blocks of one answer, and percentiles of each; as in go-ethereum.
const BLOCKS_MAX: u64 = 1_024;
const PERCENTILES_MAX: usize = 100;

/// What is asked.
pub(in crate::http::facade) struct History {
    count: u64,
    newest: Height,
    percentiles: Vec<f64>,
}

/// What is said of one block.
struct Cost {
    base_fee: u128,
    gas_used_ratio: f64,
    blob_base_fee: u128,
    blob_gas_used_ratio: f64,
    rewards: Vec<u128>,
    /// Of the block after it.
    next: (u128, u128),
}

impl History {
    pub(super) fn read(params: &Params) -> Result<History, CallError> {
        let count = params.count(0)?;
        if !(1..=BLOCKS_MAX).contains(&count) {
            let problem = format!("{count} blocks: ask for 1 to {BLOCKS_MAX}");
            return Err(CallError::Argument { place: 0, problem });
        }
        let newest = height(1, params.required(1)?)?;
        let percentiles = params.get(2).map_or_else(|| Ok(Vec::new()), percentiles)?;
        Ok(History { count, newest, percentiles })
    }

    /// The result as JSON; reads the disk.
    pub(super) fn answer(
        &self,
        chain: &Chain,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<String, CallError> {
        let range = self.range(&Ends::of(chain))?;
        let costs = of_each(chain, range, is_wanted, |block| self.cost(chain, block))?;
        Ok(self.object(range.first, &costs).to_string())
    }

    /// The blocks that are meant: a chain that is shorter has fewer.
    fn range(&self, ends: &Ends) -> Result<BlockRange, CallError> {
        let (last, head) = (ends.number(self.newest)?, ends.latest()?.number);
        if last > head {
            let problem = format!("request beyond head block: {last} is above {head} ({head:#x})");
            return Err(CallError::Argument { place: 1, problem });
        }
        Ok(BlockRange { first: (last + 1).saturating_sub(self.count), last })
    }

    fn cost(&self, chain: &Chain, block: &Block) -> Result<Cost, CallError> {
        let (chain_id, header) = (chain.chain_id(), &block.header);
        let blob_gas = header.blob_gas_used.unwrap_or_default();
        let blob_gas_max = blob_params(chain_id, header).max_blob_gas_per_block();
        let next_blob = next_blob_base_fee(chain_id, header).unwrap_or_default();
        Ok(Cost {
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            gas_used_ratio: ratio(header.gas_used, header.gas_limit),
            blob_base_fee: blob_base_fee(chain_id, block).unwrap_or_default(),
            blob_gas_used_ratio: ratio(blob_gas, blob_gas_max),
            rewards: match rewards(block, &self.percentiles) {
                Some(rewards) => rewards,
                None => return Err(no_receipts(chain, block)),
            },
            next: (next_base_fee(chain_id, header), next_blob),
        })
    }

    fn object(&self, oldest: u64, costs: &[Cost]) -> Value {
        let wei = |fee: u128| Value::from(format!("{fee:#x}"));
        let (next, next_blob) = costs.last().map_or((0, 0), |cost| cost.next);
        let fees = costs.iter().map(|cost| cost.base_fee).chain([next]);
        let blob_fees = costs.iter().map(|cost| cost.blob_base_fee).chain([next_blob]);
        let ratios = costs.iter().map(|cost| cost.gas_used_ratio);
        let blob_ratios = costs.iter().map(|cost| cost.blob_gas_used_ratio);
        let mut object = Map::new();
        object.insert("oldestBlock".to_owned(), format!("{oldest:#x}").into());
        object.insert("baseFeePerGas".to_owned(), fees.map(wei).collect());
        object.insert("gasUsedRatio".to_owned(), ratios.collect());
        object.insert("baseFeePerBlobGas".to_owned(), blob_fees.map(wei).collect());
        object.insert("blobGasUsedRatio".to_owned(), blob_ratios.collect());
        if !self.percentiles.is_empty() {
            let rewards = costs.iter().map(|cost| json!(list(&cost.rewards)));
            object.insert("reward".to_owned(), rewards.collect());
        }
        Value::Object(object)
    }
}

fn list(rewards: &[u128]) -> Vec<String> {
    rewards.iter().map(|reward| format!("{reward:#x}")).collect()
}

fn percentiles(value: &Value) -> Result<Vec<f64>, CallError> {
    let due = "a list of at most 100 percentiles from 0 to 100, ascending";
    let refused = || wrong(2, value, due);
    let list = value.as_array().filter(|list| list.len() <= PERCENTILES_MAX);
    let list: Option<Vec<f64>> = list.ok_or_else(refused)?.iter().map(Value::as_f64).collect();
    let list = list.ok_or_else(refused)?;
    let is_right = list.iter().all(|one| (0.0..=100.0).contains(one)) && list.is_sorted();
    if is_right { Ok(list) } else { Err(refused()) }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is not exact")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The tip at each percentile of a block's gas, transactions ordered by their tips; zeros of a
/// block without transactions, `None` where their gas is not known.
fn rewards(block: &Block, percentiles: &[f64]) -> Option<Vec<u128>> {
    if percentiles.is_empty() || block.transactions.is_empty() {
        return Some(vec![0; percentiles.len()]);
    }
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let receipts = block.receipts.as_ref()?;
    let pairs = block.transactions.iter().zip(receipts);
    let mut paid: Vec<(u128, u64)> = pairs
        .map(|(sent, receipt)| (effective_tip(sent, base_fee).unwrap_or(0), receipt.gas_used))
        .collect();
    paid.sort_unstable_by_key(|(tip, _)| *tip);
    Some(percentiles.iter().map(|one| at_percentile(&paid, block.header.gas_used, *one)).collect())
}

/// The tip at which so much of a block's gas is reached; the highest where none is.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as in go-ethereum: the threshold is whole gas below a fraction of a block's"
)]
fn at_percentile(paid: &[(u128, u64)], gas_used: u64, percentile: f64) -> u128 {
    let threshold = (gas_used as f64 * percentile / 100.0) as u64;
    let mut gas = 0_u64;
    for (tip, used) in paid {
        gas = gas.saturating_add(*used);
        if gas >= threshold {
            return *tip;
        }
    }
    paid.last().map_or(0, |(tip, _)| *tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: Value) -> Result<History, CallError> {
        Params::new(Some(params)).and_then(|params| History::read(&params))
    }

    #[test]
    fn what_is_asked_is_read_as_clients_write_it() {
        for (params, count, percentiles) in [
            (json!(["0x4", "latest", []]), 4, 0),
            (json!([4, "latest"]), 4, 0),
            (json!(["0x400", "0x10", null]), 1_024, 0),
            (json!(["0x1", "pending", [0, 12.5, 50, 50, 100]]), 1, 5),
        ] {
            let read = read(params.clone()).unwrap();
            assert_eq!((read.count, read.percentiles.len()), (count, percentiles), "{params}");
        }
        for params in [
            json!([]),
            json!(["0x4"]),
            json!(["0x0", "latest"]),
            json!(["0x401", "latest"]),
            json!([-1, "latest"]),
            json!([1.5, "latest"]),
            json!(["0x4", "latest", [50, 25]]),
            json!(["0x4", "latest", [-1]]),
            json!(["0x4", "latest", [100.1]]),
            json!(["0x4", "latest", ["0x1"]]),
            json!(["0x4", "latest", 50]),
            json!(["0x4", "latest", vec![50; 101]]),
        ] {
            assert!(read(params.clone()).is_err(), "{params}");
        }
    }

    #[test]
    fn tips_are_weighed_by_gas() {
        let paid = [(1, 10), (2, 80), (9, 10)];
        let at = |percentile| at_percentile(&paid, 100, percentile);
        assert_eq!([0.0, 10.0, 11.0, 50.0, 90.0, 91.0, 100.0].map(at), [1, 1, 2, 2, 2, 9, 9]);
        assert_eq!(at_percentile(&paid, 1_000, 100.0), 9, "a block may count more than its parts");
        assert_eq!(at_percentile(&[], 0, 50.0), 0);
    }
}
