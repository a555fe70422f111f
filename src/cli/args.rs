//! The command line.

mod exporters;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::capture::Span;
use crate::devnet::{Fork, TimeUnit};
use crate::query::Format;
use crate::telemetry::logging::LogFormat;

pub(super) use exporters::{ExporterAction, ExporterCheckArgs, ExporterOrderArgs, ExportersArgs};

/// Captures EVM chain data, verifies it, stores it, serves it and forwards it.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 100)]
pub struct Args {
    /// Format of the log lines on standard error; `HEADWATER_LOG` sets the filter.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// The arguments of this process. A range may begin with `-`, as in `-1000:`, which is a flag
    /// for everybody else.
    pub fn of_process() -> Args {
        let is_range = |text: &str| {
            text.strip_prefix('-')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        Args::parse_from(std::env::args_os().map(|argument| match argument.to_str() {
            Some(text) if is_range(text) => format!("latest{text}").into(),
            Some(_) | None => argument,
        }))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a built-in test chain and capture it: needs no key and no network.
    Demo(DemoArgs),
    /// Follow chains: capture, serve and forward their blocks.
    Run(RunArgs),
    /// Test every provider and key: what each can do, and what following the chain will cost.
    Check(CheckArgs),
    /// Download finalized history; only blocks that are missing are requested.
    Backfill(BackfillArgs),
    /// Show the state of a node, running or stopped.
    Status(StatusArgs),
    /// Show the providers' keys: usage, limits, and when a quota will run out.
    Providers(ProvidersArgs),
    /// Show and control the exporters.
    Exporters(ExportersArgs),
    /// Run one read-only SQL statement, on a running node or on a stopped node's folder.
    Sql(SqlArgs),
    /// Re-verify stored blocks: hashes, parent links and roots, from the log and the Parquet parts.
    Verify(VerifyArgs),
    /// Back up a node's data, running or stopped, as of one moment.
    Backup(BackupArgs),
    /// Restore a data folder from a backup, or check a backup.
    Restore(RestoreArgs),
    /// Repair a data folder that does not open; nothing is deleted.
    Repair(RepairArgs),
    /// Serve a synthetic or replayed chain over JSON-RPC.
    Devnet(DevnetArgs),
    /// Run SQL statements for a node at the other end of standard input.
    #[command(hide = true)]
    SqlWorker(super::sql::WorkerArgs),
}

/// `1s`, `250ms`, `2m` or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "write 30s, 250ms or 2m".to_owned())?;
    let unit = match text.get(digits.len()..) {
        Some("ms") => 0.001,
        Some("" | "s") => 1.0,
        Some("m" | "min") => 60.0,
        Some("h") => 3_600.0,
        Some(_) | None => return Err("write 30s, 250ms or 2m".to_owned()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

/// `headwater demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// The data folder; a second run continues where the first one stopped.
    #[arg(long, default_value = "headwater-demo")]
    pub data_dir: PathBuf,
    /// The address that the API listens on.
    #[arg(long, default_value = "127.0.0.1:8646")]
    pub listen: SocketAddr,
    /// Allow other machines to reach the API.
    #[arg(long)]
    pub allow_remote: bool,
    /// Time between blocks of the built-in chain.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub block_time: Duration,
    /// Stop after this time and print a summary.
    #[arg(long = "for", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// Replay a folder of recorded blocks instead of synthetic ones.
    #[arg(long)]
    pub replay: Option<PathBuf>,
}

/// `headwater run`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["config", "rpc"])))]
pub struct RunArgs {
    /// The configuration file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// A provider's URL; the chain id and name are requested from it.
    #[arg(long)]
    pub rpc: Option<String>,
    /// Its WebSocket URL, for announcements of new heads. In a configuration: `ws_url`.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub ws: Option<String>,
    /// The data folder; by default `headwater-data`, or the one in the configuration.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The address that the API listens on.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// The chain's name in paths and answers; by default a well-known name, or chain-<id>. A
    /// configuration has `name`.
    #[arg(long, conflicts_with = "config")]
    pub name: Option<String>,
    /// Start at this block; by default at the first block that is captured already, or at the head.
    /// In a configuration: `start`.
    #[arg(long, conflicts_with = "config")]
    pub start: Option<u64>,
    /// Also capture internal calls (traces). In a configuration: `traces`.
    #[arg(long, conflicts_with = "config")]
    pub traces: bool,
    /// Allow other machines to reach the API.
    #[arg(long)]
    pub allow_remote: bool,
}

/// `headwater backfill`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").args(["config", "rpc"])))]
pub struct BackfillArgs {
    /// FIRST:END, END excluded, as in cryo: 0:1000, 17M:17.1M, -1000: (the last 1000), 5M:+100,
    /// 2026-11-01:2026-11-02 (UTC), or one block. Several are downloaded one after the other.
    #[arg(required = true)]
    pub ranges: Vec<Span>,
    /// A provider's URL.
    #[arg(long, required_unless_present_any = ["config", "data_dir"])]
    pub rpc: Option<String>,
    /// A configuration file: its data folder, and the providers and keys of a chain.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Which chain of the configuration or of the running node, if it has several.
    #[arg(long, conflicts_with = "rpc")]
    pub chain: Option<String>,
    /// The data folder; by default `headwater-data`, or the one in the configuration. A node that
    /// runs on it is asked to download, and no --rpc is needed.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The chain's name; a configuration has `name`.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub name: Option<String>,
    /// Blocks downloaded at the same time; by default 8, or the configuration's `window`.
    #[arg(long)]
    pub window: Option<std::num::NonZeroUsize>,
    /// At most so many requests per second. In a configuration: `limits` of each key.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub per_second: Option<std::num::NonZeroU32>,
    /// Also capture internal calls (traces).
    #[arg(long)]
    pub traces: bool,
    /// Only print what it would cost: requests, quota units, days, bytes.
    #[arg(long)]
    pub dry_run: bool,
}

/// `headwater check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// A scorecard of each key: the same blocks are asked of all, proved and compared; each method,
    /// batches, and how far back receipts go are tried. Some hundred calls a key.
    #[arg(long)]
    pub deep: bool,
    /// Blocks that are asked of each key: a third of them the chain's last, the others older.
    #[arg(
        long,
        requires = "deep",
        default_value_t = 6,
        value_parser = clap::value_parser!(u16).range(1..=200)
    )]
    pub blocks: u16,
    /// Picks the older blocks; by default each run picks others.
    #[arg(long, requires = "deep")]
    pub seed: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which node to ask.
#[derive(Debug, clap::Args)]
pub struct WhichArgs {
    /// A node's data folder: asked over HTTP while the node runs, read directly otherwise.
    #[arg(long, conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,
    /// A running node's address.
    #[arg(long)]
    pub url: Option<String>,
}

/// `headwater status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print one word and exit with 0 if the node is ready: for health checks.
    #[arg(long, conflicts_with = "json")]
    pub quick: bool,
}

