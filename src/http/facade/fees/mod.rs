//! What gas costs, from the blocks that are here: `eth_gasPrice`, `eth_maxPriorityFeePerGas`,
//! `eth_blobBaseFee` and `eth_feeHistory`.

mod history;
mod oracle;
mod rules;
mod walk;

use headwater_storage::store::Chain;

use super::error::CallError;
use super::params::{BlockId, Height, Params};
use super::read::{find, quantity};

use history::History;

/// What is asked.
pub(super) enum FeeQuestion {
    /// A legacy transaction's price.
    GasPrice,
    /// A tip.
    Tip,
    /// The price of blob gas in the head.
    BlobBaseFee,
    /// What blocks cost.
    History(History),
}

impl FeeQuestion {
    /// What a method asks; `None` for one that asks nothing of this kind.
    pub(super) fn of(method: &str, params: &Params) -> Result<Option<FeeQuestion>, CallError> {
        Ok(Some(match method {
            "eth_gasPrice" => FeeQuestion::GasPrice,
            "eth_maxPriorityFeePerGas" => FeeQuestion::Tip,
            "eth_blobBaseFee" => FeeQuestion::BlobBaseFee,
            "eth_feeHistory" => FeeQuestion::History(History::read(params)?),
            _ => return Ok(None),
        }))
    }

    /// The result as JSON; reads the disk.
    pub(super) fn answer(
        self,
        chain: &Chain,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<String, CallError> {
        match self {
            FeeQuestion::GasPrice => oracle::gas_price(chain, is_wanted).map(quantity),
            FeeQuestion::Tip => oracle::tip(chain, is_wanted).map(quantity),
            FeeQuestion::BlobBaseFee => {
                let head = find(chain, BlockId::Height(Height::Latest))?;
                let fee = head.and_then(|block| rules::blob_base_fee(chain.chain_id(), &block));
                Ok(fee.map_or_else(|| "null".to_owned(), quantity))
            }
            FeeQuestion::History(history) => history.answer(chain, is_wanted),
        }
    }
}
