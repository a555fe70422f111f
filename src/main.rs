//! The `headwater` program.

use std::process::ExitCode;

use headwater::cli::{self, Args};
use headwater::exit::{Exit, chain_text};
use headwater::limits;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::of_process();
    limits::raise();
    // One TLS provider for the whole process, chosen before anything connects.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Failure),
    };
    let result = runtime.block_on(cli::run(args));
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
