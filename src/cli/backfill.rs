//! `headwater backfill`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_storage::model::BlockRange;
use headwater_storage::store::ChainState;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use crate::capture::{Asked, Progress};
use crate::clock;
use crate::config::{Config, ConfigError, DiskConfig, HttpConfig};
use crate::exit::Exit;
use crate::node::{ChainNode, Node, NodeError};
use crate::query::QueryConfig;
use crate::rpc::{Limits, Pool};
use crate::supervisor::{Supervisor, on_cpu, signalled};

use super::args::BackfillArgs;
use super::error::CommandError;
use super::{costs, ordered, output, start};

const REFRESH: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(args: BackfillArgs) -> Result<Exit, CommandError> {
    if let (None, None, Some(folder)) = (&args.rpc, &args.config, &args.data_dir) {
        return match ordered::node_of(folder)? {
            Some(remote) if !args.dry_run => {
                ordered::order(&remote, folder, args.chain.clone(), &args).await
            }
            Some(_) | None => Err(CommandError::NoProvider { path: folder.clone() }),
        };
    }
    let config = configuration(&args).await?;
    let Some(chain) = config.chain.first() else { return Ok(Exit::Failure) };
    if args.dry_run {
        return costs::dry_run(&config, chain, &args.ranges).await;
    }
    if let Some(remote) = ordered::node_of(&config.data_dir)? {
        let name = match args.config {
            Some(_) => chain.name.to_string(),
            None => ordered::name_of(&remote, chain.chain_id).await?,
        };
        return ordered::order(&remote, &config.data_dir, Some(name), &args).await;
    }
    let node = Node::open(&config)?;
    let Some(chain) = node.chains.first() else { return Ok(Exit::Failure) };
    start::confirm_chain(&chain.source, chain.config.chain_id).await?;
    let asked = start::resolve(&chain.source, chain.config.confirmations, &args.ranges).await?;
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
    let chain_id = start::ask_chain_id(&url, Some(start::TRIES), &watch::Sender::default()).await?;
    let mut chain = start::plain_chain(&url, chain_id, args.name.as_deref())?;
    for provider in &mut chain.provider {
        provider.limits = Limits { per_second: args.per_second, ..Limits::default() };
    }
    Ok(Config {
        data_dir: PathBuf::from(start::DATA_DIR),
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
        "{have} of {all} blocks of {} are captured; {} requests; parts {}, log {}",
        ranges.join(", "),
        chain.source.pool().requests(),
        output::size(bytes as f64),
        output::size(chain.chain.log().file_bytes() as f64),
    ))?;
    let holes = chain.holes.list();
    for hole in &holes {
        output::line(&format!("blocks {}..={} are a gap: {}", hole.first, hole.last, hole.reason))?;
    }
    if missing.is_empty() {
        return Ok(Exit::Success);
    }
    if is_signalled {
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        output::line(&format!(
            "interrupted: {} are still missing; the same command goes on with them",
            missing.join(", ")
        ))?;
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
    let template = "{bar:30} {pos}/{len} blocks, ETA {eta}{msg}";
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
        let rate = output::rate(done, started.elapsed().as_secs_f64());
        bar.set_message(format!(", {rate}, {} requests", pool.requests()));
        let is_due = last_line.elapsed() >= LINE_EVERY || shutdown.is_requested();
        if !is_terminal && is_due && total > 0 {
            last_line = clock::now();
            let seconds = started.elapsed().as_secs_f64();
            let rate = output::rate(done, seconds);
            let left = total.saturating_sub(done) as f64 * seconds / (done as f64);
            let (requests, left) = (pool.requests(), output::time(left));
            output::line(&format!(
                "{done}/{total} blocks, {rate}, {requests} requests, ETA {left}"
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
