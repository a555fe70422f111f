//! Statements that were written to stop a node: each ends within its bounds, and capture, the API
//! and the memory of the machine do not notice.
#![expect(clippy::disallowed_methods, reason = "attackers and watchers are tasks of their own")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater::devnet::DevnetConfig;
use serde_json::Value;

use crate::harness::{Appliance, Chain, config, until};

const MEMORY_BYTES: u64 = 128 << 20;
const MARGIN_BYTES: u64 = 512 << 20;

/// A node whose chain goes on, with small bounds.
struct Target {
    _folder: tempfile::TempDir,
    chain: Chain,
    appliance: Arc<Appliance>,
}

impl Target {
    async fn new() -> Target {
        let folder = tempfile::tempdir().unwrap();
        let mut chain =
            Chain::new(DevnetConfig { transactions: 7, finality: 5, ..DevnetConfig::default() });
        chain.node.mine(47).unwrap();
        let (url, _) = chain.provider().await;
        let path = config(folder.path(), &[url], "");
        let bounds =
            format!("[query]\nmemory_bytes = {MEMORY_BYTES}\ntimeout_secs = 5\nconcurrency = 4\n");
        let text = fs::read_to_string(&path).unwrap().replace("[[chain]]", &(bounds + "[[chain]]"));
        fs::write(&path, text).unwrap();
        let appliance = Arc::new(Appliance::start(&path).await);
        until("parts", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            (view["sealed_blocks"].as_u64()? >= 40).then_some(())
        })
        .await;
        let node = chain.node.clone();
        tokio::spawn(async move {
            while node.mine(1).is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Target { _folder: folder, chain, appliance }
    }

    /// How a statement ends: status, our word for it, and what is said.
    async fn ends(&self, statement: &str) -> (u16, String, String) {
        let began = Instant::now();
        let (status, body) = self.appliance.post_sql("json", statement).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}: {statement}", began.elapsed());
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let word = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
        (status, word("code"), word("message"))
    }
}

