//! Starting a node: what `run`, `demo` and `backfill` share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::model::ChainName;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::capture::verify::{Depth, Prover};
use crate::capture::{Asked, CaptureError, ChainConfig, Source, Span};
use crate::config::{Config, HttpConfig};
use crate::http::{HttpError, Server};
use crate::node::{Node, NodeError};
use crate::rpc::{Cause, Keyring, Pool, ProviderConfig};
use crate::secrets::{AdminToken, Secrets};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

use super::error::CommandError;

/// Where everything is kept by default.
pub(super) const DATA_DIR: &str = "headwater-data";
/// How often a provider that is away is asked by a command that ends.
pub(super) const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the port and the folder, so that what is wrong with them is told at once.
pub(super) async fn open(config: &Config) -> Result<(Node, Server), CommandError> {
    let server = listen(&config.http).await?;
    Ok((Node::open(config)?, server))
}

/// Opens the port.
pub(super) async fn listen(http: &HttpConfig) -> Result<Server, CommandError> {
    http.check()?;
    Ok(Server::bind(http).await?)
}

/// Runs a node until `until` returns or a task fails.
pub(super) async fn serve(
    config: &Config,
    mut node: Node,
    server: Server,
    mut supervisor: Supervisor,
    until: impl Future<Output = Result<(), CommandError>>,
) -> Result<Arc<Node>, CommandError> {
    let handle = recorder()?;
    node.start(config, &mut supervisor)?;
    let node = Arc::new(node);
    let token = AdminToken::of(node.data_dir.path())?;
    let _announced = server.announce(node.data_dir.path())?;
    supervisor.spawn("gauges", node.clone().watch(handle.clone(), supervisor.shutdown()));
    supervisor.spawn("http", server.run(node.clone(), handle, token, supervisor.shutdown()));
    let mut ended = Ok(());
    let until = async { ended = until.await };
    let result = supervisor.run(until).await;
    tracing::info!("everything is on disk");
    result?;
    ended?;
    Ok(node)
}

fn recorder() -> Result<PrometheusHandle, HttpError> {
    metrics::start().map_err(HttpError::Metrics)
}

/// A chain with one provider and nothing else configured.
pub(super) fn plain_chain(
    url: &str,
    chain_id: u64,
    name: Option<&str>,
) -> Result<ChainConfig, CommandError> {
    let name = name.map_or_else(|| well_known(chain_id), str::to_owned);
    let name: ChainName = name.parse().map_err(|error| {
        let reason = crate::exit::chain_text(&error);
        crate::config::ConfigError::Value { origin: "--name".to_owned(), reason }
    })?;
    Ok(ChainConfig::plain(name, chain_id, url))
}

