//! JSON-RPC: the methods that a follower needs, and `devnet_*` to steer.

use alloy::primitives::{B256, U64, U256};
use serde_json::{Value, json};

use super::node::Built;
use super::{Faults, Provider, receipts, traces};

/// Answers a body; a batch that is refused gets one error.
pub(super) fn answer(provider: &Provider, body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(_)) if provider.faults().no_batches => {
            error(&Value::Null, -32600, "batch requests are not allowed")
        }
        Ok(Value::Array(calls))
            if provider.faults().batch_max > 0 && calls.len() > provider.faults().batch_max =>
        {
            let max = provider.faults().batch_max;
            error(&Value::Null, -32600, &format!("batch of {} calls: at most {max}", calls.len()))
        }
        Ok(Value::Array(calls)) => {
            let calls = calls.iter().enumerate();
            let answers: Vec<String> = calls.map(|(at, call)| one(provider, call, at)).collect();
            format!("[{}]", answers.join(","))
        }
        Ok(call) => one(provider, &call, 0),
        Err(problem) => error(&Value::Null, -32700, &format!("parse error: {problem}")),
    }
}

fn error(id: &Value, code: i64, message: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }).to_string()
}

fn result(id: &Value, text: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{text}}}")
}

/// What a method gives: JSON text, or an error.
type Given = Result<String, (i64, String)>;

/// The answer to one call; `at` is its place in a batch.
fn one(provider: &Provider, call: &Value, at: usize) -> String {
    let id = call.get("id").cloned().unwrap_or(Value::Null);
    let method = call.get("method").and_then(Value::as_str).unwrap_or_default();
    let params = call.get("params").and_then(Value::as_array).cloned().unwrap_or_default();
    let given = match method {
        name if name.starts_with("devnet_") => steer(provider, name, &params),
        name => read(provider, name, &params, at),
    };
    match given {
        Ok(text) => result(&id, &text),
        Err((code, message)) => error(&id, code, &message),
    }
}

fn missing(method: &str) -> (i64, String) {
    (-32601, format!("the method {method} does not exist/is not available"))
}

fn invalid(what: &str) -> (i64, String) {
    (-32602, format!("invalid argument: {what}"))
}

fn quantity(number: u64) -> String {
    format!("\"{number:#x}\"")
}

fn read(provider: &Provider, method: &str, params: &[Value], at: usize) -> Given {
    let first = params.first();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match method {
        "eth_chainId" => Ok(quantity(provider.chain.config().chain_id)),
        "net_version" => Ok(format!("\"{}\"", provider.chain.config().chain_id)),
        "web3_clientVersion" => Ok(format!("\"headwater-devnet/{}\"", env!("CARGO_PKG_VERSION"))),
        "eth_syncing" => Ok("false".to_owned()),
        "eth_blockNumber" => {
            Ok(quantity(provider.chain.head().saturating_sub(provider.faults().lag)))
        }
        "eth_getBlockByNumber" | "eth_getBlockByHash" => {
            let name = text(first).ok_or_else(|| invalid("no block"))?;
            if name == "finalized" && provider.happens(provider.faults().wrong_final) {
                return Ok(wrong_final(provider));
            }
            let block = find(provider, &name)?;
            let is_full = params.get(1).and_then(Value::as_bool).unwrap_or(false);
            Ok(block.map_or_else(null, |block| block_text(provider, &block, is_full)))
        }
        "eth_getBlockReceipts" if provider.faults().no_block_receipts => Err(missing(method)),
        "eth_getBlockReceipts" => {
            let parameter = first.ok_or_else(|| invalid("no block"))?;
            let name = parameter.get("blockHash").unwrap_or(parameter);
            let block = find(provider, &text(Some(name)).ok_or_else(|| invalid("no block"))?)?;
            let Some(block) = block else { return Ok(null()) };
            let bad = receipts::bad_list(provider, &block, parameter, at);
            bad.unwrap_or_else(|| Ok(receipts_text(provider, &block)))
        }
        "trace_block" if provider.faults().no_trace_block => Err(missing(method)),
        "debug_traceBlockByNumber" if provider.faults().no_debug_trace => Err(missing(method)),
        "trace_block" | "debug_traceBlockByNumber" => {
            let block = find(provider, &text(first).ok_or_else(|| invalid("no block"))?)?;
            let is_flat = method == "trace_block";
            Ok(block.map_or_else(null, |block| traces_text(provider, &block, is_flat)))
        }
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
            let hash: Option<B256> = text(first).and_then(|text| text.parse().ok());
            let found = provider.chain.transaction(hash.ok_or_else(|| invalid("no hash"))?);
            let single = found.as_ref().filter(|_| method == "eth_getTransactionReceipt");
            if let Some((block, position)) = single
                && let Some(bad) = receipts::bad_single(provider, block, *position, at)
            {
                return bad;
            }
            let value = found.and_then(|(block, at)| {
                let list = match method {
                    "eth_getTransactionByHash" => &block.transactions,
                    _ => &block.receipts,
                };
                list.get(at).map(Value::to_string)
            });
            Ok(value.unwrap_or_else(null))
        }
        _ => Err(missing(method)),
    }
}

fn null() -> String {
    "null".to_owned()
}

