//! How far back a key gives receipts.

use serde_json::{Value, json};

use crate::rpc::Call;

use super::asker::Asker;
use super::key::Way;

/// Blocks below the head that are looked at, beside block 1.
const DEPTHS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Looks between the last block that has receipts and the first that has not.
const HALVINGS_MAX: u32 = 16;

/// How far back receipts go.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Reach {
    /// The oldest block whose receipts were there, with those of all blocks looked at above it.
    pub oldest: Option<u64>,
    /// The newest block below whose receipts were not there; `None` where they go back to the
    /// beginning.
    pub newest_missing: Option<u64>,
    /// What was looked at on the way, as far as it was planned beforehand.
    pub looks: Vec<Look>,
}

/// One look.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Look {
    /// The block.
    pub number: u64,
    /// Blocks below the head.
    pub below_head: u64,
    /// Whether its receipts were there.
    pub is_there: bool,
    /// Why not, in the provider's words.
    pub words: Option<String>,
}

/// Looks for receipts further and further back, then for the place where they end.
pub(super) async fn reach(asker: &mut Asker, way: Way, head: u64) -> Reach {
    let mut found = Reach { oldest: Some(head), ..Reach::default() };
    let first = (head > 1).then_some(1);
    let planned = DEPTHS.into_iter().filter_map(|depth| head.checked_sub(depth));
    for number in planned.filter(|number| *number > 1).chain(first) {
        let result = has_receipts(asker, way, number).await;
        if asker.ended().is_some() {
            return found;
        }
        match &result {
            Ok(()) if found.newest_missing.is_none() => found.oldest = Some(number),
            Ok(()) => {}
            Err(_) => {
                found.newest_missing.get_or_insert(number);
            }
        }
        let (is_there, words) = (result.is_ok(), result.err());
        found.looks.push(Look { number, below_head: head - number, is_there, words });
    }
    for _ in 0..HALVINGS_MAX {
        let (Some(oldest), Some(missing)) = (found.oldest, found.newest_missing) else { break };
        // One part in a hundred of how far it reaches is near enough.
        if oldest.saturating_sub(missing) <= 1 + (head - oldest) / 100 {
            break;
        }
        let middle = missing + (oldest - missing) / 2;
        let result = has_receipts(asker, way, middle).await;
        if asker.ended().is_some() {
            break;
        }
        match result {
            Ok(()) => found.oldest = Some(middle),
            Err(_) => found.newest_missing = Some(middle),
        }
    }
    found
}

/// Whether the receipts of a block are there.
async fn has_receipts(asker: &mut Asker, way: Way, number: u64) -> Result<(), String> {
    if way == Way::ByNumber {
        let receipts: Vec<Value> = asker.read(&Call::block_receipts(number)).await?;
        if !receipts.is_empty() {
            return Ok(());
        }
    }
    let header: Value = asker.read(&Call::header(&format!("{number:#x}"))).await?;
    let transactions = header.get("transactions").and_then(Value::as_array);
    let transactions = transactions.ok_or("a block without a list of transactions")?;
    let Some(transaction) = transactions.first() else { return Ok(()) };
    let call = match way {
        Way::ByNumber => return Err("an empty list for a block with transactions".to_owned()),
        Way::ByHash => Call::other("eth_getBlockReceipts", &json!([header.get("hash")])),
        Way::OneByOne => Call::other("eth_getTransactionReceipt", &json!([transaction])),
    };
    let receipts: Value = asker.read(&call).await?;
    match receipts.as_array() {
        Some(list) if list.is_empty() => Err("an empty list".to_owned()),
        Some(_) | None => Ok(()),
    }
}
