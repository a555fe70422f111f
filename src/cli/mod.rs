//! The commands.

mod args;
mod ask;
mod backfill;
mod backup;
mod check;
mod costs;
mod demo;
mod devnet;
mod error;
mod exporters;
mod output;
mod providers;
mod repair;
mod restore;
mod run;
mod scorecard;
mod sql;
mod start;
mod status;
mod verify;

pub use args::Args;
pub use error::CommandError;

use args::Command;

use crate::exit::Exit;
use crate::telemetry::logging;

/// Runs a command to its end.
pub async fn run(args: Args) -> Result<Exit, CommandError> {
    let quiet = !matches!(
        args.command,
        Command::Demo(_) | Command::Run(_) | Command::Backfill(_) | Command::Devnet(_)
    );
    // Drivers tell of every try; the exporter or the key says once what is wrong.
    let filter = if quiet {
        "warn,scylla=off,azure=off,typespec=off"
    } else {
        "info,datafusion=warn,scylla=off,azure=off,typespec=off"
    };
    logging::start(args.log_format, filter);
    match args.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Backfill(args) => backfill::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Providers(args) => providers::run(args).await,
        Command::Exporters(args) => exporters::run(args).await,
        Command::Sql(args) => sql::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Repair(args) => repair::run(args).await,
        Command::Devnet(args) => devnet::run(args).await,
        Command::SqlWorker(args) => sql::work(args).await,
    }
}
