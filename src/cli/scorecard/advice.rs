//! What an operator does about what was found of each key.

use std::collections::BTreeMap;

use crate::capture::ChainConfig;
use crate::capture::examine::{BlockScore, Difference, KeyScore, Kind, Outcome, Root, Scorecard};
use crate::capture::verify::Depth;
use crate::rpc::{DEBUG_TRACE_BLOCK, TRACE_BLOCK};

/// Lines of one kind about one key.
const LINES_MAX: usize = 3;
/// Names in one line.
const SHOWN_MAX: usize = 8;
/// Blocks that a head may be behind another, which was asked at another moment.
const BEHIND_MAX: u64 = 3;

/// Fields of transactions and receipts that are put right, because they follow from what is proved.
const PUT_RIGHT: [&str; 11] = [
    "logIndex",
    "gasUsed",
    "effectiveGasPrice",
    "contractAddress",
    "gasPrice",
    "logsBloom",
    "v",
    "yParity",
    "chainId",
    "blobGasUsed",
    "removed",
];

/// One line for each thing to do, the gravest first.
pub(in super::super) fn advice(card: &Scorecard, chain: &ChainConfig) -> Vec<String> {
    let mut lines = Vec::new();
    for key in &card.keys {
        lines.extend(unusable(key));
    }
    for key in &card.keys {
        lines.extend(data(key));
        lines.extend(means(key, chain));
    }
    lines.extend(behind(&card.keys));
    lines.extend(history(&card.keys));
    lines.extend(differences(card));
    if chain.verify == Depth::Links {
        lines.push(
            "`verify = \"links\"` is set: what is refused above is kept without these proofs"
                .to_owned(),
        );
    }
    lines
}

fn of_key(key: &KeyScore, what: &str) -> String {
    format!("{}: {what}", key.name)
}

/// The first names of many.
fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let more = names.len().saturating_sub(SHOWN_MAX);
    let shown = names.into_iter().take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Why a key cannot be used.
fn unusable(key: &KeyScore) -> Vec<String> {
    let problems = key.problems.iter().take(LINES_MAX);
    let mut lines: Vec<String> = problems
        .map(|problem| of_key(key, &format!("cannot be used for capture: {problem}")))
        .collect();
    let more = key.problems.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.push(of_key(key, &format!("and {more} more problems: --json has them")));
    }
    if let Some(ended) = &key.ended {
        let what = format!("was not asked for the rest: {ended}");
        lines.push(of_key(key, &what));
    }
    lines
}

/// What is odd about the data.
fn data(key: &KeyScore) -> Vec<String> {
    let mut lines = Vec::new();
    if !key.mended.is_empty() {
        let fields = some(key.mended.iter().copied());
        let verb = if key.mended.len() == 1 { "is" } else { "are" };
        lines.push(of_key(
            key,
            &format!("{fields} {verb} wrong there and put right here: tell the provider"),
        ));
    }
    for missing in key.missing_proofs.iter().take(LINES_MAX) {
        let what = format!(
            "{} cannot be proved by the rules that this version knows, and would be kept marked so",
            missing.what
        );
        lines.push(of_key(key, &what));
    }
    let is_round = |block: &&BlockScore| {
        let root = block.roots.get("receipts");
        matches!(root, Some(Root::Holds | Root::NotProved)) && !block.ways_round.is_empty()
    };
    let has_list = key.outcome("eth_getBlockReceipts") != Outcome::Fails;
    if let Some(block) = key.blocks.iter().find(is_round).filter(|_| has_list) {
        let tried = some(block.ways_round.iter().map(String::as_str));
        let what = format!(
            "receipts of block {} came only by a way round, after {tried}: tell the provider",
            block.number
        );
        lines.push(of_key(key, &what));
    }
    lines
}

/// What a key lacks that costs something.
fn means(key: &KeyScore, chain: &ChainConfig) -> Vec<String> {
    let mut lines = Vec::new();
    if key.head.is_none() {
        return lines;
    }
    let has_batches = key.batches.max > 1;
    let largest = key.blocks.iter().filter_map(|block| block.transactions).max().unwrap_or(0);
    let singles = match key.batches.max {
        0 | 1 => largest,
        size => largest.div_ceil(size),
    };
    let has_list = key.outcome("eth_getBlockReceipts") != Outcome::Fails;
    let by_hash = key.outcome("eth_getBlockReceipts by hash") == Outcome::Works;
    if !has_list && by_hash {
        let what = "takes eth_getBlockReceipts only by hash: a block costs 2 requests, one after \
                    the other";
        lines.push(of_key(key, what));
    } else if !has_list {
        let what = format!(
            "has no eth_getBlockReceipts: a block of {largest} transactions costs {} requests with \
             {} calls",
            1 + singles,
            1 + largest
        );
        lines.push(of_key(key, &what));
    }
    if !has_batches && key.batches.refused.is_some() {
        let requests = if has_list || by_hash { 2 } else { 1 + largest };
        let what = format!("takes no batches: costs {requests} requests a block instead of 1");
        lines.push(of_key(key, &what));
    }
    if key.outcome("tag finalized") == Outcome::Fails && chain.confirmations.is_none() {
        let what = "does not know the tag `finalized`: where no key does, set `confirmations`";
        lines.push(of_key(key, what));
    }
    let lacks = |method: &str| key.outcome(method) == Outcome::Fails;
    if chain.traces && lacks(TRACE_BLOCK) && lacks(DEBUG_TRACE_BLOCK) {
        lines.push(of_key(key, "gives no traces: another key must, or remove `traces = true`"));
    }
    lines
}

