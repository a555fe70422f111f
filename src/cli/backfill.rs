//! `headwater backfill`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_storage::model::BlockRange;
use headwater_storage::store::ChainState;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use crate::capture::{Progress, Source, Span};
use crate::clock;
use crate::config::{Config, ConfigError, DiskConfig, HttpConfig};
use crate::exit::Exit;
use crate::node::{ChainNode, Node, NodeError};
use crate::query::QueryConfig;
use crate::rpc::{Limits, Pool, RpcError};
use crate::supervisor::{Supervisor, on_cpu, signalled};

use super::args::BackfillArgs;
use super::error::CommandError;
use super::{costs, output, start};

const TRIES: u32 = 10;
const REFRESH: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(args: BackfillArgs) -> Result<Exit, CommandError> {
    let config = configuration(&args).await?;
    let Some(chain) = config.chain.first() else { return Ok(Exit::Failure) };
    if args.dry_run {
        return costs::dry_run(&config, chain, &args.ranges).await;
    }
    let node = Node::open(&config)?;
    let Some(chain) = node.chains.first() else { return Ok(Exit::Failure) };
    chain.source.check_chain_id(chain.config.chain_id).await.map_err(CommandError::Chain)?;
    let asked = resolve(&chain.source, chain.config.confirmations, &args.ranges).await?;
    let mut supervisor = Supervisor::default();
    let appender = chain.keep(&mut supervisor);
    node.forget(&config, &mut supervisor);
    let mut is_signalled = false;
    if asked.final_ranges.is_empty() {
        drop(appender);
        supervisor.run(async {}).await?;
    } else {
        let (backfill, progress) = chain.backfill(asked.final_ranges.clone(), appender);
        let work = backfill.run(supervisor.shutdown());
        let pool = chain.source.pool().clone();
        let (done, finished) = tokio::sync::oneshot::channel();
        supervisor.spawn("backfill", async move {
            let result = work.await;
            // The command waits for this; when it is gone nobody does.
            let _nobody = done.send(());
            result
        });
        supervisor.spawn("progress", show(progress, pool, supervisor.shutdown()));
        let until = async {
            tokio::select! {
                _finished = finished => {}
                _signal = signalled() => is_signalled = true,
            }
        };
        supervisor.run(until).await?;
        seal_rest(chain).await?;
    }
    report(chain, &asked, is_signalled)
}

/// One chain, from a file or from flags.
async fn configuration(args: &BackfillArgs) -> Result<Config, CommandError> {
    let mut config = match &args.config {
        Some(path) => Config::load(path, std::env::vars())?,
        None => plain(args).await?,
    };
    if let Some(name) = &args.chain {
        config.chain.retain(|chain| chain.name.as_str() == name);
        if config.chain.is_empty() {
            return Err(CommandError::UnknownChain { name: name.clone() });
        }
    }
    if let [_, second, ..] = config.chain.as_slice() {
        let reason = format!("it has several chains: name one, such as --chain {}", second.name);
        let origin = args.config.as_deref().map(|path| path.display().to_string());
        let origin = origin.unwrap_or_default();
        return Err(ConfigError::Value { origin, reason }.into());
    }
    // Exporters are for `run`.
    config.exporter.clear();
    if let Some(folder) = &args.data_dir {
        config.data_dir.clone_from(folder);
    }
    if args.traces {
        config.chain.iter_mut().for_each(|chain| chain.traces = true);
    }
    if let Some(window) = args.window {
        config.chain.iter_mut().for_each(|chain| chain.window = window);
    }
    start::need_keys(&config).await?;
    Ok(config)
}

/// A configuration of one provider.
async fn plain(args: &BackfillArgs) -> Result<Config, CommandError> {
    let url = args.rpc.clone().unwrap_or_default();
    let chain_id = start::ask_chain_id(&url, Some(TRIES), &watch::Sender::default()).await?;
    let mut chain = start::plain_chain(&url, chain_id, args.name.as_deref())?;
    for provider in &mut chain.provider {
        provider.limits = Limits { per_second: args.per_second, ..Limits::default() };
    }
    Ok(Config {
        data_dir: PathBuf::from("headwater-data"),
        http: HttpConfig::default(),
        query: QueryConfig::default(),
        disk: DiskConfig::default(),
        chain: vec![chain],
        exporter: Vec::new(),
        vault: None,
        secrets: crate::secrets::Secrets::default(),
        has_secrets: false,
    })
}

/// What was asked for, and what of it can no longer change.
pub(super) struct Asked {
    /// All of it.
    pub(super) ranges: Vec<BlockRange>,
    /// What is final.
    pub(super) final_ranges: Vec<BlockRange>,
    /// The last final block.
    pub(super) last_final: Option<u64>,
    /// The head.
    pub(super) head: u64,
}

