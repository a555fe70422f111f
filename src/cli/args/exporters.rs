//! `headwater exporters` on the command line.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ProvidersArgs, WhichArgs};

/// `headwater exporters`.
#[derive(Debug, clap::Args)]
pub struct ExportersArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ExporterAction,
}

/// What to do with exporters.
#[derive(Debug, Subcommand)]
pub enum ExporterAction {
    /// Show their state.
    List(ProvidersArgs),
    /// Connect to the sinks of a configuration and list what is missing there.
    Check(ExporterCheckArgs),
    /// Stop sending until resumed, also across restarts.
    Pause(ExporterOrderArgs),
    /// Resume after a pause.
    Resume(ExporterOrderArgs),
    /// Re-send events from a block on.
    Rewind(ExporterRewindArgs),
    /// List rows that a sink rejected and that were set aside.
    Parked(ExporterParkedArgs),
    /// Re-send rows that were set aside.
    Replay(ExporterRowsArgs),
    /// Discard rows that were set aside.
    Drop(ExporterRowsArgs),
    /// Show the exact records that a sink gets for a block.
    Explain(ExporterExplainArgs),
}

/// `headwater exporters check`.
#[derive(Debug, clap::Args)]
pub struct ExporterCheckArgs {
    /// The exporter; by default all.
    pub name: Option<String>,
    /// The configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Create what is missing, where the exporter's credentials allow it.
    #[arg(long)]
    pub apply: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Whom to tell.
#[derive(Debug, clap::Args)]
pub struct ExporterOrderArgs {
    /// The exporter.
    pub name: String,
    /// The chain; by default all.
    #[arg(long)]
    pub chain: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// The node's admin token; by default the one in its data folder.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater exporters rewind`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to_block", "to_lsn"])))]
pub struct ExporterRewindArgs {
    #[command(flatten)]
    pub order: ExporterOrderArgs,
    /// The first block to re-send.
    #[arg(long)]
    pub to_block: Option<u64>,
    /// The last log record that is not re-sent.
    #[arg(long)]
    pub to_lsn: Option<u64>,
}

/// `headwater exporters replay` and `drop`.
#[derive(Debug, clap::Args)]
pub struct ExporterRowsArgs {
    #[command(flatten)]
    pub order: ExporterOrderArgs,
    /// The rows' event ids; by default all.
    #[arg(long = "row")]
    pub event_ids: Vec<String>,
}

/// `headwater exporters parked`.
#[derive(Debug, clap::Args)]
pub struct ExporterParkedArgs {
    /// The exporter.
    pub name: String,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater exporters explain`.
#[derive(Debug, clap::Args)]
pub struct ExporterExplainArgs {
    /// The exporter.
    pub name: String,
    /// The block's number.
    #[arg(long)]
    pub block: u64,
    /// The chain; by default all.
    #[arg(long)]
    pub chain: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
