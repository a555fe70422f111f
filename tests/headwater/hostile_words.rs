//! What strangers write: it is shown cut, on one line and without our secrets, in every place.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::Response;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headwater::supervisor::Supervisor;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{Appliance, announcing, config, program, until};

/// Each of them stands in the URL of a provider.
const USER: &str = "us3r-of-ours";
const PASSWORD: &str = "pa$s/w0rd-of-ours";
const PATH_KEY: &str = "0123456789abcdefPATHkey";
const QUERY_KEY: &str = "qu3ry-key-of-ours";
const QUERY_TOKEN: &str = "t0k/en=of+ours";
const WAYS: [&str; 10] = [
    "message",
    "member",
    "result",
    "text",
    "page",
    "base64",
    "moved",
    "moved_post",
    "flood",
    "long",
];

/// Answers with all that it is told, in a way that its path names.
struct Echo {
    /// Where redirects lead, and how often somebody came there.
    elsewhere: String,
    visits: AtomicUsize,
}

fn told(request: &Request<()>, body: &[u8]) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes())).unwrap();
    }
    text += &String::from_utf8_lossy(body);
    for plain in [USER, PASSWORD, PATH_KEY, QUERY_KEY, QUERY_TOKEN] {
        write!(text, "\n{plain} ").unwrap();
        for byte in plain.bytes() {
            write!(text, "%{byte:02x}").unwrap();
        }
        write!(text, " {}", STANDARD.encode(plain)).unwrap();
    }
    text
}

