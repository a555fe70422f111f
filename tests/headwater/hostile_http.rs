//! Clients that mean harm, or do it: what they open, hold back, forge and never read, while blocks
//! are captured and health is asked for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use headwater::clock;
use headwater::devnet::DevnetConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::facade::small;
use crate::harness::{Appliance, Chain, config, until};

/// How long health may take to answer, whatever happens.
const HEALTH_MAX: Duration = Duration::from_millis(250);
const NONE: &[(&str, &str)] = &[];

fn address(appliance: &Appliance) -> String {
    appliance.url.trim_start_matches("http://").to_owned()
}

/// What comes back for bytes, until the other side closes or says no more for a while.
async fn raw(appliance: &Appliance, request: &str) -> String {
    let mut socket = TcpStream::connect(address(appliance)).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status and body that a request with these headers gets.
async fn ask(
    appliance: &Appliance,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        write!(request, "host: {}\r\n", address(appliance)).unwrap();
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(request, "content-length: {}\r\n", body.len()).unwrap();
    }
    let answer = raw(appliance, &format!("{request}\r\n{body}")).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// The longest that health took over a time, each time over a new connection.
async fn health(appliance: &Appliance, time: Duration) -> Duration {
    let started = clock::now();
    let mut longest = Duration::ZERO;
    while started.elapsed() < time {
        let asked = clock::now();
        let (status, _) = ask(appliance, "GET /livez", NONE, "").await;
        longest = longest.max(asked.elapsed());
        assert_eq!(status, 200, "health is answered (INV-10)");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

async fn node(folder: &Path, blocks: u64) -> (Chain, Appliance) {
    let mut chain = Chain::new(DevnetConfig { finality: 4, ..small() });
    chain.node.mine(blocks).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder, &[url], "")).await;
    appliance.follows(&chain).await;
    (chain, appliance)
}

/// As many descriptors as the system lets this process have.
fn many_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_without_end_are_cut_at_the_head() {
    const MAX: u64 = u64::MAX;
    let folder = tempfile::tempdir().unwrap();
    let (_chain, appliance) = node(folder.path(), 20).await;
    for (first, last, status) in [
        (0, MAX, 200),
        (20, MAX, 200),
        (0, 20, 200),
        (21, MAX, 200),
        (MAX, MAX, 200),
        (MAX - 1, MAX, 200),
        (MAX, 0, 400),
        (5, 4, 400),
    ] {
        let path = format!("/v1/chains/devnet/verify?first={first}&last={last}");
        let asked = clock::now();
        let (got, body) = appliance.get(&path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{path}");
        if status == 200 {
            assert_eq!(body["blocks"], 21_u64.saturating_sub(first), "{body}");
            let missing = body["missing"].as_array().unwrap().len();
            assert_eq!(missing, usize::from(first > 20), "{body}");
        }
    }
    let address = format!("0x{}", "11".repeat(20));
    for path in [
        format!("/v1/chains/devnet/addresses/{address}/transactions?limit={MAX}&before={MAX}"),
        format!("/v1/chains/devnet/addresses/{address}/transactions?limit=0&before=0"),
    ] {
        assert_eq!(appliance.get(&path).await.0, 200, "{path}");
    }
    for path in [
        format!("/v1/chains/devnet/blocks/{MAX}"),
        format!("/v1/exporters/none/explain?block={MAX}"),
    ] {
        assert_eq!(appliance.get(&path).await.0, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_get_nothing_and_programs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_chain, appliance) = node(folder.path(), 3).await;
    let ours = address(&appliance);
    let origin = format!("http://{ours}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let json = ("content-type", "application/json");
    let evil = ("origin", "http://evil.example");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    for (line, headers, body, expected) in [
        ("GET /v1/status", vec![("host", "evil.example")], "", (403, "unknown_host")),
        ("GET /metrics", vec![("host", "10.0.0.1")], "", (403, "unknown_host")),
        ("GET /livez", vec![("host", "localhost"), ("host", "evil.example")], "", (400, "no_host")),
        ("GET http://evil.example/v1/status", vec![], "", (403, "unknown_host")),
        ("GET /v1/status", vec![("sec-fetch-site", "cross-site")], "", (403, "cross_site")),
        ("POST /v1/sql", vec![evil, form], "select 1", (403, "foreign_origin")),
        ("POST /rpc/devnet", vec![evil, json], call, (403, "foreign_origin")),
        ("POST /rpc/devnet", vec![("origin", "null"), json], call, (403, "foreign_origin")),
        ("POST /v1/sql", vec![("origin", &*origin), form], "select 1", (403, "browser_form")),
        (
            "GET /rpc/devnet",
            vec![
                evil,
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            "",
            (403, "foreign_origin"),
        ),
    ] {
        let (status, answer) = ask(&appliance, line, &headers, body).await;
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{line} {headers:?}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.len() > 20));
    }
    for (line, headers, body) in [
        ("POST /v1/sql", vec![form], "select 1"),
        ("POST /v1/sql", vec![], "select 1"),
        ("POST /rpc/devnet", vec![], call),
        ("POST /rpc/devnet", vec![("origin", &*origin), json], call),
        ("GET /v1/status", vec![("host", "localhost")], ""),
        ("GET /v1/status", vec![("host", "[::1]:99")], ""),
        ("GET /v1/status", vec![("sec-fetch-site", "none")], ""),
    ] {
        let (status, answer) = ask(&appliance, line, &headers, body).await;
        assert_eq!(status, 200, "{line} {headers:?}: {answer}");
    }
    let without = raw(&appliance, "GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(without.starts_with("HTTP/1.1 400"), "{without}");
    let old = raw(&appliance, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(" 200 "), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_origins_that_are_configured_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let text = fs::read_to_string(&path).unwrap();
    let names = "hosts = [\"Node.Example\"]\norigins = [\"https://app.example\"]\n[[chain]]";
    fs::write(&path, text.replacen("[[chain]]", names, 1)).unwrap();
    let appliance = Appliance::start(&path).await;
    let (status, _) = ask(&appliance, "GET /livez", &[("host", "node.example:1")], "").await;
    assert_eq!(status, 200);
    let asks = "OPTIONS /v1/sql HTTP/1.1\r\nhost: node.example\r\norigin: https://app.example\r\n\
                access-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = raw(&appliance, asks).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let (_chain, appliance) = node(folder.path(), 3).await;
    let large = "x".repeat((1 << 20) + 1);
    for (line, headers, body, expected) in [
        ("GET /v1/chains/%ff", NONE, "", (400, "invalid_argument")),
        ("GET /v1/chains/%ff/blocks/%fe", NONE, "", (400, "invalid_argument")),
        ("POST /rpc/%ff", NONE, "{}", (400, "invalid_argument")),
        ("DELETE /v1/status", NONE, "", (405, "method_not_allowed")),
        ("GET /v1/sql", NONE, "", (405, "method_not_allowed")),
        ("POST /v1/sql", NONE, &*large, (413, "body_too_large")),
        ("POST /rpc/devnet", NONE, &*large, (413, "body_too_large")),
        ("POST /v1/sql", NONE, "\u{1}", (400, "invalid_sql")),
        ("GET /rpc/devnet", NONE, "", (400, "invalid_argument")),
        (
            "GET /rpc/devnet",
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            "",
            (400, "invalid_argument"),
        ),
        (
            "GET /rpc/devnet",
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "8"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            "",
            (400, "invalid_argument"),
        ),
    ] {
        let (status, answer) = ask(&appliance, line, headers, body).await;
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{line}: {answer}");
        assert!(answer["error"]["type"].is_string(), "{line}: {answer}");
    }
    let chunked =
        "POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = raw(&appliance, chunked).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_argument"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_held_open_keep_nobody_out() {
    many_descriptors();
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = node(folder.path(), 3).await;
    let listen = address(&appliance);
    let mut held = Vec::new();
    for at in 0..2_000 {
        let mut socket = TcpStream::connect(&listen).await.unwrap();
        let begun = match at % 3 {
            0 => "",
            1 => "GET /v1/status HTTP/1.1\r\nhost: local",
            _ => "POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nsel",
        };
        socket.write_all(begun.as_bytes()).await.ok();
        held.push(socket);
    }
    let mut dribble = tokio::task::JoinSet::new();
    dribble.spawn(async move {
        loop {
            for socket in &mut held {
                socket.write_all(b"x").await.ok();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let longest = health(&appliance, Duration::from_secs(5)).await;
    println!("health took {longest:?} at most");
    assert!(longest < HEALTH_MAX, "health took {longest:?}");
    chain.node.mine(5).unwrap();
    appliance.follows(&chain).await;
    dribble.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_and_a_body_have_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_chain, appliance) = node(folder.path(), 3).await;
    let listen = address(&appliance);
    let mut waits = tokio::task::JoinSet::new();
    for (begun, least, most) in [
        ("", 9, 15),
        ("GET /livez HTTP/1.1\r\n", 9, 15),
        ("POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nsel", 28, 40),
    ] {
        let listen = listen.clone();
        waits.spawn(async move {
            let mut socket = TcpStream::connect(listen).await.unwrap();
            socket.write_all(begun.as_bytes()).await.unwrap();
            let opened = clock::now();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.ok();
            let took = opened.elapsed().as_secs();
            assert!((least..=most).contains(&took), "{begun:?} was held for {took} s");
            assert!(least < 20 || answer.starts_with("HTTP/1.1 408"), "{answer}");
        });
    }
    waits.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_descriptors_idle_clients_stop_no_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { finality: 4, ..small() });
    chain.node.mine(5).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start_limited(&path, "ulimit -n 256").await;
    appliance.follows(&chain).await;
    let listen = address(&appliance);
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(TcpStream::connect(&listen).await.unwrap());
    }
    for _ in 0..12 {
        chain.node.mine(5).unwrap();
        appliance.follows(&chain).await;
    }
    until("sealed blocks", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["sealed_blocks"].as_u64()? >= 50).then_some(())
    })
    .await;
    appliance.has_the_chain(&chain).await;
    drop(held);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("Too many open files"), "{log}");
}

/// Resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// A text frame as clients send it, with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_never_read_cost_a_bounded_memory_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = node(folder.path(), 20).await;
    let before = memory(appliance.pid());
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0x5",true]}"#;
    let batch = format!("[{}]", vec![call; 900].join(","));
    let asked = frame(&batch);
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut socket = TcpStream::connect(address(&appliance)).await.unwrap();
        let upgrade = format!(
            "GET /rpc/devnet HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            address(&appliance)
        );
        socket.write_all(upgrade.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        for _ in 0..20 {
            let sent = socket.write_all(&asked);
            if tokio::time::timeout(Duration::from_millis(500), sent).await.is_err() {
                break;
            }
        }
        held.push(socket);
    }
    let longest = health(&appliance, Duration::from_secs(3)).await;
    let grown = memory(appliance.pid()).saturating_sub(before);
    println!("health took {longest:?} at most, memory grew by {} MiB", grown >> 20);
    assert!(longest < HEALTH_MAX, "health took {longest:?}");
    assert!(grown < 600 << 20, "memory grew by {grown}");
    chain.node.mine(5).unwrap();
    appliance.follows(&chain).await;
    // None of them has read for 30 s: their connections are ended.
    until("the ends", async || {
        let socket = held.last_mut()?;
        let sent = tokio::time::timeout(Duration::from_millis(50), socket.write_all(b"x")).await;
        matches!(sent, Ok(Err(_))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_waits_for_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (_chain, appliance) = node(folder.path(), 900).await;
    for _ in 0..200 {
        let mut socket = TcpStream::connect(address(&appliance)).await.unwrap();
        let request =
            "GET /v1/chains/devnet/verify?first=0&last=899 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // All are gone: a read finds its thread at once.
    let asked = clock::now();
    assert_eq!(appliance.get("/v1/chains/devnet/blocks/head").await.0, 200);
    println!("a read took {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_process_whoever_asks_for_what() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = node(folder.path(), 300).await;
    let mut held = Vec::new();
    for at in 0..200 {
        let mut socket = TcpStream::connect(address(&appliance)).await.unwrap();
        let begun = match at % 4 {
            0 => {
                "GET /v1/chains/devnet/verify?first=0&last=300 HTTP/1.1\r\nhost: localhost\r\n\r\n"
            }
            1 => {
                "GET /rpc/devnet HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                  upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
            2 => "GET /v1/status HTTP/1.1\r\nhost: local",
            _ => "POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\nsel",
        };
        socket.write_all(begun.as_bytes()).await.ok();
        held.push(socket);
    }
    chain.node.mine(20).unwrap();
    let asked = clock::now();
    let status = tokio::task::spawn_blocking(move || appliance.terminate()).await.unwrap();
    println!("it ended after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0));
    drop(held);
}