/// Numbers for what was asked for: offsets are from the head, dates are looked up.
pub(super) async fn resolve(
    source: &Source,
    confirmations: Option<u64>,
    spans: &[Span],
) -> Result<Asked, CommandError> {
    let failed = |source: RpcError| {
        let (url, what) = (source.provider.clone(), "its head and the blocks of a time");
        CommandError::Provider { url, what, source }
    };
    let head = source.latest().await.map_err(failed)?.number;
    let last_final = source.finalized(head, confirmations, &|_| None).await.map_err(failed)?;
    let end = head + 1;
    let mut times = BTreeMap::new();
    for time in spans.iter().flat_map(|span| span.times()) {
        times.insert(time, source.block_at(time, end).await.map_err(failed)?);
    }
    let at = |time: u64| times.get(&time).copied();
    let ranges: Vec<BlockRange> = spans.iter().filter_map(|span| span.resolve(end, at)).collect();
    let to_final = |range: &BlockRange| {
        last_final.and_then(|last| BlockRange::new(range.first, range.last.min(last)))
    };
    let final_ranges = ranges.iter().filter_map(to_final).collect();
    Ok(Asked { ranges, final_ranges, last_final, head })
}

/// Seals what is left, so that every reader finds it in parts.
async fn seal_rest(chain: &ChainNode) -> Result<(), CommandError> {
    let store = chain.chain.clone();
    let sealed = on_cpu(move || {
        while store.index_some(256)? {}
        while let Some(sealable) = store.next_sealable(true) {
            store.seal(&sealable)?;
        }
        Ok(())
    });
    let name = chain.chain.name().clone();
    Ok(sealed.await.map_err(|source| NodeError::Store { chain: name, source })?)
}

fn report(chain: &ChainNode, asked: &Asked, is_signalled: bool) -> Result<Exit, CommandError> {
    let captured = chain.chain.with_state(ChainState::captured);
    let missing: Vec<BlockRange> =
        asked.ranges.iter().flat_map(|range| captured.missing(*range)).collect();
    let all: u64 = asked.ranges.iter().map(BlockRange::len).sum();
    let have = all - missing.iter().map(BlockRange::len).sum::<u64>();
    let bytes: u64 = chain.chain.with_state(|s| s.parts().iter().map(|p| p.file_bytes).sum());
    let ranges: Vec<String> = asked.ranges.iter().map(ToString::to_string).collect();
    output::line(&format!(
        "{have} of {all} blocks of {} are captured; {} requests; parts {bytes} bytes, \
         log {} bytes",
        ranges.join(", "),
        chain.source.pool().requests(),
        chain.chain.log().file_bytes(),
    ))?;
    let holes = chain.holes.list();
    for hole in &holes {
        output::line(&format!("blocks {}..={} are a gap: {}", hole.first, hole.last, hole.reason))?;
    }
    if missing.is_empty() {
        return Ok(Exit::Success);
    }
    if is_signalled {
        output::line("interrupted: the same command goes on from here")?;
        return Ok(Exit::Incomplete);
    }
    let young = missing.iter().find(|range| asked.last_final.is_none_or(|last| range.last > last));
    if let Some(range) = young {
        let first = asked.last_final.map_or(range.first, |last| range.first.max(last + 1));
        let last_final = asked.last_final.map_or("none yet".to_owned(), |last| last.to_string());
        output::line(&format!(
            "blocks from {first} on are not final yet (the last final block is {last_final}): \
             `headwater run` follows them",
        ))?;
    }
    Ok(Exit::Incomplete)
}

/// A bar on a terminal, plain lines otherwise.
async fn show(
    progress: Arc<Progress>,
    pool: Pool,
    mut shutdown: crate::supervisor::Shutdown,
) -> Result<(), std::io::Error> {
    let is_terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    if is_terminal {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    let template = "{bar:30} {pos}/{len} blocks, {per_sec}, ETA {eta}{msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let started = clock::now();
    let mut last_line = started;
    loop {
        let total = progress.total.load(Ordering::Relaxed);
        let done = progress.done.load(Ordering::Relaxed);
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(format!(", {} requests", pool.requests()));
        let is_due = last_line.elapsed() >= LINE_EVERY || shutdown.is_requested();
        if !is_terminal && is_due && total > 0 {
            last_line = clock::now();
            let seconds = started.elapsed().as_secs_f64();
            let rate = done as f64 / seconds.max(0.001);
            let eta = (total.saturating_sub(done)) as f64 / rate.max(0.001);
            let requests = pool.requests();
            output::line(&format!(
                "{done}/{total} blocks, {rate:.1} blocks/s, {requests} requests, ETA {eta:.0} s"
            ))?;
        }
        if shutdown.is_requested() {
            bar.finish();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = shutdown.requested() => {}
        }
    }
}
