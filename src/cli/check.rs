//! `headwater check`: every provider is asked with every key, before anything is stored.

use headwater_storage::ledger::MissingProof;
use serde::Serialize;

use crate::capture::examine::{Sample, Subject, examine};
use crate::capture::verify::is_newer;
use crate::capture::{CaptureError, ChainConfig, Source};
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::node::NodeError;
use crate::rpc::{DEBUG_TRACE_BLOCK, Keyring, Plan, Pool, TRACE_BLOCK, Wanted};

use super::args::CheckArgs;
use super::error::CommandError;
use super::preview::{self, Folder};
use super::scorecard::Report;
use super::{costs, output, start};

/// What was found of a chain.
#[derive(Serialize)]
struct ChainReport {
    chain: String,
    head: Option<u64>,
    /// Why the data folder cannot take this chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder_problem: Option<String>,
    keys: Vec<KeyReport>,
    /// Proofs that do not come out on this chain under the rules that this version knows.
    missing_proofs: Vec<MissingProof>,
    blocks_per_day: f64,
    plan: Plan,
    /// Of `--deep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scorecard: Option<Report>,
}

/// What was found of an exporter's settings.
#[derive(Serialize)]
struct ExporterReport {
    exporter: String,
    kind: String,
    problem: Option<String>,
}

/// What was found of a key.
#[derive(Serialize)]
struct KeyReport {
    name: String,
    chain_id: Option<u64>,
    takes_batches: bool,
    has_block_receipts: bool,
    has_finalized_tag: bool,
    announces_heads: bool,
    /// The method that traces come by; asked only where they are wanted.
    traces: Option<&'static str>,
    problem: Option<String>,
}

pub(super) async fn run(args: CheckArgs) -> Result<Exit, CommandError> {
    let config = Config::load(&args.config, std::env::vars())?;
    start::need_keys(&config).await?;
    let keyring = Keyring::new(None, config.secrets.clone());
    // The time is seed enough, and short enough to be typed again.
    let seed = args.seed.unwrap_or_else(|| clock::unix_micros() % 1_000_000);
    let sample = args.deep.then_some(Sample { blocks: args.blocks.into(), seed });
    let mut is_good = true;
    for (chain, folder_problem) in config.chain.iter().zip(folder_problems(&config)) {
        let (mut report, subjects) = check_chain(chain, &keyring).await?;
        report.folder_problem = folder_problem;
        is_good &= report.folder_problem.is_none();
        is_good &= report.keys.iter().all(|key| key.problem.is_none());
        if let Some(sample) = sample {
            let scorecard = Report::of(examine(chain, subjects, sample).await, chain);
            is_good &= scorecard.is_good();
            report.scorecard = Some(scorecard);
        }
        let shown = if args.json {
            serde_json::to_string(&report).unwrap_or_default()
        } else {
            text(&report)
        };
        output::line(&shown)?;
    }
    for exporter in &config.exporter {
        let problem = preview::exporter_problem(&config, exporter).await;
        is_good &= problem.is_none();
        let (exporter, kind) = (exporter.name.clone(), exporter.kind.clone());
        let report = ExporterReport { exporter, kind, problem };
        let shown = if args.json {
            serde_json::to_string(&report).unwrap_or_default()
        } else {
            exporter_text(&report)
        };
        output::line(&shown)?;
    }
    Ok(if is_good { Exit::Success } else { Exit::NotReady })
}

/// Why the data folder cannot take a chain, for each; the folder is let go of at once.
fn folder_problems(config: &Config) -> Vec<Option<String>> {
    let folder = Folder::of(config);
    config.chain.iter().map(|chain| folder.problem(chain)).collect()
}