async fn answer(State(echo): State<Arc<Echo>>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let way = parts.uri.path().split('/').nth(1).unwrap_or_default().to_owned();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.ok();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts.uri.clone();
    let text = told(&Request::from_parts(parts, ()), &body);
    if let Some(upgrade) = upgrade {
        if way == "page" {
            return (axum::http::StatusCode::UNAUTHORIZED, text).into_response();
        }
        let text = if way == "message" {
            json!({ "id": 1, "error": { "code": -32_000, "message": text } }).to_string()
        } else {
            text
        };
        return upgrade.on_upgrade(move |mut socket| async move {
            socket.send(Message::text(text)).await.ok();
        });
    }
    let is_batch = body.first() == Some(&b'[');
    let reply = |reply: serde_json::Value| if is_batch { json!([reply]) } else { reply };
    let json = |value| Bytes::from(reply(value).to_string());
    let (status, body) = match way.as_str() {
        "message" => {
            let error = json!({ "code": -32_000, "message": text, "data": text });
            (200, json(json!({ "jsonrpc": "2.0", "id": 0, "error": error })))
        }
        "member" => (200, json(json!({ "odd": { "words": text } }))),
        "result" => (200, json(json!({ "jsonrpc": "2.0", "id": 0, "result": text }))),
        "text" => (200, text.into()),
        "page" => (500, format!("<html><body>{text}</body></html>").into()),
        "base64" => (403, STANDARD.encode(text).into()),
        "flood" => (502, "x".repeat(100_000_000).into()),
        "long" => {
            let words = format!("\u{1b}[2J\0\r\nok\u{202e}\u{200b}{}", "y".repeat(100_000_000));
            (200, json(json!({ "id": 0, "error": { "code": -32_000, "message": words } })))
        }
        "moved" => (307, text.into()),
        _ => (302, text.into()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap();
    let to = match way.as_str() {
        "moved" => format!("{}{path}", echo.elsewhere),
        _ => format!("/get{path}"),
    };
    if (300..400).contains(&status) {
        response.headers_mut().insert("location", to.parse().unwrap());
    }
    response
}

async fn visit(State(echo): State<Arc<Echo>>) -> &'static str {
    echo.visits.fetch_add(1, Ordering::Relaxed);
    "{}"
}

fn listen(router: Router, tasks: &mut Supervisor, listener: TcpListener) {
    let _listening = listener.local_addr().unwrap();
    tasks.spawn("stranger", async move { axum::serve(listener, router).await });
}

async fn free() -> TcpListener {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

/// Providers that answer in each way, by their URLs.
async fn strangers(tasks: &mut Supervisor) -> (Vec<String>, Arc<Echo>) {
    let (here, there) = (free().await, free().await);
    let elsewhere = format!("http://{}", there.local_addr().unwrap());
    let host = here.local_addr().unwrap();
    let echo = Arc::new(Echo { elsewhere, visits: AtomicUsize::new(0) });
    listen(Router::new().fallback(answer).with_state(echo.clone()), tasks, here);
    listen(Router::new().fallback(visit).with_state(echo.clone()), tasks, there);
    let url = |way: &&str| {
        format!(
            "http://{USER}:pa%24s%2Fw0rd-of-ours@{host}/{way}/{PATH_KEY}/rpc\
             ?apikey={QUERY_KEY}&t=t0k%2Fen%3Dof%2Bours"
        )
    };
    (WAYS.iter().map(url).collect(), echo)
}

/// The text has none of our secrets, in no form.
fn has_no_secret(place: &str, text: &str) {
    let both = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let lower = text.to_lowercase();
    let plain = [USER, PASSWORD, PATH_KEY, QUERY_KEY, QUERY_TOKEN];
    let percent = ["pa%24s", "t0k%2fen", "pa\\u0024s"];
    let base64 = plain.map(|secret| STANDARD.encode(secret).chars().take(8).collect());
    let parts = [&both[..20], "0123456789abcd", "abcdefpathkey", "w0rd-of", "ry-key-of"];
    let base64: Vec<&str> = base64.iter().map(String::as_str).collect();
    for secret in plain.iter().chain(&percent).chain(&base64).chain(&parts) {
        let found = lower.find(&secret.to_lowercase());
        let around = found.map(|at| &text[text.floor_char_boundary(at.saturating_sub(200))..]);
        let around = around.map(|text| text.chars().take(500).collect::<String>());
        assert!(found.is_none(), "{place} shows `{secret}`: {around:?}");
    }
}

/// The text does nothing to who reads it, and ends.
fn is_tame(place: &str, text: &str) {
    for wild in ["\u{1b}[2J", "\0", "\u{202e}", "\u{200b}", "yyyyyyyyyy".repeat(30).as_str()] {
        assert!(!text.contains(wild), "{place} has {wild:?}");
    }
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 40_000, "{place}: a line of {longest} bytes");
}

fn clean(place: &str, text: &str) {
    has_no_secret(place, text);
    is_tame(place, text);
}

fn said_by(args: &[&str], config: &Path, level: &str) -> String {
    let mut command = program();
    let output = command.args(args).arg(config).env("HEADWATER_LOG", level).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_providers_repeat_of_our_keys_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = Supervisor::default();
    let (urls, echo) = strangers(&mut tasks).await;
    let path = announcing(folder.path(), &urls);
    let text = std::fs::read_to_string(&path).unwrap().replace("timeout_secs = 2", "");
    std::fs::write(&path, text).unwrap();
    let appliance = Appliance::start_with(&path, &[("HEADWATER_LOG", "trace")]).await;
    let providers = until("every provider to fail", async || {
        let (_, view) = appliance.get("/v1/providers").await;
        let all = view["providers"].as_array()?.clone();
        all.iter().all(|one| one["last_error"].is_string()).then_some(all)
    })
    .await;
    let error = |at: usize| providers[at]["last_error"].as_str().unwrap();
    for (at, way) in WAYS.iter().enumerate() {
        assert!(error(at).len() < 1_500, "{way}: {}", error(at));
        eprintln!("{way}: {}", error(at));
    }
    assert!(error(0).contains("***"), "{}", error(0));
    assert!(error(6).contains("HTTP 307") && error(6).contains("not followed"), "{}", error(6));
    assert!(error(7).contains("HTTP 302") && error(7).contains("not followed"), "{}", error(7));
    assert!(error(8).contains("HTTP 502"), "{}", error(8));
    assert!(error(9).contains("\\u{1b}[2J\\u{0}\\r\\nok"), "{}", error(9));
    assert_eq!(echo.visits.load(Ordering::Relaxed), 0, "nobody else was asked");
    until("all announcers to fail", async || {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let told = |name: &str| log.contains(&format!("provider=\"{name}\" problem="));
        (told("p0") && told("p1") && told("p4")).then_some(())
    })
    .await;
    let pages = [
        "/v1/status",
        "/v1/chains",
        "/v1/chains/devnet",
        "/v1/chains/devnet/gaps",
        "/v1/chains/devnet/blocks/1",
        "/v1/exporters",
        "/v1/providers",
        "/readyz",
        "/livez",
        "/metrics",
    ];
    for page in pages {
        clean(page, &appliance.text(page).await.1);
    }
    let data = folder.path().join("data");
    for command in [
        &["status", "--data-dir"][..],
        &["status", "--json", "--data-dir"],
        &["status", "--quick", "--data-dir"],
        &["providers", "--data-dir"],
        &["providers", "--json", "--data-dir"],
    ] {
        let text = said_by(command, &data, "trace");
        assert!(!text.is_empty());
        clean(&format!("{command:?}"), &text);
    }
    for command in [
        &["check", "--config"][..],
        &["check", "--json", "--config"],
        &["check", "--deep", "--config"],
    ] {
        let text = said_by(command, &path, "trace");
        assert!(text.contains("p0"), "{text}");
        clean(&format!("{command:?}"), &text);
    }
    let log = folder.path().join("log");
    appliance.terminate();
    clean("the log", &std::fs::read_to_string(log).unwrap());
}

#[test]
fn a_line_of_the_configuration_is_shown_without_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), &[format!("https://{USER}:x@h/{PATH_KEY}")], "");
    let text = std::fs::read_to_string(&path).unwrap().replace("\nurl =", "\nurll =");
    std::fs::write(&path, text).unwrap();
    let text = said_by(&["run", "--config"], &path, "info");
    assert!(text.contains("did you mean `url`?"), "{text}");
    clean("the error", &text);
}