/// The processes of a node: itself and its workers.
fn processes(pid: u32) -> Vec<u32> {
    let is_child = |child: &u32| {
        let text = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut words = rest.split_whitespace();
        let state = words.next().unwrap_or("Z");
        state != "Z" && words.next().and_then(|ppid| ppid.parse().ok()) == Some(pid)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    std::iter::once(pid).chain(pids.filter(is_child)).collect()
}

/// Bytes that are there for these processes alone.
fn memory(pids: &[u32]) -> u64 {
    let of_one = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    pids.iter().map(of_one).sum()
}

/// Watches a node while it is attacked.
struct Watch {
    is_over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    lag: Arc<AtomicU64>,
    /// Blocks that capture was behind, look by look.
    behind: Arc<Mutex<Vec<u64>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Watch {
    fn new(target: &Target) -> Watch {
        let (is_over, bytes, lag) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let pid = target.appliance.pid();
        let (over, most) = (is_over.clone(), bytes.clone());
        let memory = tokio::task::spawn_blocking(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(memory(&processes(pid)), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let (over, longest, appliance) = (is_over.clone(), lag.clone(), target.appliance.clone());
        let behind: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (looks, node) = (behind.clone(), target.chain.node.clone());
        let life = tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(appliance.text("/livez").await.0, 200);
                longest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
                let head = node.head();
                let (_, view) = appliance.get("/v1/chains/devnet").await;
                let ours = view["head"]["number"].as_u64().unwrap();
                looks.lock().unwrap().push(head.saturating_sub(ours));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Watch { is_over, bytes, lag, behind, tasks: vec![memory, life] }
    }

    /// The most bytes of memory, the longest that `/livez` took, in milliseconds, and how many
    /// blocks capture was behind at the 99th percentile.
    async fn end(self) -> (u64, u64, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let mut behind = std::mem::take(&mut *self.behind.lock().unwrap());
        behind.sort_unstable();
        let behind = behind.get(behind.len() * 99 / 100).copied().unwrap_or_default();
        (self.bytes.load(Ordering::Relaxed), self.lag.load(Ordering::Relaxed), behind)
    }
}

/// What one may ask, with the words that may be the answer.
fn attacks() -> Vec<(String, &'static [&'static str])> {
    let complex: &[&str] = &["too_complex"];
    let bounded: &[&str] =
        &["out_of_memory", "timeout", "too_complex", "out_of_spill", "invalid_sql"];
    let ors = " or block_number = 2".repeat(3_000);
    let doubling = (1..17)
        .map(|n| format!(", c{n} as (select * from c{0} union all select * from c{0})", n - 1));
    let doubling = format!(
        "with c0 as (select * from transactions){} select array_agg(block_hash) from c16",
        doubling.collect::<String>()
    );
    vec![
        (format!("select 1{}", "+1".repeat(2_000)), complex),
        (format!("select 'a'{}", "||'a'".repeat(3_000)), complex),
        (format!("select 1 from blocks where block_number = 1{ors}"), complex),
        (format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)), complex),
        (format!("select 1 where 1 in ({}1)", "1,".repeat(140_000)), complex),
        (format!("select {}1", "not ".repeat(5_000)), complex),
        (format!("select 1{}", "[1]".repeat(5_000)), &["too_complex", "invalid_sql"]),
        ("select array_agg(a.block_hash) from blocks a, logs b, logs c, logs d".into(), bounded),
        ("select count(*) from logs a, logs b, logs c, logs d, logs e".into(), bounded),
        ("select levenshtein(repeat('a',180000), repeat('b',180000))".into(), bounded),
        ("select length(repeat('a',500000000))".into(), bounded),
        ("select length(repeat(repeat('a',50000),50000))".into(), bounded),
        ("select count(*) from generate_series(1,200000000)".into(), &["invalid_sql"]),
        ("select array_length(generate_series(1,200000000))".into(), bounded),
        ("select array_length(range(1,2000000000))".into(), bounded),
        ("select length(rpad('a',2147483647,'b'))".into(), bounded),
        ("select length(lpad('a',2147483647,'b'))".into(), bounded),
        ("select length(replace(repeat('a',1000000),'a',repeat('b',1000)))".into(), bounded),
        (
            "select length(regexp_replace(repeat('a',1000000),'a',repeat('b',1000),'g'))".into(),
            bounded,
        ),
        (
            "select length(string_agg(repeat('a',1000000),'')) from transactions a, logs b".into(),
            bounded,
        ),
        (
            "with recursive r as (select 1 as n union all select n + 1 from r) \
             select max(n) from r"
                .into(),
            bounded,
        ),
        (doubling, bounded),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_want_everything_get_their_part_of_it() {
    let target = Target::new().await;
    assert_eq!(target.ends("select 1").await.0, 200);
    let quiet = Watch::new(&target);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (_, _, usual) = quiet.end().await;
    let watch = Watch::new(&target);
    for (statement, words) in attacks() {
        let shown: String = statement.chars().take(80).collect();
        let began = Instant::now();
        let (status, word, message) = target.ends(&statement).await;
        println!("{:>6} ms {status} {word}: {shown}", began.elapsed().as_millis());
        assert!(words.contains(&word.as_str()), "{shown}: {status} {word} {message}");
        let due = if word == "timeout" {
            504
        } else if word == "invalid_sql" {
            400
        } else {
            422
        };
        assert_eq!(status, due, "{shown}: {message}");
        if word == "out_of_memory" {
            assert!(message.contains("query.memory_bytes"), "{message}");
        }
    }
    // Many at once: who comes later waits, and all end.
    let (_, head) = target.appliance.get("/v1/chains/devnet").await;
    let hungry = "select array_agg(a.block_hash) from logs a, logs b, logs c, logs d";
    let many: Vec<_> = (0..8).map(|_| target.ends(hungry)).collect();
    for (status, word, message) in futures::future::join_all(many).await {
        assert!([422, 504].contains(&status), "{status} {word} {message}");
    }
    let (bytes, lag, behind) = watch.end().await;
    println!("memory at most {} MiB, /livez at most {lag} ms", bytes >> 20);
    println!("blocks behind at the 99th percentile: {usual} before, {behind} under attack");
    assert!(bytes < MEMORY_BYTES + MARGIN_BYTES, "{} MiB", bytes >> 20);
    assert!(lag < 2_000, "{lag} ms");
    assert!(behind <= 2 * usual.max(1), "{usual} blocks behind before, {behind} under attack");
    let (_, later) = target.appliance.get("/v1/chains/devnet").await;
    assert!(later["head"]["number"].as_u64() > head["head"]["number"].as_u64(), "capture went on");
    assert_eq!(target.ends("select count(*) from blocks").await.0, 200);
    target.appliance.follows(&target.chain).await;
}

/// Clients that send a statement and read nothing.
fn silent_clients(target: &Target, count: usize, statement: &str) -> Vec<TcpStream> {
    let address = target.appliance.url.trim_start_matches("http://").to_owned();
    let client = |_| {
        let mut client = TcpStream::connect(&address).unwrap();
        let length = statement.len();
        let head = format!("POST /v1/sql HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}");
        client.write_all(format!("{head}\r\n\r\n{statement}").as_bytes()).unwrap();
        client
    };
    (0..count).map(client).collect()
}

const ENDLESS: &str = "select levenshtein(repeat('a',180000), repeat('b',180000))";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_statement() {
    let target = Target::new().await;
    let pid = target.appliance.pid();
    let clients = silent_clients(&target, 4, ENDLESS);
    until("four workers", async || (processes(pid).len() >= 5).then_some(())).await;
    let began = Instant::now();
    drop(clients);
    until("no worker", async || (processes(pid).len() == 1).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_hold_no_memory() {
    let target = Target::new().await;
    let large = "select repeat('a', 40000) from blocks a, blocks b limit 1000";
    let watch = Watch::new(&target);
    let clients = silent_clients(&target, 12, large);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (bytes, lag, _) = watch.end().await;
    println!("memory at most {} MiB, /livez at most {lag} ms", bytes >> 20);
    assert!(bytes < MEMORY_BYTES + MARGIN_BYTES, "{} MiB", bytes >> 20);
    drop(clients);
    until("a statement", async || (target.ends("select 1").await.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_in_time_whatever_its_statements_do() {
    let target = Target::new().await;
    let pid = target.appliance.pid();
    let clients = silent_clients(&target, 4, ENDLESS);
    until("four workers", async || (processes(pid).len() >= 5).then_some(())).await;
    let workers: Vec<PathBuf> =
        processes(pid).iter().skip(1).map(|pid| format!("/proc/{pid}/exe").into()).collect();
    let began = Instant::now();
    let appliance = Arc::into_inner(target.appliance).unwrap();
    assert_eq!(appliance.terminate().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(clients);
    until("no worker left", async || {
        workers.iter().all(|exe| fs::read_link(exe).is_err()).then_some(())
    })
    .await;
}
