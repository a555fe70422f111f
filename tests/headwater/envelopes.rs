//! Providers whose answers are right inside and odd outside, and answers that are none: a devnet
//! behind something that changes what passes.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use headwater::capture::Source;
use headwater::capture::verify::{Depth, Prover};
use headwater::devnet::DevnetConfig;
use headwater::rpc::{Call, Cause, Keyring, Pool, ProviderConfig, RpcError};
use headwater::secrets::Secrets;
use headwater::supervisor::Supervisor;
use headwater_storage::model::{B256, Verified};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Chain, config, program};

/// What was asked, and what the devnet answers.
struct Passing {
    asked: Value,
    answer: Value,
    /// Since the proxy is there.
    seconds: f64,
}

/// What is answered instead.
struct Wire {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn ok(body: impl Into<Vec<u8>>) -> Wire {
    Wire { status: 200, headers: Vec::new(), body: body.into() }
}

fn page(status: u16, body: &str) -> Wire {
    Wire { status, headers: Vec::new(), body: body.into() }
}

type Change = dyn Fn(Passing) -> Wire + Send + Sync;

struct Between {
    upstream: String,
    client: reqwest::Client,
    started: std::time::Instant,
    change: Box<Change>,
}

async fn pass(State(between): State<Arc<Between>>, body: Bytes) -> Response<axum::body::Body> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let request = between.client.post(&between.upstream).body(body);
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    let answer = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let seconds = between.started.elapsed().as_secs_f64();
    let wire = (between.change)(Passing { asked, answer, seconds });
    let mut response = Response::new(axum::body::Body::from(wire.body));
    *response.status_mut() = StatusCode::from_u16(wire.status).unwrap();
    for (name, value) in wire.headers {
        response
            .headers_mut()
            .append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A devnet of 12 blocks behind something that changes what passes.
struct Provider {
    chain: Chain,
    url: String,
    _tasks: Supervisor,
}

impl Provider {
    async fn new(change: impl Fn(Passing) -> Wire + Send + Sync + 'static) -> Provider {
        Provider::of(12, change).await
    }

    async fn of(blocks: u64, change: impl Fn(Passing) -> Wire + Send + Sync + 'static) -> Provider {
        let devnet = DevnetConfig { transactions: 5, finality: 2, ..DevnetConfig::default() };
        let mut chain = Chain::new(devnet);
        chain.node.mine(blocks).unwrap();
        let (upstream, _) = chain.provider().await;
        let between = Between {
            upstream,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            started: headwater::clock::now(),
            change: Box::new(change),
        };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(Arc::new(between));
        let mut tasks = Supervisor::default();
        tasks.spawn("between", async move { axum::serve(listener, router).await });
        Provider { chain, url, _tasks: tasks }
    }

    fn pool(&self) -> Pool {
        let keyring = Keyring::new(None, Secrets::default());
        let provider = ProviderConfig::plain("p", &self.url);
        Pool::new(&"devnet".parse().unwrap(), &[provider], &keyring).unwrap()
    }

    fn source(&self) -> Source {
        Source::new(self.pool(), Prover::new(1337, Depth::default()).into())
    }

    /// Every block is there, proved, by batch and by single calls.
    async fn gives_every_block(&self, what: &str) {
        let source = self.source();
        let all = [Verified::HEADER, Verified::TRANSACTIONS, Verified::RECEIPTS];
        for number in 0..=self.chain.node.head() {
            let expected = self.chain.node.by_number(number).unwrap().hash;
            let batch = source.block(number).await;
            let single = source.next(number).await;
            let single = single.map(|found| found.expect("it is there"));
            for found in [batch, single] {
                let found = found.unwrap_or_else(|error| panic!("{what}: {number}: {error}"));
                assert_eq!(B256::from(found.block.header.hash), expected, "{what}");
                assert!(all.iter().all(|proof| found.verified.has(*proof)), "{what}: {number}");
            }
        }
        assert!(source.next(self.chain.node.head() + 1).await.unwrap().is_none(), "{what}");
        assert_eq!(source.chain_id().await.unwrap(), Some(1_337), "{what}");
        let head = source.latest().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(head.number, self.chain.node.head(), "{what}");
        let last = source.pool().status().into_iter().find_map(|endpoint| endpoint.last_error);
        assert_eq!(last, None, "{what}: nothing had to be asked twice");
    }

    /// What its chain id is answered with.
    async fn refusal(&self) -> RpcError {
        self.source().chain_id().await.expect_err("no answer")
    }
}

/// Each answer of a body, of one call or of a batch.
fn each(answer: &mut Value) -> Vec<&mut Value> {
    if answer.is_array() {
        return answer.as_array_mut().into_iter().flatten().collect();
    }
    vec![answer]
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of forms")]
async fn envelopes_of_any_form_bring_what_is_in_them() {
    type Form = (&'static str, fn(Value) -> Vec<u8>);
    let forms: [Form; 13] = [
        ("ids as text", |mut answer| {
            for reply in each(&mut answer) {
                reply["id"] = reply["id"].to_string().into();
            }
            answer.to_string().into()
        }),
        ("ids as doubles", |mut answer| {
            for reply in each(&mut answer) {
                reply["id"] = reply["id"].as_f64().unwrap().into();
            }
            answer.to_string().into()
        }),
        ("no id for one call", |mut answer| {
            if answer.is_object() {
                answer["id"] = Value::Null;
            }
            answer.to_string().into()
        }),
        ("another id for one call", |mut answer| {
            if answer.is_object() {
                answer["id"] = json!({ "trace": [1, 2] });
            }
            answer.to_string().into()
        }),
        ("no version, and members that nobody asked for", |mut answer| {
            for reply in each(&mut answer) {
                let reply = reply.as_object_mut().unwrap();
                reply.remove("jsonrpc");
                reply.insert("usage".into(), json!({ "credits": [20] }));
                if reply.contains_key("result") {
                    reply.insert("error".into(), Value::Null);
                }
            }
            answer.to_string().into()
        }),
        ("an empty error beside the result", |mut answer| {
            for reply in each(&mut answer) {
                if reply.get("result").is_some() {
                    reply["error"] = json!({ "code": 0, "message": "" });
                }
            }
            answer.to_string().into()
        }),
        ("a byte order mark and white space", |answer| {
            format!("\u{feff} \r\n{answer:#}\r\n\n").into()
        }),
        ("one answer a line", |mut answer| {
            let lines: Vec<String> =
                each(&mut answer).into_iter().map(|reply| reply.to_string()).collect();
            (lines.join("\n") + "\n").into()
        }),
        ("answers of a batch in the other order", |mut answer| {
            if let Value::Array(list) = &mut answer {
                list.reverse();
            }
            answer.to_string().into()
        }),
        ("answers twice, and some to nobody", |mut answer| {
            if let Value::Array(list) = &mut answer {
                let mut more = list.clone();
                more.push(json!({ "id": 77, "result": "0x0" }));
                more.push(json!({ "id": null, "error": { "code": 1, "message": "odd" } }));
                list.extend(more);
            }
            answer.to_string().into()
        }),
        ("one call answered as a batch of one", |answer| {
            if answer.is_object() {
                format!("[{answer}]").into()
            } else {
                answer.to_string().into()
            }
        }),
        ("keys that come twice", |answer| {
            let text = answer.to_string();
            text.replace("\"id\":", "\"id\":99,\"id\":")
                .replace("\"result\":", "\"result\":7,\"result\":")
                .into()
        }),
        ("keys with escapes", |answer| {
            answer.to_string().replace("\"result\":", "\"r\\u0065sult\":").into()
        }),
    ];
    for (what, form) in forms {
        let provider = Provider::new(move |passing| ok(form(passing.answer))).await;
        provider.gives_every_block(what).await;
    }
}

/// Changes every value of an object and of what is in it.
fn walk(value: &mut Value, change: &impl Fn(&str, &mut Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                change(key, value);
                walk(value, change);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| walk(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const QUANTITIES: [&str; 12] = [
    "number",
    "gas",
    "gasUsed",
    "gasLimit",
    "cumulativeGasUsed",
    "nonce",
    "transactionIndex",
    "blockNumber",
    "logIndex",
    "status",
    "type",
    "timestamp",
];

fn quantity(key: &str, value: &Value) -> Option<u64> {
    let text = value.as_str().filter(|text| QUANTITIES.contains(&key) && text.len() < 18)?;
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of forms")]
async fn values_of_any_form_are_proved_and_given_back_as_they_came() {
    type Form = (&'static str, fn(&str, &mut Value));
    let forms: [Form; 8] = [
        ("upper-case digits", |_, value| {
            if let Some(digits) = value.as_str().and_then(|text| text.strip_prefix("0x")) {
                *value = format!("0x{}", digits.to_uppercase()).into();
            }
        }),
        ("an upper-case prefix", |_, value| {
            if let Some(digits) = value.as_str().and_then(|text| text.strip_prefix("0x")) {
                *value = format!("0X{digits}").into();
            }
        }),
        ("leading zeros", |key, value| {
            if let Some(number) = quantity(key, value) {
                *value = format!("0x{number:012x}").into();
            }
        }),
        ("numbers", |key, value| {
            if let Some(number) = quantity(key, value) {
                *value = number.into();
            }
        }),
        ("decimal text", |key, value| {
            if let Some(number) = quantity(key, value) {
                *value = number.to_string().into();
            }
        }),
        ("no recipient as an empty text", |key, value| {
            if key == "to" && value.is_null() {
                *value = "".into();
            }
        }),
        ("what is as told in impossible forms", |key, value| {
            if ["size", "totalDifficulty", "uncles"].contains(&key) {
                *value = json!(true);
            }
            if ["blobGasPrice", "blockTimestamp"].contains(&key) {
                *value = json!({ "unit": "wei", "value": [1, 0.5] });
            }
            if key == "removed" {
                *value = json!("0x0");
            }
        }),
        ("zero as no digits", |key, value| {
            if quantity(key, value) == Some(0) {
                *value = "0x".into();
            }
        }),
    ];
    for (what, form) in forms {
        let change = move |mut passing: Passing| {
            // What follows the head and finds the chain is not the matter here.
            for (call, reply) in passing
                .asked
                .as_array()
                .unwrap_or(&vec![passing.asked.clone()])
                .iter()
                .zip(each(&mut passing.answer))
            {
                if call["params"][1] != json!(false) && call["method"] != "eth_chainId" {
                    walk(&mut reply["result"], &form);
                }
            }
            ok(passing.answer.to_string())
        };
        let provider = Provider::new(change).await;
        provider.gives_every_block(what).await;
        let source = provider.source();
        for number in 0..=provider.chain.node.head() {
            let call = Call::block(number);
            let mut came: Value = source.pool().ask(&call).await.unwrap().unwrap();
            let receipts: Value =
                source.pool().ask(&Call::block_receipts(number)).await.unwrap().unwrap();
            let block = source.block(number).await.unwrap().block;
            let again: Value = serde_json::from_str(&block.to_json()).unwrap();
            if came["withdrawals"].is_null() {
                came.as_object_mut().unwrap().remove("withdrawals");
            }
            assert_eq!(again, came, "{what}: block {number}");
            let again = serde_json::from_str::<Value>(&block.receipts_to_json().unwrap()).unwrap();
            assert_eq!(again, receipts, "{what}: receipts of {number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_named_by_call_and_field() {
    type Fault = (&'static str, &'static str, fn(&str, &mut Value));
    let faults: [Fault; 7] = [
        (
            "eth_getBlockByNumber",
            "transactions[2].accessList: [0]: `address` is",
            |method, result| {
                if method == "eth_getBlockByNumber" {
                    result["transactions"][2]["accessList"] = json!([{}]);
                }
            },
        ),
        ("eth_getBlockByNumber", "transactions[1].nonce: ", |method, result| {
            if method == "eth_getBlockByNumber" {
                result["transactions"][1]["nonce"] = json!({});
            }
        }),
        ("eth_getBlockByNumber", "transactions[0].to: ", |method, result| {
            if method == "eth_getBlockByNumber" {
                result["transactions"][0]["to"] = json!("0x12");
            }
        }),
        ("eth_getBlockByNumber", "transactions: invalid type: null", |method, result| {
            if method == "eth_getBlockByNumber" {
                result["transactions"] = Value::Null;
            }
        }),
        ("eth_getBlockByNumber", "stateRoot: ", |method, result| {
            if method == "eth_getBlockByNumber" {
                result["stateRoot"] = json!("0x");
            }
        }),
        ("eth_getBlockReceipts", "[3].gasUsed: ", |method, result| {
            if method == "eth_getBlockReceipts" {
                result[3]["gasUsed"] = json!("many");
            }
        }),
        ("eth_getBlockReceipts", "[2].logs: invalid type: null", |method, result| {
            if method == "eth_getBlockReceipts" {
                result[2]["logs"] = Value::Null;
            }
        }),
    ];
    for (method, words, fault) in faults {
        for in_batches in [true, false] {
            let provider = Provider::new(move |mut passing| {
                let asked = passing.asked.clone();
                if asked.is_array() && !in_batches {
                    return page(413, "one call in a request");
                }
                let calls = asked.as_array().cloned().unwrap_or_else(|| vec![asked]);
                for (call, reply) in calls.iter().zip(each(&mut passing.answer)) {
                    fault(call["method"].as_str().unwrap(), &mut reply["result"]);
                }
                ok(passing.answer.to_string())
            })
            .await;
            let error = provider.source().block(5).await.unwrap_err();
            assert_eq!(error.error.cause, Cause::Malformed, "{error}");
            let text = error.error.to_string();
            let is_named = text.contains(&format!("({method}): ")) && text.contains(words);
            assert!(is_named, "{words}: {text}");
        }
    }
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_that_were_not_asked_for_are_undone_or_named() {
    type Encode = (&'static str, fn(&[u8]) -> Vec<u8>);
    let encodings: [Encode; 6] = [
        ("gzip", gzip),
        ("deflate", zlib),
        ("deflate", raw_deflate),
        ("deflate, gzip", |plain| gzip(&zlib(plain))),
        ("x-gzip", gzip),
        ("identity", <[u8]>::to_vec),
    ];
    for (name, encode) in encodings {
        let provider = Provider::new(move |passing| {
            let body = encode(passing.answer.to_string().as_bytes());
            Wire { status: 200, headers: vec![("content-encoding", name)], body }
        })
        .await;
        provider.gives_every_block(name).await;
    }
    for (name, body, words) in [
        ("snappy", &b"{}"[..], "content-encoding `snappy` is not known"),
        ("br", b"{}", "not what its content-encoding `br` says"),
        ("deflate", b"{}", "not what its content-encoding `deflate` says"),
        ("zstd", b"{}", "not what its content-encoding `zstd` says"),
        ("gzip", b"{}", "content-encoding `gzip`"),
    ] {
        let provider = Provider::new(move |_| Wire {
            status: 200,
            headers: vec![("content-encoding", name)],
            body: body.to_vec(),
        })
        .await;
        let text = provider.refusal().await.to_string();
        assert!(text.contains(words), "{name}: {text}");
    }
}

/// Answers that are none, with what is told of them.
const PAGES: [(u16, &str, &str, &str); 9] = [
    (200, "", "malformed", "HTTP 200 OK: the answer is empty"),
    (200, "<!DOCTYPE html><title>Just a moment...</title>", "malformed", "Just a moment..."),
    (404, r#"{"message":"no Route matched with those values"}"#, "refused", "no Route matched"),
    (404, "404 page not found", "refused", "HTTP 404 Not Found: no JSON-RPC is served there"),
    (405, "", "refused", "HTTP 405 Method Not Allowed: the answer is empty"),
    (401, r#"{"error":"Unauthorized","message":"no such key"}"#, "refused", "no such key"),
    (400, "full block requests are not supported", "other", "full block requests are not"),
    (
        200,
        r#"{"message":"hello"}"#,
        "malformed",
        r#"neither result nor error: {"message":"hello"}"#,
    ),
    (200, "null", "malformed", "HTTP 200 OK: no JSON-RPC: null"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_told_in_the_provider_s_words_and_ends_commands() {
    let folder = tempfile::tempdir().unwrap();
    for (status, body, cause, words) in PAGES {
        let provider = Provider::new(move |_| page(status, body)).await;
        let error = provider.refusal().await;
        assert_eq!(error.cause.as_str(), cause, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let config = config(folder.path(), std::slice::from_ref(&provider.url), "");
        let data = folder.path().join(format!("{status}-{}", body.len()));
        let commands: [&[&std::ffi::OsStr]; 3] = [
            &["check".as_ref(), "--config".as_ref(), config.as_os_str()],
            &[
                "backfill".as_ref(),
                "--rpc".as_ref(),
                provider.url.as_ref(),
                "0:5".as_ref(),
                "--data-dir".as_ref(),
                data.as_os_str(),
            ],
            &[
                "run".as_ref(),
                "--rpc".as_ref(),
                provider.url.as_ref(),
                "--data-dir".as_ref(),
                data.as_os_str(),
                "--listen".as_ref(),
                "127.0.0.1:0".as_ref(),
            ],
        ];
        for command in commands {
            let output = program().args(command).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).unwrap();
            assert!(!output.status.success(), "{command:?}: {text}");
            assert!(text.contains(words), "{command:?}: {text}");
            let wrong = ["chain id 0", "quota left", "expected struct", "expected value"];
            assert!(!wrong.iter().any(|wrong| text.contains(wrong)), "{command:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_in_any_form_are_throttles() {
    for (status, body) in [
        (200, r#"{"code":-32007,"message":"20/second request limit reached"}"#),
        (200, r#"{"error":"Too many requests, please try again later."}"#),
        (200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":"429","message":"slow"}}"#),
        (200, r#"{"id":0,"result":null,"error":{"code":429.0,"message":null,"data":[1]}}"#),
        (200, r#"{"error":true,"message":"rate limit exceeded"}"#),
        (200, r#"{"statusCode":429,"message":"ThrottlerException"}"#),
        (200, "Too Many Requests"),
        (400, r#"{"error":"rate limit"}"#),
        (403, "error code: 1015, you are being rate limited: rate limit"),
        (429, "<html></html>"),
    ] {
        let provider = Provider::new(move |_| page(status, body)).await;
        let error = provider.refusal().await;
        assert_eq!(error.cause.as_str(), "throttled", "{body}: {error}");
    }
    // A batch, and one of its calls.
    let limit = json!({ "code": -32007, "message": "20/second request limit reached" });
    for in_list in [true, false] {
        let limit = limit.clone();
        let provider = Provider::new(move |mut passing| {
            if passing.answer.is_array() && in_list {
                passing.answer[1] = limit.clone();
            } else {
                passing.answer = limit.clone();
            }
            ok(passing.answer.to_string())
        })
        .await;
        let source = provider.source();
        let error = source.block(3).await.unwrap_err();
        assert_eq!(error.error.cause.as_str(), "throttled", "{error}");
        assert!(source.pool().endpoints()[0].takes_batches(), "batches are still taken: {error}");
        let nobody = source.block(3).await.unwrap_err().to_string();
        assert!(nobody.contains("20/second request limit reached"), "{nobody}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_words_about_the_block_say_that_it_is_not_there() {
    for (code, message, cause) in [
        (-32000, "Service is currently not available", "unavailable"),
        (-32000, "under maintenance, back at noon", "unavailable"),
        (-32000, "header not found", "block_missing"),
        (3, "Unknown block", "block_missing"),
        (-32000, "historical state is not available", "pruned"),
        (-32000, "getReceipts error: db closed", "other"),
        (-32003, "response too large", "too_big"),
    ] {
        let provider = Provider::new(move |mut passing| {
            for reply in each(&mut passing.answer) {
                let error = json!({ "code": code, "message": message });
                *reply = json!({ "id": reply["id"], "error": error });
            }
            ok(passing.answer.to_string())
        })
        .await;
        let error = provider.source().block(3).await.unwrap_err();
        assert_eq!(error.error.cause.as_str(), cause, "{message}: {error}");
        assert!(error.error.reason.contains(message), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_outlasts_a_while_without_answers() {
    for (status, body) in [
        (200, r#"{"code":-32007,"message":"20/second request limit reached"}"#),
        (200, r#"{"error":"Too many requests"}"#),
        (503, "<html>maintenance</html>"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::of(60, move |passing| {
            if (0.5..3.5).contains(&passing.seconds) && passing.asked.is_array() {
                return page(status, body);
            }
            ok(passing.answer.to_string())
        })
        .await;
        let mut command = program();
        command.args(["backfill", "--rpc", &provider.url, "0:50", "--data-dir"]);
        let output = command.arg(folder.path()).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{body}: {text}");
    }
}