fn behind(keys: &[KeyScore]) -> Vec<String> {
    let best = keys.iter().filter_map(|key| key.head).max().unwrap_or(0);
    let lag = |key: &KeyScore| Some(best - key.head?).filter(|lag| *lag > BEHIND_MAX);
    let late = keys.iter().filter_map(|key| Some((key, lag(key)?)));
    late.map(|(key, lag)| of_key(key, &format!("its head is {lag} blocks behind another's")))
        .collect()
}

/// Where receipts end.
fn history(keys: &[KeyScore]) -> Vec<String> {
    let examined = || keys.iter().filter(|key| key.reach.oldest.is_some());
    let farthest = examined().filter_map(|key| key.reach.oldest).min();
    let whole: Vec<&str> = examined()
        .filter(|key| key.reach.newest_missing.is_none() && key.ended.is_none())
        .map(|key| key.name.as_str())
        .collect();
    let mut lines = Vec::new();
    for key in examined().filter(|key| key.reach.newest_missing.is_some()) {
        let (oldest, head) = (key.reach.oldest.unwrap_or(0), key.head.unwrap_or(0));
        let from = match whole.as_slice() {
            [] => "history before it must come from another provider".to_owned(),
            whole => format!("history before it must come from {}", some(whole.iter().copied())),
        };
        let blocks = head.saturating_sub(oldest);
        let what = format!("receipts reach back {blocks} blocks, to block {oldest}: {from}");
        lines.push(of_key(key, &what));
    }
    if let Some(oldest) = farthest.filter(|_| whole.is_empty() && !lines.is_empty()) {
        lines.push(format!(
            "no key gives receipts below block {oldest}: add a provider with an archive, or begin \
             with `start = {oldest}`"
        ));
    }
    lines
}

/// Fields that keys give differently: one line for the same keys and the same reason.
fn differences(card: &Scorecard) -> Vec<String> {
    let mut lines: BTreeMap<(Vec<&str>, &str), Vec<&str>> = BTreeMap::new();
    let wrong = |difference: &Difference| {
        let mut keys = card.keys.iter().filter(|key| is_told(difference, &key.name));
        keys.any(|key| !key.problems.is_empty())
    };
    for difference in &card.differences {
        let reason = match difference.kind {
            Kind::Form => continue,
            Kind::Absent | Kind::Value if difference.path == "hash" => {
                "they have different blocks of the same number: one is on another fork"
            }
            Kind::Absent | Kind::Value if wrong(difference) => continue,
            Kind::Absent | Kind::Value if is_put_right(&difference.path) => {
                "put right here, as it follows from what is proved"
            }
            Kind::Value => "as told, not proved: what is kept depends on who is asked",
            Kind::Absent => "as told, not proved, and not given by all: kept as it comes",
        };
        let mut keys: Vec<&str> =
            difference.values.iter().flat_map(|given| &given.keys).map(String::as_str).collect();
        keys.sort_unstable();
        lines.entry((keys, reason)).or_default().push(&difference.path);
    }
    let line = |((keys, reason), paths): ((Vec<&str>, &str), Vec<&str>)| {
        let keys = match keys.as_slice() {
            [one, other] => format!("{one} and {other}"),
            keys => some(keys.iter().copied()),
        };
        format!("{keys} differ in {}: {reason}", some(paths))
    };
    lines.into_iter().map(line).collect()
}

fn is_told(difference: &Difference, name: &str) -> bool {
    let mut keys = difference.values.iter().flat_map(|given| &given.keys);
    keys.any(|key| key == name)
}

fn is_put_right(path: &str) -> bool {
    let is_of_list = path.starts_with("transactions[]") || path.starts_with("receipts[]");
    is_of_list && path.rsplit('.').next().is_some_and(|field| PUT_RIGHT.contains(&field))
}
