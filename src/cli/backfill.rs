//! `headwater backfill`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_storage::model::BlockRange;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use crate::capture::Progress;
use crate::clock;
use crate::config::{Config, DiskConfig, HttpConfig};
use crate::exit::Exit;
use crate::node::{Node, NodeError};
use crate::query::QueryConfig;
use crate::rpc::{Limits, Pool};
use crate::supervisor::{Supervisor, on_cpu, signalled};

use super::args::BackfillArgs;
use super::error::CommandError;
use super::{output, start};

const TRIES: u32 = 10;
const REFRESH: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(args: BackfillArgs) -> Result<Exit, CommandError> {
    let asked = parse_range(&args.range)?;
    let chain_id = start::ask_chain_id(&args.rpc, Some(TRIES), &watch::Sender::default()).await?;
    let mut chain = start::plain_chain(&args.rpc, chain_id, args.name.as_deref())?;
    chain.window = args.window;
    for provider in &mut chain.provider {
        provider.limits = Limits { per_second: args.per_second, ..Limits::default() };
    }
    let config = Config {
        data_dir: args.data_dir.clone(),
        http: HttpConfig::default(),
        query: QueryConfig::default(),
        disk: DiskConfig::default(),
        chain: vec![chain],
        exporter: Vec::new(),
    };
    let node = Node::open(&config)?;
    let Some(chain) = node.chains.first() else { return Ok(Exit::Failure) };
    let last_final = last_final(chain, &args.rpc).await?;
    let range = last_final.and_then(|last| BlockRange::new(asked.first, asked.last.min(last)));
    let mut supervisor = Supervisor::default();
    let appender = chain.keep(&mut supervisor);
    node.forget(&config, &mut supervisor);
    let mut is_signalled = false;
    if let Some(range) = range {
        let (backfill, progress) = chain.backfill(range, appender);
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
    } else {
        drop(appender);
        supervisor.run(async {}).await?;
    }
    report(chain, asked, last_final, is_signalled)
}

/// `0:1000`, `17M:17.1M`: first, and end excluded.
pub(super) fn parse_range(text: &str) -> Result<BlockRange, CommandError> {
    let wrong = || CommandError::Range { text: text.to_owned() };
    let number = |text: &str| -> Option<u64> {
        let (digits, scale) = match text.chars().last()? {
            'k' | 'K' => (text.get(..text.len() - 1)?, 1_000.0),
            'm' | 'M' => (text.get(..text.len() - 1)?, 1_000_000.0),
            _ => return text.parse().ok(),
        };
        let value: f64 = digits.parse().ok()?;
        (value >= 0.0).then_some((value * scale).round() as u64)
    };
    let (first, end) = text.split_once(':').ok_or_else(wrong)?;
    let (first, end) = number(first).zip(number(end)).ok_or_else(wrong)?;
    let last = end.checked_sub(1).ok_or_else(wrong)?;
    BlockRange::new(first, last).ok_or_else(wrong)
}

/// History is what can no longer change.
async fn last_final(
    chain: &crate::node::ChainNode,
    rpc: &str,
) -> Result<Option<u64>, CommandError> {
    let asked = async {
        let latest = chain.source.latest().await?;
        chain.source.finalized(latest.number, chain.config.confirmations).await
    };
    asked.await.map_err(|source| {
        let (url, what) = (start::without_path(rpc), "its last final block");
        CommandError::Provider { url, what, source }
    })
}

/// Seals what is left, so that every reader finds it in parts.
async fn seal_rest(chain: &crate::node::ChainNode) -> Result<(), CommandError> {
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

fn report(
    chain: &crate::node::ChainNode,
    asked: BlockRange,
    last_final: Option<u64>,
    is_signalled: bool,
) -> Result<Exit, CommandError> {
    let missing = chain.chain.with_state(|state| state.captured().missing(asked));
    let count: u64 = missing.iter().map(BlockRange::len).sum();
    let have = asked.len() - count;
    let bytes: u64 = chain.chain.with_state(|s| s.parts().iter().map(|p| p.file_bytes).sum());
    output::line(&format!(
        "{have} of {} blocks of {asked} are captured; {} requests; parts {bytes} bytes, \
         log {} bytes",
        asked.len(),
        chain.source.pool().requests(),
        chain.chain.log().file_bytes(),
    ))?;
    let Some(first_missing) = missing.first() else { return Ok(Exit::Success) };
    if is_signalled {
        output::line("interrupted: the same command goes on from here")?;
    } else {
        let last_final = last_final.map_or("none yet".to_owned(), |last| last.to_string());
        output::line(&format!(
            "blocks from {} on are not final yet (the last final block is {last_final}): \
             `headwater run` follows them",
            first_missing.first
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_cryo_reads_them() {
        let range = |text| parse_range(text).ok().map(|range| (range.first, range.last));
        assert_eq!(range("0:1000"), Some((0, 999)));
        assert_eq!(range("17M:17.1M"), Some((17_000_000, 17_099_999)));
        assert_eq!(range("5K:5001"), Some((5_000, 5_000)));
        for wrong in ["", "5", "5:5", "7:5", "a:b", "-5:7", "5:-7", "0:0"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
