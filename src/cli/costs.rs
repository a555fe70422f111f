//! What following and history cost before they are begun: requests, units, days, bytes.

use headwater_storage::codec;
use headwater_storage::model::BlockRange;
use headwater_storage::store::ChainState;

use crate::capture::{Asked, ChainConfig, Edge, Source, Span};
use crate::config::Config;
use crate::exit::{Exit, chain_text};
use crate::node::{Node, NodeError};
use crate::rpc::{Keyring, Plan, Pool};

use super::error::CommandError;
use super::output;
use super::start::{confirm_chain, resolve};

/// Blocks whose size is looked at.
const SAMPLES: u64 = 3;
/// Bytes of parts and index for each byte of a block in binary form. An estimate from two figures
/// over recorded mainnet blocks: the log takes 0.354 of the binary form (DESIGN.md section 9), and
/// parts and index together 1.35 times the log (`cargo bench --bench capture`).
const KEPT: f64 = 0.48;
/// Blocks that the time between blocks is taken from.
const RHYTHM_BLOCKS: u64 = 100;
const DAY_SECS: f64 = 86_400.0;

/// Says what a backfill would cost, and asks for a few blocks only.
pub(super) async fn dry_run(
    config: &Config,
    chain: &ChainConfig,
    spans: &[Span],
) -> Result<Exit, CommandError> {
    // A folder that is there has blocks, and knows what the keys were used for.
    let stopped = Node::open_stopped(&config.data_dir);
    if let Err(error) = &stopped
        && config.data_dir.exists()
    {
        output::line(&format!("what is there already is not counted: {}", chain_text(error)))?;
    }
    let stopped = stopped.ok();
    if let Some(node) = &stopped {
        let checked = node.data_dir.check_chain(&chain.name, chain.chain_id);
        checked.map_err(|source| NodeError::Store { chain: chain.name.clone(), source })?;
    }
    let ledger = stopped.as_ref().map(|node| node.data_dir.ledger().clone());
    let keyring = Keyring::new(ledger, config.secrets.clone());
    let pool = Pool::new(&chain.name, &chain.provider, &keyring).map_err(NodeError::from)?;
    let source = Source::new(pool, chain.prover().into()).with_traces(chain.traces);
    confirm_chain(&source, chain.chain_id).await?;
    let asked = resolve(&source, chain.confirmations, spans).await?;
    let node = stopped.as_ref().and_then(|node| node.chain(chain.name.as_str()));
    let captured = node.map(|node| node.chain.with_state(ChainState::captured));
    let captured = captured.unwrap_or_default();
    let missing: Vec<BlockRange> =
        asked.final_ranges.iter().flat_map(|range| captured.missing(*range)).collect();
    let count: u64 = missing.iter().map(BlockRange::len).sum();
    // What a provider has to give traces by is learned by asking.
    if let Some(first) = missing.first().filter(|_| chain.traces) {
        source.block(first.first).await.map_err(|not_had| CommandError::Provider {
            url: not_had.error.provider.clone(),
            what: "a block with its traces",
            source: not_had.error,
        })?;
    }
    let plan = Plan::of(source.pool(), source.wanted());
    let calls = if chain.traces { 3 } else { 2 };
    output::line(&format!(
        "{count} final blocks of chain {} to download: {} requests",
        chain.name,
        calls * count
    ))?;
    for provider in &plan.providers {
        let units = u128::from(provider.units_per_block) * u128::from(count);
        output::line(&format!("  {provider}: {units} {} for all", provider.unit.as_str()))?;
    }
    let of_head = head_blocks_per_day(&source, asked.head).await?;
    output::line(&format!("  {}", how_long(&plan, count, of_head)))?;
    if let Some(bytes) = bytes_per_block(&source, &missing).await {
        let all = bytes * count as f64;
        output::line(&format!(
            "  about {} on disk ({:.1} kB a block in parts and index, from {SAMPLES} of them), and \
             the log's newest {}",
            output::size(all),
            bytes / 1e3,
            output::size(chain.log_keep_bytes as f64),
        ))?;
    }
    Ok(if is_all_final(&asked, spans) { Exit::Success } else { Exit::Incomplete })
}

/// Whether what was asked for is final; who gave no end wants what there is.
fn is_all_final(asked: &Asked, spans: &[Span]) -> bool {
    asked.ranges == asked.final_ranges || spans.iter().all(|span| span.end == Edge::Open)
}

/// Blocks that the head takes a day.
pub(super) async fn head_blocks_per_day(source: &Source, head: u64) -> Result<f64, CommandError> {
    let failed = |source: crate::rpc::RpcError| CommandError::Provider {
        url: source.provider.clone(),
        what: "the times of two blocks",
        source,
    };
    let below = head.saturating_sub(RHYTHM_BLOCKS);
    let first = source.time_of(below).await.map_err(failed)?;
    let last = source.time_of(head).await.map_err(failed)?;
    let seconds = first.zip(last).map(|(first, last)| last.saturating_sub(first) as f64);
    let per_block = seconds.map(|seconds| seconds / (head - below).max(1) as f64);
    Ok(per_block.filter(|time| *time > 0.0).map_or(0.0, |time| DAY_SECS / time))
}

/// How long the keys take for a history, with and without a head beside it.
fn how_long(plan: &Plan, blocks: u64, of_head: f64) -> String {
    let days = |days: f64| match days {
        days if days.is_infinite() => "never: the head takes all that the keys allow".to_owned(),
        days if days < 0.1 => format!("{:.1} hours", days * 24.0),
        days => format!("{days:.1} days"),
    };
    match (plan.days(blocks, 0.0), plan.days(blocks, of_head)) {
        (Some(alone), Some(beside)) => format!(
            "the quotas allow it in {}{}; beside following the head ({of_head:.0} blocks a day) in \
             {}",
            days(alone),
            gain(plan),
            days(beside)
        ),
        (_, _) => "a provider without a quota is there: as fast as it answers".to_owned(),
    }
}

/// What it brings that blocks and receipts may come from two providers.
fn gain(plan: &Plan) -> String {
    match (plan.blocks_per_day(), plan.history_per_day()) {
        (Some(whole), Some(parts)) if parts > 1.01 * whole => {
            format!(", {parts:.0} blocks a day, each part from where it is cheapest")
        }
        (_, _) => String::new(),
    }
}

/// How long the keys last for following a head.
pub(super) fn following(plan: &Plan, of_head: f64) -> String {
    match plan.blocks_per_day() {
        None => format!("the head takes {of_head:.0} blocks a day; there is no limit"),
        Some(allowed) if allowed >= of_head => format!(
            "the head takes {of_head:.0} blocks a day, {:.0} % of what the keys allow",
            100.0 * of_head / allowed.max(1.0)
        ),
        Some(allowed) => format!(
            "the head takes {of_head:.0} blocks a day, and the keys allow {allowed:.0}: they last \
             {:.1} hours a day",
            24.0 * allowed / of_head.max(1.0)
        ),
    }
}

/// Bytes of parts and index a block, from a few of those that are missing.
async fn bytes_per_block(source: &Source, missing: &[BlockRange]) -> Option<f64> {
    let (first, last) = (missing.first()?.first, missing.last()?.last);
    let mut bytes = Vec::new();
    for sample in 0..SAMPLES {
        let number = first + (last - first) * sample / (SAMPLES - 1).max(1);
        let fetched = source.block(number).await.ok()?;
        let mut binary = Vec::new();
        codec::encode_block(&fetched.block, &mut binary);
        bytes.push(binary.len() as f64);
    }
    Some(KEPT * bytes.iter().sum::<f64>() / bytes.len().max(1) as f64)
}
