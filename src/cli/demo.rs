//! `headwater demo`: the built-in chain and the appliance on it, in one process.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{ChainConfig, Start};
use crate::config::{Config, DiskConfig, HttpConfig};
use crate::devnet::{DevNode, Devnet, DevnetConfig, mine};
use crate::exit::Exit;
use crate::node::Node;
use crate::query::QueryConfig;
use crate::supervisor::{Supervisor, signalled};

use super::args::DemoArgs;
use super::error::CommandError;
use super::{output, start};

const CHAIN: &str = "devnet";
const CHAIN_ID: u64 = 1337;
/// Small enough that parts appear within a minute.
/// Parts are seen soon.
const FINALIZED_EVERY: u64 = 8;
const PART_BLOCKS: u64 = 20;
const FINALITY: u64 = 8;
const REORG_EVERY: u64 = 10;
const REORG_DEPTH: u64 = 3;

pub(super) async fn run(args: DemoArgs) -> Result<Exit, CommandError> {
    let mut config = Config {
        data_dir: args.data_dir.clone(),
        http: HttpConfig {
            listen: args.listen,
            allow_remote: args.allow_remote,
            ..HttpConfig::default()
        },
        query: QueryConfig::default(),
        disk: DiskConfig::default(),
        chain: Vec::new(),
        exporter: Vec::new(),
        vault: None,
        secrets: crate::secrets::Secrets::default(),
        has_secrets: false,
    };
    config.http.check()?;
    let devnet = DevNode::new(DevnetConfig {
        chain_id: CHAIN_ID,
        block_time: args.block_time,
        finality: FINALITY,
        reorg_every: REORG_EVERY,
        reorg_depth: REORG_DEPTH,
        replay: args.replay.clone(),
        // Beside the data folder, which is the appliance's alone.
        journal: Some(args.data_dir.with_extension("devnet")),
        ..DevnetConfig::default()
    });
    let devnet = Arc::new(devnet?);
    let mut supervisor = Supervisor::default();
    let listening = Devnet::bind(devnet.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let url = format!("http://{}", listening.address());
    config.chain.push(chain(&url, args.block_time)?);
    let (node, server) = start::open(&config).await?;
    supervisor.spawn("devnet", listening.run(supervisor.shutdown()));
    supervisor.spawn("devnet's clock", mine(devnet, supervisor.shutdown()));
    output::write(greeting(&server.address().to_string(), &url, &args).as_bytes())?;
    let run_for = args.run_for;
    let until = async move {
        match run_for {
            None => signalled().await?,
            Some(time) => tokio::select! {
                () = tokio::time::sleep(time) => {}
                signal = signalled() => signal?,
            },
        }
        Ok(())
    };
    let node = start::serve(&config, node, server, supervisor, until).await?;
    output::write(summary(&node, &args).as_bytes())?;
    Ok(Exit::Success)
}

fn chain(url: &str, block_time: Duration) -> Result<ChainConfig, CommandError> {
    let mut chain = start::plain_chain(url, CHAIN_ID, Some(CHAIN))?;
    chain.start = Start::Block(0);
    chain.traces = true;
    chain.part_blocks = PART_BLOCKS.try_into().unwrap_or(chain.part_blocks);
    let poll = u64::try_from(block_time.as_millis() / 8).unwrap_or(u64::MAX);
    chain.poll_ms = Some(poll.clamp(20, 1_000));
    chain.finalized_every = FINALIZED_EVERY.try_into().unwrap_or(chain.finalized_every);
    for provider in &mut chain.provider {
        provider.ws_url = Some(url.replace("http://", "ws://"));
    }
    Ok(chain)
}

fn greeting(address: &str, rpc: &str, args: &DemoArgs) -> String {
    let what = match &args.replay {
        Some(folder) => format!("recorded blocks of {}", folder.display()),
        None => {
            "transfers, calls, deployments, ERC-20 and ERC-721 logs, blobs, set-code".to_owned()
        }
    };
    let program = std::env::args().next().unwrap_or_else(|| "headwater".to_owned());
    let extra = if address == "127.0.0.1:8646" {
        String::new()
    } else {
        format!(" --url http://{address}")
    };
    format!(
        "\nHeadwater captures the built-in chain `{CHAIN}` (id {CHAIN_ID}, JSON-RPC at {rpc}):\n\
         {what}; a reorg every {REORG_EVERY} blocks.\n\
         API at http://{address}, as a node at http://{address}/rpc/{CHAIN}, data in {}.\n\
         Ctrl-C ends it; the next run goes on from here.\n\n\
         Try, in another terminal:\n\n  \
         curl -s http://{address}/v1/chains/{CHAIN}/blocks/head\n  \
         {program} sql{extra} \"select kind, count(*) as n from transactions group by kind\"\n  \
         {program} status{extra}\n\n",
        args.data_dir.display()
    )
}

fn summary(node: &Node, args: &DemoArgs) -> String {
    let mut out = String::new();
    for chain in &node.chains {
        let (head, finalized, captured, sealed) = chain.chain.with_state(|state| {
            let head = state.latest().map_or(0, |block| block.number);
            let finalized = state.latest_final().map_or(0, |block| block.number);
            (head, finalized, state.captured().count(), state.sealed().count())
        });
        let records = chain.chain.log().durable();
        let reverted = chain.status.view().reverted_blocks;
        let requests = chain.source.pool().requests();
        // Writing to a string cannot fail.
        write!(
            out,
            "\ncaptured {captured} blocks up to {head} (final up to {finalized}), {sealed} of them \
             in Parquet parts,\nin {records} records of the log; took back {reverted} blocks in \
             reorgs; {requests} requests.\nData in {}.\n",
            args.data_dir.display()
        )
        .ok();
    }
    out
}