async fn check_chain(
    chain: &ChainConfig,
    keyring: &Keyring,
) -> Result<(ChainReport, Vec<Subject>), CommandError> {
    let pool = Pool::new(&chain.name, &chain.provider, keyring).map_err(NodeError::from)?;
    // Each key's word counts by itself: nothing is stored here.
    let prover = chain.prover().of_providers(1);
    let source = Source::new(pool, prover.into()).with_traces(chain.traces);
    let (mut keys, mut subjects) = (Vec::new(), Vec::new());
    let mut head = None;
    for endpoint in source.pool().endpoints() {
        let found = source.probe(endpoint, chain.chain_id).await;
        head = head.max(found.as_ref().ok().copied());
        let announced = endpoint.announces().await;
        let announces = match announced.clone() {
            None => Ok(false),
            Some(result) => result.map(|()| true),
        };
        let is_of_other_chain = matches!(found, Err(CaptureError::ChainId { .. }));
        let problem = found.err().map(|error| error.to_string());
        subjects.push(Subject {
            endpoint: endpoint.clone(),
            problem: problem.clone().or(announces.clone().err()),
            is_of_other_chain,
            announces: announced,
        });
        keys.push(KeyReport {
            name: endpoint.name().to_owned(),
            chain_id: problem.is_none().then_some(chain.chain_id),
            takes_batches: endpoint.takes_batches(),
            has_block_receipts: endpoint.has_block_receipts(),
            has_finalized_tag: endpoint.has_finalized_tag(),
            announces_heads: announces == Ok(true),
            traces: endpoint.trace_method().filter(|_| chain.traces),
            problem: problem.or(announces.err()),
        });
    }
    if chain.traces && keys.iter().all(|key| key.problem.is_some() || key.traces.is_none()) {
        for key in keys.iter_mut().filter(|key| key.problem.is_none()) {
            let neither = format!("has neither {TRACE_BLOCK} nor {DEBUG_TRACE_BLOCK}");
            key.problem = Some(format!("{neither}, and no other has: remove `traces = true`"));
        }
    }
    let blocks_per_day = match head {
        Some(head) => costs::head_blocks_per_day(&source, head).await?,
        None => 0.0,
    };
    // Where heads are announced, the announcement of each is paid for too.
    let following: Vec<Wanted> =
        source.wanted().iter().copied().chain([Wanted::Announcement]).collect();
    let (chain, plan) = (chain.name.to_string(), Plan::of(source.pool(), &following));
    let missing_proofs = source.prover().proofs().missing;
    let report = ChainReport {
        chain,
        head,
        folder_problem: None,
        keys,
        missing_proofs,
        blocks_per_day,
        plan,
        scorecard: None,
    };
    Ok((report, subjects))
}

fn exporter_text(report: &ExporterReport) -> String {
    let ExporterReport { exporter, kind, problem } = report;
    match problem {
        Some(problem) => problem.clone(),
        None => format!(
            "exporter {exporter} ({kind}): its settings can be used; `headwater exporters check` \
             connects to it"
        ),
    }
}

fn text(report: &ChainReport) -> String {
    let head = report.head.map_or("unknown".to_owned(), |head| head.to_string());
    let mut lines = vec![format!("chain {}: head {head}", report.chain)];
    lines.extend(report.folder_problem.iter().map(|problem| format!("  {problem}")));
    for key in &report.keys {
        if let Some(problem) = &key.problem {
            lines.push(format!("  {}: {problem}", key.name));
            continue;
        }
        let has = [
            (key.takes_batches, "batches"),
            (key.has_block_receipts, "eth_getBlockReceipts"),
            (key.has_finalized_tag, "the finalized tag"),
            (key.announces_heads, "new heads over WebSocket"),
        ];
        let has: Vec<&str> = has
            .into_iter()
            .filter(|(has, _)| *has)
            .map(|(_, what)| what)
            .chain(key.traces)
            .collect();
        let has =
            if has.is_empty() { "the least that is needed".to_owned() } else { has.join(", ") };
        lines.push(format!("  {}: answers; has {has}", key.name));
    }
    for missing in &report.missing_proofs {
        let (what, reason) = (&missing.what, &missing.reason);
        let hint = if is_newer(what) { " (newer than this program: upgrade)" } else { "" };
        lines.push(format!("  cannot be proved on this chain: {what}{hint}: {reason}"));
    }
    lines.extend(report.plan.providers.iter().map(|provider| format!("  {provider}")));
    lines.push(format!("  {}", costs::following(&report.plan, report.blocks_per_day)));
    lines.extend(report.scorecard.as_ref().map(Report::text));
    lines.join("\n")
}
