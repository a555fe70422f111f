//! `headwater run`.

use crate::capture::Start;
use crate::config::{Config, HttpConfig};
use crate::exit::{CommandError, Exit};
use crate::query::QueryConfig;
use crate::supervisor::{Supervisor, signalled};

use super::args::RunArgs;
use super::start::{ask_chain_id, open, plain_chain, serve};

pub(super) async fn run(args: RunArgs) -> Result<Exit, CommandError> {
    let config = if let Some(path) = &args.config {
        let mut config = Config::load(path, std::env::vars())?;
        config.http.listen = args.listen.unwrap_or(config.http.listen);
        config.http.allow_remote |= args.allow_remote;
        config
    } else {
        let Some(config) = from_flags(&args).await? else { return Ok(Exit::Success) };
        config
    };
    config.http.check()?;
    let supervisor = Supervisor::default();
    let (node, server) = open(&config).await?;
    tracing::info!(
        address = %server.address(), data_dir = %config.data_dir.display(), "headwater runs"
    );
    serve(&config, node, server, supervisor, async { Ok(signalled().await?) }).await?;
    Ok(Exit::Success)
}

/// A configuration from flags alone: the provider is asked until it answers, or until a signal.
async fn from_flags(args: &RunArgs) -> Result<Option<Config>, CommandError> {
    let http = HttpConfig {
        listen: args.listen.unwrap_or(HttpConfig::default().listen),
        allow_remote: args.allow_remote,
    };
    http.check()?;
    let url = args.rpc.clone().unwrap_or_default();
    let asked = tokio::select! {
        asked = ask_chain_id(&url, None) => asked?,
        signal = signalled() => {
            signal?;
            return Ok(None);
        }
    };
    let mut chain = plain_chain(&url, asked, args.name.as_deref())?;
    if let Some(first) = args.start {
        chain.start = Start::Block(first);
    }
    Ok(Some(Config {
        data_dir: args.data_dir.clone(),
        http,
        query: QueryConfig::default(),
        chain: vec![chain],
        exporter: Vec::new(),
    }))
}