/// A block by tag, number or hash.
fn find(provider: &Provider, text: &str) -> Result<Option<std::sync::Arc<Built>>, (i64, String)> {
    let head = provider.chain.head().saturating_sub(provider.faults().lag);
    if text == "latest"
        && provider.happens(provider.faults().old_fork)
        && let Some(orphan) = provider.chain.highest_orphan()
    {
        return Ok(Some(orphan));
    }
    let number = match text {
        "latest" | "pending" => head,
        "earliest" => 0,
        "safe" | "finalized" if provider.faults().no_tags => return Err(invalid("unknown tag")),
        "safe" => provider.chain.head().saturating_sub(provider.chain.config().finality / 2),
        "finalized" => provider.chain.finalized(),
        hash if hash.len() == 66 => {
            let hash: B256 = hash.parse().map_err(|_| invalid("no hash"))?;
            return Ok(provider.chain.by_hash(hash));
        }
        number => number.parse::<U64>().map_err(|_| invalid("no block number"))?.to(),
    };
    if number < provider.faults().pruned_below {
        // As go-ethereum answers (EIP-4444).
        return Err((4444, "pruned history unavailable".to_owned()));
    }
    Ok(provider.chain.by_number(number).filter(|_| number <= head))
}

/// A head that nobody has.
fn wrong_final(provider: &Provider) -> String {
    let head = provider.chain.by_number(provider.chain.head());
    head.map_or_else(null, |head| {
        changed(&head.light, |object| {
            object.insert("hash".to_owned(), B256::repeat_byte(0x66).to_string().into());
        })
    })
}

/// The block, or a lie about it.
fn block_text(provider: &Provider, block: &Built, is_full: bool) -> String {
    let faults = provider.faults();
    if !is_full {
        let above = faults.announce_above;
        return match above {
            0 => block.light.clone(),
            _ => changed(&block.light, |object| {
                let number = provider.chain.head() + above;
                object.insert("number".to_owned(), format!("{number:#x}").into());
            }),
        };
    }
    if provider.happens(faults.null) {
        return null();
    }
    if provider.happens(faults.wrong_parent) {
        return changed(&block.full, |object| {
            object.insert("parentHash".to_owned(), B256::repeat_byte(0x66).to_string().into());
        });
    }
    if provider.happens(faults.wrong_root) {
        return changed(&block.full, |object| {
            let transactions = object.get_mut("transactions").and_then(Value::as_array_mut);
            let first = transactions.and_then(|list| list.first_mut()?.as_object_mut());
            match first {
                Some(first) => first.insert("value".to_owned(), "0x123456".into()),
                None => object.insert("gasUsed".to_owned(), "0x1".into()),
            };
        });
    }
    block.full.clone()
}

fn receipts_text(provider: &Provider, block: &Built) -> String {
    let faults = provider.faults();
    let parent = block.header.get("parentHash").and_then(|hash| hash.as_str()?.parse().ok());
    let below = parent.and_then(|hash| provider.chain.by_hash(hash));
    if let Some(below) = below.filter(|_| provider.happens(faults.other_receipts)) {
        return below.receipts_text.clone();
    }
    if provider.happens(faults.missing_receipts) && !block.receipts.is_empty() {
        let count = block.receipts.len() - 1;
        return Value::from(block.receipts.iter().take(count).cloned().collect::<Vec<_>>())
            .to_string();
    }
    if provider.happens(faults.wrong_root) {
        let mut receipts = block.receipts.clone();
        if let Some(last) = receipts.last_mut().and_then(Value::as_object_mut) {
            last.insert("cumulativeGasUsed".to_owned(), "0x99".into());
        }
        return Value::from(receipts).to_string();
    }
    block.receipts_text.clone()
}

/// The traces, or a lie about the first.
fn traces_text(provider: &Provider, block: &Built, is_flat: bool) -> String {
    let mut list = if is_flat { traces::trace_block(block) } else { traces::call_frames(block) };
    if provider.happens(provider.faults().wrong_traces) {
        let part = if is_flat { "action" } else { "result" };
        let first = list.get_mut(0).and_then(|first| first.get_mut(part)?.as_object_mut());
        if let Some(first) = first {
            first.insert("value".to_owned(), "0x123456".into());
        }
    }
    list.to_string()
}

fn changed(text: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        change(object);
    }
    value.to_string()
}

/// `devnet_mine [count]`, `devnet_reorg [depth]`, `devnet_setFaults [faults]`,
/// `devnet_setLimits [limits]`, `devnet_counts`.
fn steer(provider: &Provider, method: &str, params: &[Value]) -> Given {
    let number = || -> Result<u64, (i64, String)> {
        match params.first() {
            None => Ok(1),
            Some(Value::Number(number)) => {
                number.as_u64().ok_or_else(|| invalid("not a natural number"))
            }
            Some(Value::String(text)) => {
                text.parse::<U256>().map(|n| n.to()).map_err(|_| invalid("not a number"))
            }
            Some(_) => Err(invalid("not a number")),
        }
    };
    let failed = |error: super::DevnetError| (-32000, error.to_string());
    match method {
        "devnet_mine" => provider.chain.mine(number()?).map_err(failed)?,
        "devnet_reorg" => provider.chain.reorg(number()?).map_err(failed)?,
        "devnet_setFaults" => {
            let faults = params.first().cloned().unwrap_or_else(|| json!({}));
            let faults: Faults =
                serde_json::from_value(faults).map_err(|error| invalid(&error.to_string()))?;
            provider.set_faults(faults);
        }
        "devnet_setLimits" => {
            let limits = params.first().cloned().unwrap_or_else(|| json!({}));
            let limits =
                serde_json::from_value(limits).map_err(|error| invalid(&error.to_string()))?;
            provider.set_limits(limits);
        }
        "devnet_counts" => return Ok(json!(provider.counts()).to_string()),
        _ => return Err(missing(method)),
    }
    Ok(quantity(provider.chain.head()))
}
