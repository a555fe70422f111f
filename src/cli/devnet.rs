//! `headwater devnet`.

use std::sync::Arc;

use crate::devnet::{DevNode, Devnet, DevnetConfig, mine};
use crate::exit::Exit;
use crate::supervisor::{Supervisor, on_cpu, signalled};

use super::args::DevnetArgs;
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: DevnetArgs) -> Result<Exit, CommandError> {
    let node = DevNode::new(DevnetConfig {
        chain_id: args.chain_id,
        seed: args.seed,
        block_time: args.block_time,
        timestamp_step: args.timestamp_step,
        timestamp_unit: args.timestamp_unit,
        fork: args.fork,
        fork_block: args.fork_block,
        transactions: args.transactions,
        blocks: args.blocks,
        finality: args.finality,
        reorg_every: args.reorg_every,
        reorg_depth: args.reorg_depth,
        replay: args.replay,
        journal: args.journal,
    })?;
    let node = Arc::new(node);
    let mining = node.clone();
    on_cpu(move || mining.mine(args.blocks)).await?;
    let devnet = Devnet::bind(node.clone(), args.listen).await?;
    output::line(&format!("devnet: JSON-RPC at http://{}", devnet.address()))?;
    let mut supervisor = Supervisor::default();
    supervisor.spawn("devnet", devnet.run(supervisor.shutdown()));
    supervisor.spawn("devnet's clock", mine(node, supervisor.shutdown()));
    let mut signal = Ok(());
    supervisor.run(async { signal = signalled().await }).await?;
    signal?;
    Ok(Exit::Success)
}
