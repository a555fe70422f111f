//! `headwater sql`, and the process that runs its statements.

use std::path::PathBuf;

use crate::exit::Exit;
use crate::query::{Format, run_worker};
use crate::supervisor::on_cpu;

use super::args::SqlArgs;
use super::ask::{Which, statement};
use super::error::CommandError;
use super::output;

/// `headwater sql-worker`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Bytes of memory that a statement may use.
    #[arg(long)]
    pub memory_bytes: usize,
    /// The folder that statements spill to.
    pub scratch: PathBuf,
}

pub(super) async fn run(args: SqlArgs) -> Result<Exit, CommandError> {
    let format = if args.json { Format::Json } else { args.format };
    let statement = statement(&args)?;
    match Which::find_to_read(&args.which)? {
        Which::Running(remote) => {
            let name = clap::ValueEnum::to_possible_value(&format);
            let name = name.as_ref().map_or("json", |value| value.get_name());
            output::write(&remote.sql(&statement, name).await?)?;
        }
        Which::Stopped(node) => {
            let mut answer = node.engine.run(&statement, format).await?;
            while let Some(piece) = answer.next().await? {
                output::write(&piece)?;
            }
        }
    }
    Ok(Exit::Success)
}

/// Until the node goes away.
pub(super) async fn work(args: WorkerArgs) -> Result<Exit, CommandError> {
    // It has threads of its own, with larger stacks.
    on_cpu(move || run_worker(args.memory_bytes, &args.scratch)).await?;
    Ok(Exit::Success)
}