/// Asks a provider for its chain id; while it is away, again and again, or so many times.
/// `problem` is told why it takes long.
pub(super) async fn ask_chain_id(
    url: &str,
    tries: Option<u32>,
    problem: &watch::Sender<String>,
) -> Result<u64, CommandError> {
    let name: ChainName = plain_chain(url, 0, None)?.name;
    let provider = ProviderConfig::plain("rpc", url);
    let pool = Pool::new(&name, &[provider], &Keyring::new(None, Secrets::default()))
        .map_err(NodeError::from)?;
    let shown = without_path(url);
    let source = Source::new(pool.clone(), Prover::new(0, Depth::default()).into());
    let mut failures = 0;
    loop {
        let error = match source.chain_id().await {
            Ok(Some(chain_id)) => return Ok(chain_id),
            Ok(None) => pool.nobody("eth_chainId"),
            Err(error) => error,
        };
        failures += 1;
        let is_hopeless =
            !matches!(error.cause, Cause::Unavailable | Cause::Resting | Cause::Throttled { .. });
        if is_hopeless || tries.is_some_and(|tries| failures >= tries) {
            return Err(CommandError::Provider { url: shown, what: "its chain id", source: error });
        }
        if failures == 1 {
            tracing::warn!(%error, "the provider does not answer yet: asking again");
        }
        problem.send_replace(format!("the provider does not answer yet: {error}"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks whether the providers serve a chain, as patiently as `run`: nothing is stored before. Who
/// throttles is asked until it answers, who is away so many times.
pub(super) async fn confirm_chain(source: &Source, chain_id: u64) -> Result<(), CommandError> {
    let mut failures = 0;
    loop {
        let error = match source.check_chain_id(chain_id).await {
            Ok(()) => return Ok(()),
            Err(CaptureError::Rpc(error)) => error,
            Err(error) => return Err(CommandError::Chain(error)),
        };
        failures += 1;
        let is_hopeless = match error.cause {
            Cause::Throttled { .. } | Cause::Resting => false,
            Cause::Unavailable => failures >= TRIES,
            // Each of these stays as it is.
            Cause::QuotaSpent { .. }
            | Cause::Refused
            | Cause::MethodMissing
            | Cause::InvalidParams
            | Cause::BatchRefused
            | Cause::RangeTooWide { .. }
            | Cause::TooBig
            | Cause::BlockMissing
            | Cause::Pruned
            | Cause::Moved
            | Cause::Malformed
            | Cause::Wrong
            | Cause::Other => true,
        };
        if is_hopeless {
            let (url, what) = (error.provider.clone(), "its chain id");
            return Err(CommandError::Provider { url, what, source: error });
        }
        if failures == 1 {
            tracing::warn!(%error, "the provider does not answer yet: asking again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Numbers for what was asked for, as patiently.
pub(super) async fn resolve(
    source: &Source,
    confirmations: Option<u64>,
    spans: &[Span],
) -> Result<Asked, CommandError> {
    let mut failures = 0;
    loop {
        let error = match Asked::of(source, confirmations, spans).await {
            Ok(asked) => return Ok(asked),
            Err(error) => error,
        };
        failures += 1;
        let is_short = matches!(error.cause, Cause::Throttled { .. } | Cause::Resting);
        if !is_short || failures >= TRIES {
            let (url, what) = (error.provider.clone(), "its head and the blocks of a time");
            return Err(CommandError::Provider { url, what, source: error });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Fetches the providers' keys from the vault, or says why that is not possible.
pub(super) async fn need_keys(config: &Config) -> Result<(), CommandError> {
    for reference in config.keys_of_vault() {
        config.secrets.fetch(&reference, false).await?;
    }
    Ok(())
}

/// Fetches the providers' keys from the vault, again and again; `problem` is told why it waits.
pub(super) async fn fetch_keys(config: &Config, problem: &watch::Sender<String>) {
    for reference in config.keys_of_vault() {
        let mut failures = 0_u32;
        while let Err(error) = config.secrets.fetch(&reference, false).await {
            if failures == 0 {
                tracing::warn!(%error, "the providers' keys are waited for");
            }
            problem.send_replace(format!("the providers' keys are waited for: {error}"));
            failures += 1;
            // What somebody must mend is looked at less often.
            let most = if error.is_refused() { 30 } else { 10 };
            tokio::time::sleep(PAUSE.saturating_mul((1 << failures.min(5)).min(most))).await;
        }
    }
}

/// A URL as it can be shown: keys are in paths, passwords before the `@`.
pub(super) fn without_path(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Names by EIP-155 id, as in chainlist.
fn well_known(chain_id: u64) -> String {
    let known = [
        (1, "ethereum"),
        (10, "optimism"),
        (56, "bsc"),
        (100, "gnosis"),
        (137, "polygon"),
        (1337, "devnet"),
        (8453, "base"),
        (31337, "anvil"),
        (42161, "arbitrum"),
        (59144, "linea"),
        (534_352, "scroll"),
        (11_155_111, "sepolia"),
    ];
    let found = known.into_iter().find(|(id, _)| *id == chain_id);
    found.map_or_else(|| format!("chain-{chain_id}"), |(_, name)| name.to_owned())
}
