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

/// Captures EVM chain data, proves it, keeps it, serves it and forwards it.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 100)]
pub struct Args {
    /// Form of the log lines on standard error; `HEADWATER_LOG` sets the filter.
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
    /// Start a built-in chain and the appliance on it: no key, no network.
    Demo(DemoArgs),
    /// Follow chains, serve and forward them.
    Run(RunArgs),
    /// Ask every provider with every key what it can do, and say what following costs.
    Check(CheckArgs),
    /// Fetch history that is final, only what is missing.
    Backfill(BackfillArgs),
    /// How a node stands, running or stopped.
    Status(StatusArgs),
    /// The providers' keys: use, limits, and when a quota ends.
    Providers(ProvidersArgs),
    /// The sinks: how they stand, and what they are told to do.
    Exporters(ExportersArgs),
    /// Run one read-only SQL statement, on a running node or on a stopped node's folder.
    Sql(SqlArgs),
    /// Prove again what is stored: hashes, links and roots, from the log and the parts.
    Verify(VerifyArgs),
    /// Copy a node's data, running or stopped, as of one moment.
    Backup(BackupArgs),
    /// Make a data folder of a backup, or look whether a backup is whole.
    Restore(RestoreArgs),
    /// Make a data folder open again that does not: nothing is deleted.
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
    /// Where everything is kept; a second run goes on where the first stopped.
    #[arg(long, default_value = "headwater-demo")]
    pub data_dir: PathBuf,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8646")]
    pub listen: SocketAddr,
    /// Let other machines read the API.
    #[arg(long)]
    pub allow_remote: bool,
    /// Time between blocks of the built-in chain.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub block_time: Duration,
    /// End by itself after this time, with a summary.
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
    /// A provider's URL; chain id and name are asked of it.
    #[arg(long)]
    pub rpc: Option<String>,
    /// Its WebSocket URL: new heads are announced there. A configuration has `ws_url`.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub ws: Option<String>,
    /// Where everything is kept; by default `headwater-data`, or what the configuration says.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// The chain's name in paths and answers; by default a well-known name, or chain-<id>. A
    /// configuration has `name`.
    #[arg(long, conflicts_with = "config")]
    pub name: Option<String>,
    /// Begin at this block; by default with what is captured already, or at the head. A
    /// configuration has `start`.
    #[arg(long, conflicts_with = "config")]
    pub start: Option<u64>,
    /// The calls within transactions too. A configuration has `traces`.
    #[arg(long, conflicts_with = "config")]
    pub traces: bool,
    /// Let other machines read the API.
    #[arg(long)]
    pub allow_remote: bool,
}

/// `headwater backfill`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").args(["config", "rpc"])))]
pub struct BackfillArgs {
    /// FIRST:END, END excluded, as in cryo: 0:1000, 17M:17.1M, -1000: (the last 1000), 5M:+100,
    /// 2026-11-01:2026-11-02 (UTC), or one block. Several are fetched one after the other.
    #[arg(required = true)]
    pub ranges: Vec<Span>,
    /// A provider's URL.
    #[arg(long, required_unless_present_any = ["config", "data_dir"])]
    pub rpc: Option<String>,
    /// A configuration: its data folder, and the providers and keys of a chain.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The chain of the configuration or of the running node, where it has several.
    #[arg(long, conflicts_with = "rpc")]
    pub chain: Option<String>,
    /// Where everything is kept; by default `headwater-data`, or what the configuration says. A
    /// node that runs on it is asked to fetch, and needs no --rpc.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The chain's name; a configuration has `name`.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub name: Option<String>,
    /// Blocks that are fetched at the same time; by default 8, or what the configuration says.
    #[arg(long)]
    pub window: Option<std::num::NonZeroUsize>,
    /// Requests a second at most; a configuration has `limits` for each key.
    #[arg(long, requires = "rpc", conflicts_with = "config")]
    pub per_second: Option<std::num::NonZeroU32>,
    /// The calls within transactions too.
    #[arg(long)]
    pub traces: bool,
    /// Only say what it would cost: requests, units of the quotas, days, bytes.
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
    /// A node's data folder: asked over HTTP while it runs, read directly when it is stopped.
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
    /// Print one word, and end with 0 when the node is ready: for health checks.
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
    /// The form of the answer.
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
    /// Prove everything again that was restored; without a folder, compare the backup's files with
    /// their digests.
    #[arg(long)]
    pub verify: bool,
    /// Restore what can be restored; the node fetches the rest again.
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
    /// Only say what would be done.
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
