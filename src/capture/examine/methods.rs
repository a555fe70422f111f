//! Which methods work with a key, and how many calls go in one request.

use serde_json::{Value, json};

use crate::rpc::{Call, DEBUG_TRACE_BLOCK, TRACE_BLOCK};

use super::asker::{Asker, words};
use super::key::{Known, Way};
use super::plain;

/// Sizes of batches that are tried, until one is refused.
const BATCHES: [usize; 4] = [2, 10, 50, 100];

/// New heads over WebSocket.
pub(super) const NEW_HEADS: &str = "newHeads over WebSocket";

/// Whether a method works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It does.
    Works,
    /// There is no answer, or an error.
    Fails,
    /// The answer is not what the block says.
    Wrong,
    /// There was nothing to ask it for.
    NotAsked,
}

/// A method that was tried.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Method {
    /// The method, and by what it is asked where there are two ways.
    pub name: &'static str,
    /// Whether it works.
    pub outcome: Outcome,
    /// Why not, in the provider's words where it has some.
    pub words: Option<String>,
}

/// How many calls go in one request.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Batches {
    /// The largest batch that was answered whole; 0: none was.
    pub max: usize,
    /// The first that was not.
    pub refused: Option<usize>,
    /// Why, in the provider's words.
    pub words: Option<String>,
}

/// Tries larger and larger batches of the cheapest call.
pub(super) async fn batches(asker: &mut Asker) -> Batches {
    let mut found = Batches::default();
    for size in BATCHES {
        let calls = vec![Call::chain_id(); size];
        match asker.batch(&calls).await {
            Ok(_) => found.max = size,
            Err(words) => {
                return Batches { refused: Some(size), words: Some(words), ..found };
            }
        }
    }
    found
}

/// Tries each method on a block that is there.
pub(super) async fn methods(
    asker: &mut Asker,
    known: Option<Known>,
    announces: Option<&Result<(), String>>,
) -> Vec<Method> {
    let mut found = Vec::new();
    match known {
        Some(known) => of_block(asker, known, &mut found).await,
        None => found.push(not_asked("methods of a block", "no block was there")),
    }
    for (name, tag) in [("tag safe", "safe"), ("tag finalized", "finalized")] {
        // Where nothing is final yet the tag is known and the answer is `null`.
        let answer = asker.ask(&Call::header(tag)).await;
        let problem = answer.err().filter(|error| !error.is_absence());
        found.push(asked(name, problem.map(|error| words(&error))));
    }
    found.push(match announces {
        None => not_asked(NEW_HEADS, "there is no ws_url"),
        Some(result) => asked(NEW_HEADS, result.clone().err().map(|error| plain(&error))),
    });
    found
}

fn asked(name: &'static str, problem: Option<String>) -> Method {
    let outcome = if problem.is_none() { Outcome::Works } else { Outcome::Fails };
    Method { name, outcome, words: problem }
}

fn wrong(name: &'static str, words: String) -> Method {
    Method { name, outcome: Outcome::Wrong, words: Some(words) }
}

fn not_asked(name: &'static str, why: &str) -> Method {
    Method { name, outcome: Outcome::NotAsked, words: Some(why.to_owned()) }
}

async fn of_block(asker: &mut Asker, known: Known, found: &mut Vec<Method>) {
    let Known { number, hash, .. } = known;
    let (at, by_hash) = (format!("{number:#x}"), json!([hash.to_string()]));
    let is_hash = hash.to_string();
    let has_hash = move |value: &Value| text_is(value, "hash", &is_hash);
    let receipts = known.transactions;
    let has_receipts = move |value: &Value| count_is(value, receipts);
    let logs = known.logs;
    let has_logs = move |value: &Value| logs.map_or(Ok(()), |logs| count_is(value, logs));
    let by_number = Call::block(number);
    found.push(try_one(asker, "eth_getBlockByNumber", &by_number, &has_hash).await);
    let full = Call::other("eth_getBlockByHash", &json!([hash.to_string(), true]));
    found.push(try_one(asker, "eth_getBlockByHash", &full, &has_hash).await);
    let of_block = Call::block_receipts(number);
    found.push(try_one(asker, Way::ByNumber.text(), &of_block, &has_receipts).await);
    let of_hash = Call::other("eth_getBlockReceipts", &by_hash);
    found.push(try_one(asker, Way::ByHash.text(), &of_hash, &has_receipts).await);
    let ways = [Way::OneByOne.text(), "eth_getTransactionByHash"];
    if let Some(transaction) = known.transaction {
        let text = transaction.to_string();
        let is_of = |field: &'static str| {
            let text = text.clone();
            move |value: &Value| text_is(value, field, &text)
        };
        let [receipt, by_hash] = ways;
        let call = Call::receipt(transaction);
        found.push(try_one(asker, receipt, &call, &is_of("transactionHash")).await);
        let call = Call::other(by_hash, &json!([text]));
        found.push(try_one(asker, by_hash, &call, &is_of("hash")).await);
    } else {
        found.extend(ways.map(|name| not_asked(name, "no block with transactions was there")));
    }
    let range = json!([{ "fromBlock": at, "toBlock": at }]);
    let logs = Call::other("eth_getLogs", &range);
    found.push(try_one(asker, "eth_getLogs", &logs, &has_logs).await);
    for (name, call) in [
        (TRACE_BLOCK, Call::trace_block(number)),
        (DEBUG_TRACE_BLOCK, Call::debug_trace_block(number)),
    ] {
        // Traces may be a hundred times as large as their block: only whether there are any counts.
        found.push(match asker.ask(&call).await {
            Ok(Some(text)) if text.get() == "[]" && known.transaction.is_some() => {
                wrong(name, "no traces of a block with transactions".to_owned())
            }
            Ok(Some(_)) => asked(name, None),
            Ok(None) => asked(name, Some("null".to_owned())),
            Err(error) => asked(name, Some(words(&error))),
        });
    }
}

/// What is wrong with an answer, in words.
type Check<'a> = &'a (dyn Fn(&Value) -> Result<(), String> + Sync);

async fn try_one(asker: &mut Asker, name: &'static str, call: &Call, check: Check<'_>) -> Method {
    match asker.read::<Value>(call).await {
        Err(problem) => asked(name, Some(problem)),
        Ok(value) => check(&value).map_or_else(|words| wrong(name, words), |()| asked(name, None)),
    }
}

fn text_is(value: &Value, field: &str, expected: &str) -> Result<(), String> {
    let found = value.get(field).and_then(Value::as_str).unwrap_or("nothing");
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(plain(&format!("`{field}` is {found}, not {expected}")))
}

fn count_is(value: &Value, expected: usize) -> Result<(), String> {
    match value.as_array().map(Vec::len) {
        Some(count) if count == expected => Ok(()),
        Some(count) => Err(format!("{count} elements, not {expected}")),
        None => Err("no list".to_owned()),
    }
}
