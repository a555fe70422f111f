//! `cargo bench --bench capture`: the whole pipeline on recorded blocks: fetched over HTTP,
//! verified, synced, indexed, sealed. It runs `headwater backfill` itself against a devnet in
//! another process, so that the CPU that is counted is the pipeline's alone.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people")]

mod pieces;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use headwater::cli::{self, Args};
use headwater::clock;
use headwater::node::Node;
use headwater_storage::model::Lsn;
use rustix::time::{ClockId, clock_gettime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FINALITY: u64 = 8;
/// The devnet keeps so many blocks ready; rebuilding them would cost the machine.
const BLOCKS: u64 = 480;

fn main() {
    let Some(folder) = pieces::recorded() else {
        println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA");
        return;
    };
    let blocks = std::env::var("HEADWATER_BENCH_BLOCKS").ok();
    let blocks = blocks.and_then(|text| text.parse().ok()).unwrap_or(BLOCKS);
    let floor_before = pieces::measure(&folder);
    let (mut devnet, url) = devnet(&folder, blocks + FINALITY);
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("data");
    let range = format!("0:{blocks}");
    let arguments = ["headwater", "backfill", &range, "--rpc", &url, "--data-dir"];
    let window = std::env::var("HEADWATER_BENCH_WINDOW").unwrap_or_else(|_| "8".to_owned());
    let rest = [path.clone().into_os_string(), "--window".into(), window.clone().into()];
    let args = Args::parse_from(arguments.map(Into::into).into_iter().chain(rest));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (started, cpu_before) = (clock::now(), cpu());
    let exit = runtime.block_on(cli::run(args)).expect("backfilled");
    let (wall, used) = (started.elapsed(), cpu().saturating_sub(cpu_before));
    devnet.kill().ok();
    devnet.wait().ok();
    assert_eq!(exit, headwater::exit::Exit::Success);
    // How fast the machine is changes while this runs: what the floor was before and after.
    let floor = (floor_before + pieces::measure(&folder)) / 2;
    let node = Node::open_stopped(&path).expect("a stopped node");
    let chain = &node.chains.first().expect("a chain").chain;
    let parts: u64 = chain.with_state(|s| s.parts().iter().map(|part| part.file_bytes).sum());
    let frames = (1..=chain.log().durable().0).map(|lsn| chain.log().weight(Lsn(lsn)));
    let log: u64 = frames.map(|bytes| bytes.expect("a frame")).sum();
    let index = folder_bytes(&path.join("chains"), "index");
    let per_block = used / u32::try_from(blocks).unwrap_or(u32::MAX);
    println!(
        "{blocks} blocks, {window} at a time, in {:.2} s: {:.1} blocks/s",
        wall.as_secs_f64(),
        blocks as f64 / wall.as_secs_f64()
    );
    println!(
        "CPU {:.3} ms a block, {:.2} times the floor of {:.3} ms",
        millis(per_block),
        millis(per_block) / millis(floor),
        millis(floor)
    );
    println!(
        "disk {} bytes a block: log {}, parts {}, index {}",
        (log + parts + index) / blocks,
        log / blocks,
        parts / blocks,
        index / blocks
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A replaying devnet as a process of its own, and its URL.
fn devnet(folder: &Path, blocks: u64) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["devnet", "--listen", "127.0.0.1:0", "--block-time", "0s", "--replay"])
        .arg(folder)
        .args(["--blocks", &blocks.to_string(), "--finality", &FINALITY.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a devnet");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    out.read_line(&mut line).expect("its address");
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    (child, url)
}

/// Bytes of the files below a folder whose path names `part`.
fn folder_bytes(folder: &Path, part: &str) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => folder_bytes(&entry.path(), part),
            Ok(facts) if entry.path().components().any(|c| c.as_os_str() == part) => facts.len(),
            Ok(_) | Err(_) => 0,
        })
        .sum()
}
