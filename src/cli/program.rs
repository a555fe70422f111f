//! The program: its runtime, and which command it runs.

use std::process::ExitCode;

use crate::exit::{Exit, chain_text};
use crate::limits;
use crate::telemetry::logging;

use super::args::Command;
use super::{
    Args, CommandError, backfill, backup, check, demo, devnet, exporters, providers, repair,
    restore, run as run_node, sql, status, verify,
};

/// The program.
pub fn main() -> ExitCode {
    let args = Args::of_process();
    limits::raise();
    // One TLS provider for the whole process, chosen before anything connects.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Failure),
    };
    let result = runtime.block_on(run(args));
    // What still runs was asked to end and did not: nothing it holds is needed on disk.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => fail(&error, error.exit()),
    }
}

#[expect(clippy::print_stderr, reason = "the one place that tells the user why it ends")]
fn fail(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    eprintln!("error: {}", chain_text(error));
    exit.into()
}

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
        Command::Run(args) => run_node::run(args).await,
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
