//! `headwater verify`.

use std::io::IsTerminal;

use headwater_storage::model::BlockRange;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audit::{Report, audit};
use crate::capture::SpanError;
use crate::exit::Exit;
use crate::node::{ChainNode, Node, NodeError};
use crate::supervisor::on_cpu;

use super::args::VerifyArgs;
use super::ask::Which;
use super::error::CommandError;
use super::output;

/// Blocks that are proved at a time.
const STEP: u64 = 1_000;
/// Wrong blocks that are printed one by one.
const SHOWN_MAX: usize = 20;

/// A chain and what of it is captured.
#[derive(serde::Deserialize)]
struct Stored {
    name: String,
    captured: Vec<BlockRange>,
}

/// What of a status is needed.
#[derive(serde::Deserialize)]
struct Status {
    chains: Vec<Stored>,
}

pub(super) async fn run(args: VerifyArgs) -> Result<Exit, CommandError> {
    if args.range.is_some_and(|span| span.times().next().is_some()) {
        let reason = "verify reads blocks by their numbers, not by dates".to_owned();
        let text = args.range.map(|span| format!("{span:?}")).unwrap_or_default();
        return Err(SpanError { text, reason }.into());
    }
    let which = Which::find(&args.which)?;
    let chains = match &which {
        Which::Running(remote) => remote.document::<Status>("/v1/status").await?.chains,
        Which::Stopped(node) => node.chains.iter().map(stored).collect(),
    };
    let is_wanted = |chain: &&Stored| args.chain.as_ref().is_none_or(|name| *name == chain.name);
    let mut is_good = true;
    let mut count = 0;
    for chain in chains.iter().filter(is_wanted) {
        let end = chain.captured.last().map_or(0, |range| range.last + 1);
        let ranges = match args.range {
            Some(span) => span.resolve(end, |_| None).into_iter().collect(),
            None => chain.captured.clone(),
        };
        let report = verify_chain(&which, &chain.name, &ranges).await?;
        is_good &= report.is_good();
        count += 1;
        let text = if args.json {
            serde_json::json!({ "chain": chain.name, "report": report }).to_string()
        } else {
            text(&chain.name, &report)
        };
        output::line(&text)?;
    }
    if count == 0 {
        return Err(CommandError::UnknownChain { name: args.chain.unwrap_or_default() });
    }
    Ok(if is_good { Exit::Success } else { Exit::Damaged })
}

async fn verify_chain(
    which: &Which,
    name: &str,
    ranges: &[BlockRange],
) -> Result<Report, CommandError> {
    let bar = ProgressBar::new(ranges.iter().map(BlockRange::len).sum());
    let is_seen = std::io::stderr().is_terminal();
    bar.set_draw_target(if is_seen {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut report = Report::default();
    for range in ranges {
        let mut first = range.first;
        while first <= range.last {
            let step = BlockRange { first, last: range.last.min(first + STEP - 1) };
            report.add(match which {
                Which::Running(remote) => {
                    let BlockRange { first, last } = step;
                    let path = format!("/v1/chains/{name}/verify?first={first}&last={last}");
                    remote.document(&path).await?
                }
                Which::Stopped(node) => read(node, name, step).await?,
            });
            bar.inc(step.len());
            first = step.last + 1;
        }
    }
    bar.finish_and_clear();
    Ok(report)
}

fn stored(node: &ChainNode) -> Stored {
    let captured = node.chain.with_state(|state| state.captured().iter().collect());
    Stored { name: node.chain.name().to_string(), captured }
}

async fn read(node: &Node, name: &str, step: BlockRange) -> Result<Report, CommandError> {
    let Some(node) = node.chain(name) else { return Ok(Report::default()) };
    let (chain, prover) = (node.chain.clone(), node.source.prover().clone());
    let chain_name = chain.name().clone();
    let report = on_cpu(move || audit(&chain, &prover, step, &|| true)).await;
    Ok(report.map_err(|source| NodeError::Store { chain: chain_name, source })?)
}

fn text(name: &str, report: &Report) -> String {
    let mut lines = vec![format!(
        "chain {name}: {} blocks read, {} proved, {} unprovable, {} the same in \
         log and parts, {} missing, {} wrong",
        report.blocks,
        report.proved,
        report.unprovable,
        report.compared,
        report.missing.iter().map(BlockRange::len).sum::<u64>(),
        report.wrong.len()
    )];
    if report.lifted > 0 {
        lines.push(format!(
            "  {} of them prove more than their marks say: an older version captured them",
            report.lifted
        ));
    }
    lines.extend(report.missing.iter().take(SHOWN_MAX).map(|range| format!("  missing {range}")));
    let wrong = report.wrong.iter().take(SHOWN_MAX);
    lines.extend(wrong.map(|wrong| format!("  block {}: {}", wrong.number, wrong.what)));
    lines.join("\n")
}
