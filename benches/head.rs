//! `cargo bench --bench head`: a chain of recorded blocks is followed as it grows, and the time
//! from the provider's answer, and from the announcement, to durable is read from the metrics.
//! Devnet and appliance are processes of their own, over HTTP and WebSocket.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people")]
#![allow(clippy::disallowed_methods, reason = "it only waits for two processes")]

#[path = "pieces/recorded.rs"]
mod recorded;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Blocks that are followed.
const BLOCKS: u64 = 240;
const BLOCK_TIME: &str = "250ms";

fn main() {
    let Some(folder) = recorded::recorded() else {
        println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA");
        return;
    };
    let (mut devnet, url) = devnet(&folder);
    let data = tempfile::tempdir().expect("a folder");
    let mut appliance = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["run", "--rpc", &url, "--ws", &url.replace("http://", "ws://")])
        .args(["--start", "0", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("an appliance");
    let address = wait(|| {
        let text = std::fs::read_to_string(data.path().join("http.address")).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    });
    let head = || value(&get(&address, "/metrics"), "headwater_durable_block{");
    wait(|| (head()? > 10.0).then_some(()));
    let (before, first) = (get(&address, "/metrics"), head().unwrap_or_default());
    wait(|| (head()? >= first + BLOCKS as f64).then_some(()));
    let after = get(&address, "/metrics");
    appliance.kill().ok();
    appliance.wait().ok();
    devnet.kill().ok();
    devnet.wait().ok();
    let blocks = value(&after, "headwater_durable_block{").unwrap_or_default() - first;
    let calls = sum(&after, "headwater_rpc_requests_total{")
        - sum(&before, "headwater_rpc_requests_total{");
    println!("{blocks} blocks, one each {BLOCK_TIME}: {:.3} calls a block", calls / blocks);
    for (name, what) in [
        ("headwater_capture_seconds", "from the provider's answer to durable"),
        ("headwater_head_seconds", "from the announcement to durable"),
    ] {
        println!("{what}:");
        let all = bucket(&after, name, "+Inf") - bucket(&before, name, "+Inf");
        for bound in ["0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1"] {
            let inside = bucket(&after, name, bound) - bucket(&before, name, bound);
            println!("  within {:>6} s: {:6.2} % of {all}", bound, 100.0 * inside / all.max(1.0));
        }
    }
}

/// A devnet that replays recorded blocks, one after each block time, and its URL.
fn devnet(folder: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["devnet", "--listen", "127.0.0.1:0", "--block-time", BLOCK_TIME, "--replay"])
        .arg(folder)
        .args(["--blocks", "2", "--finality", "16"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a devnet");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    out.read_line(&mut line).expect("its address");
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    (child, url)
}

fn wait<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = ask() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The body of a `GET`.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the appliance");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn values<'a>(metrics: &'a str, start: &'a str) -> impl Iterator<Item = f64> + 'a {
    let lines = metrics.lines().filter(move |line| line.starts_with(start));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

fn value(metrics: &str, start: &str) -> Option<f64> {
    values(metrics, start).next()
}

fn sum(metrics: &str, start: &str) -> f64 {
    values(metrics, start).sum()
}

fn bucket(metrics: &str, name: &str, bound: &str) -> f64 {
    let start = format!("{name}_bucket{{");
    let end = format!("le=\"{bound}\"}}");
    let lines = metrics.lines().filter(|line| line.starts_with(&start) && line.contains(&end));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