/// `headwater providers`.
#[derive(Debug, clap::Args)]
pub struct ProvidersArgs {
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater sql`.
#[derive(Debug, clap::Args)]
pub struct SqlArgs {
    /// The statement; `-` reads it from standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub statement: Option<String>,
    /// A file with the statement.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The output format.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `headwater verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// FIRST:END, END excluded; by default everything that is captured.
    pub range: Option<Span>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// The chain; by default all.
    #[arg(long)]
    pub chain: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The folder of all backups, outside of the data folder; each becomes a folder in it, named
    /// by its time.
    pub to: PathBuf,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Share no file with the data folder. Without it files that do not change any more get a
    /// second name where that is possible: that costs nothing, and a bad sector takes both.
    #[arg(long)]
    pub copy: bool,
    /// The node's admin token; by default the one in its data folder.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// One backup.
    pub backup: PathBuf,
    /// An empty folder; every file is compared with its digest on the way.
    #[arg(long, required_unless_present = "verify")]
    pub data_dir: Option<PathBuf>,
    /// Re-verify everything that was restored; without a folder, compare the backup's files with
    /// their digests.
    #[arg(long)]
    pub verify: bool,
    /// Restore what can be restored; the node downloads the rest again.
    #[arg(long)]
    pub keep_going: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater repair`.
#[derive(Debug, clap::Args)]
pub struct RepairArgs {
    /// A stopped node's data folder.
    #[arg(long)]
    pub data_dir: PathBuf,
    /// A backup of it, for the exporters' cursors if the ledger has to be made again.
    #[arg(long)]
    pub backup: Option<PathBuf>,
    /// Only print what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `headwater devnet`.
#[derive(Debug, clap::Args)]
pub struct DevnetArgs {
    /// Where JSON-RPC listens, HTTP and WebSocket.
    #[arg(long, default_value = "127.0.0.1:8545")]
    pub listen: SocketAddr,
    /// Time between blocks; 0 mines on request only (`devnet_mine`).
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub block_time: Duration,
    /// Replay a folder of recorded blocks.
    #[arg(long)]
    pub replay: Option<PathBuf>,
    /// EIP-155 id.
    #[arg(long, default_value_t = 1337)]
    pub chain_id: u64,
    /// The same seed gives the same accounts.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Transactions of a synthetic block.
    #[arg(long, default_value_t = 12)]
    pub transactions: usize,
    /// Blocks behind the head that are final.
    #[arg(long, default_value_t = 32)]
    pub finality: u64,
    /// Blocks to mine before it listens.
    #[arg(long, default_value_t = 0)]
    pub blocks: u64,
    /// Seconds between the timestamps of blocks, from 30 days ago, midnight UTC, on; 0 takes the
    /// clock's.
    #[arg(long, default_value_t = 0)]
    pub timestamp_step: u64,
    /// What the timestamps count.
    #[arg(long, value_enum, default_value_t)]
    pub timestamp_unit: TimeUnit,
    /// Rules of synthetic blocks.
    #[arg(long, value_enum, default_value_t)]
    pub fork: Fork,
    /// The first block under the rules of `--fork`.
    #[arg(long, default_value_t = 0)]
    pub fork_block: u64,
    /// A reorg after every so many blocks; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub reorg_every: u64,
    /// The deepest of these reorgs.
    #[arg(long, default_value_t = 1)]
    pub reorg_depth: u64,
    /// A file that lets the chain go on after a restart.
    #[arg(long)]
    pub journal: Option<PathBuf>,
}
