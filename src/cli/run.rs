//! `headwater run`.

use headwater_storage::store::DataDir;
use tokio::sync::watch;

use crate::capture::Start;
use crate::config::{Config, DiskConfig, HttpConfig};
use crate::exit::Exit;
use crate::http::Server;
use crate::node::{Node, NodeError};
use crate::query::QueryConfig;
use crate::secrets::Secrets;
use crate::supervisor::{Supervisor, signalled};

use super::args::RunArgs;
use super::error::CommandError;
use super::start::{DATA_DIR, ask_chain_id, fetch_keys, listen, plain_chain, serve};

pub(super) async fn run(args: RunArgs) -> Result<Exit, CommandError> {
    let (config, node, server) = if let Some(path) = &args.config {
        let mut config = Config::load(path, std::env::vars())?;
        if let Some(folder) = &args.data_dir {
            config.data_dir.clone_from(folder);
        }
        config.http.listen = args.listen.unwrap_or(config.http.listen);
        config.http.allow_remote |= args.allow_remote;
        let server = listen(&config.http).await?;
        if !wait_for_keys(&config, &server).await? {
            return Ok(Exit::Success);
        }
        let node = Node::open(&config)?;
        (config, node, server)
    } else {
        let http = HttpConfig {
            listen: args.listen.unwrap_or(HttpConfig::default().listen),
            allow_remote: args.allow_remote,
            ..HttpConfig::default()
        };
        let server = listen(&http).await?;
        let Some(config) = from_flags(&args, http, &server).await? else {
            return Ok(Exit::Success);
        };
        (config.clone(), Node::open(&config)?, server)
    };
    tracing::info!(
        address = %server.address(), data_dir = %config.data_dir.display(), "headwater runs"
    );
    let until = async { Ok(signalled().await?) };
    serve(&config, node, server, Supervisor::default(), until).await?;
    Ok(Exit::Success)
}

/// Waits until the vault gives the providers' keys; `false` when a signal came first.
async fn wait_for_keys(config: &Config, server: &Server) -> Result<bool, CommandError> {
    if config.keys_of_vault().is_empty() {
        return Ok(true);
    }
    let data_dir = DataDir::open(&config.data_dir).map_err(NodeError::from)?;
    let _announced = server.announce(data_dir.path())?;
    let supervisor = Supervisor::default();
    let problem = watch::Sender::new("the key vault is asked for the providers' keys".to_owned());
    tokio::select! {
        () = fetch_keys(config, &problem) => Ok(true),
        served = server.waiting(problem.subscribe(), supervisor.shutdown()) => {
            served?;
            Ok(false)
        }
        signal = signalled() => {
            signal?;
            Ok(false)
        }
    }
}

/// A configuration from flags alone: the provider is asked until it answers, or until a signal.
async fn from_flags(
    args: &RunArgs,
    http: HttpConfig,
    server: &Server,
) -> Result<Option<Config>, CommandError> {
    let folder = args.data_dir.clone().unwrap_or_else(|| DATA_DIR.into());
    let data_dir = DataDir::open(&folder).map_err(NodeError::from)?;
    let _announced = server.announce(data_dir.path())?;
    let url = args.rpc.clone().unwrap_or_default();
    let supervisor = Supervisor::default();
    let problem = watch::Sender::new("the provider is asked for its chain id".to_owned());
    let asked = tokio::select! {
        asked = ask_chain_id(&url, None, &problem) => asked?,
        served = server.waiting(problem.subscribe(), supervisor.shutdown()) => {
            served?;
            return Ok(None);
        }
        signal = signalled() => {
            signal?;
            return Ok(None);
        }
    };
    let mut chain = plain_chain(&url, asked, args.name.as_deref())?;
    for provider in &mut chain.provider {
        provider.ws_url.clone_from(&args.ws);
    }
    chain.traces = args.traces;
    if let Some(first) = args.start {
        chain.start = Start::Block(first);
    }
    Ok(Some(Config {
        data_dir: folder,
        http,
        query: QueryConfig::default(),
        disk: DiskConfig::default(),
        chain: vec![chain],
        exporter: Vec::new(),
        vault: None,
        secrets: Secrets::default(),
        has_secrets: false,
    }))
}
