//! What answers mean, as tables: envelopes, words, pages and encodings as providers were seen to
//! send them, and others of the same kinds.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::rpc::{
    BatchReply, Call, Cause, Endpoint, Keyring, Pool, ProviderConfig, RpcError, cause_of,
};
use crate::secrets::{Redactor, Secrets};

use super::{Encodings, Http, Undecoded, parse_batch, parse_single};

fn endpoint(url: &str, key: Option<&str>) -> std::sync::Arc<Endpoint> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ProviderConfig::plain("p", url);
    if let Some(key) = key {
        let file = folder.path().join("key");
        std::fs::write(&file, key).unwrap();
        config.keys = vec![format!("file:{}", file.display())];
    }
    let keyring = Keyring::new(None, Secrets::default());
    let pool = Pool::new(&"c".parse().unwrap(), &[config], &keyring).unwrap();
    pool.endpoints()[0].clone()
}

/// What one call gets: the result, `null`, or the cause and the reason.
fn single(body: &str) -> Result<Option<Value>, (Cause, String)> {
    let endpoint = endpoint("http://127.0.0.1:1", None);
    let body = Bytes::from(body.to_owned());
    let text = endpoint.text("m", &body).map_err(shown)?;
    let reply = parse_single::<Value>(text).map_err(|error| shown(endpoint.malformed("m", &error)));
    endpoint.take("m", reply?).map_err(shown)
}

fn shown(error: RpcError) -> (Cause, String) {
    (error.cause, error.reason)
}

fn throttled() -> Cause {
    Cause::Throttled { after: None }
}

#[test]
fn a_result_is_taken_from_any_envelope() {
    for body in [
        r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#,
        r#"{"id":"0","result":"0x1"}"#,
        r#"{"id":null,"result":"0x1"}"#,
        r#"{"id":0.0,"result":"0x1"}"#,
        r#"{"id":{"a":[1]},"result":"0x1"}"#,
        r#"{"id":[[],7],"result":"0x1"}"#,
        r#"{"id":true,"result":"0x1"}"#,
        r#"{"id":-1,"result":"0x1"}"#,
        r#"{"id":77,"result":"0x1"}"#,
        r#"{"id":"a","id":"b","result":"0x1"}"#,
        r#"{"result":"0x1"}"#,
        r#"{"result":"0x1","error":null}"#,
        r#"{"error":false,"result":"0x1"}"#,
        r#"{"error":{},"result":"0x1"}"#,
        r#"{"error":"","result":"0x1"}"#,
        r#"{"error":0,"result":"0x1"}"#,
        r#"{"error":[],"result":"0x1"}"#,
        r#"{"error":{"code":0,"message":""},"result":"0x1"}"#,
        r#"{"result":"0x7","usage":{"a":[1]},"jsonrpc":"2.0","result":"0x1"}"#,
        r#"{"r\u0065sult":"0x1"}"#,
        "\u{feff}{\"result\":\"0x1\"}",
        "\u{feff} \r\n\t{\"result\":\"0x1\"}\r\n\n",
        r#"[{"id":0,"result":"0x1"}]"#,
    ] {
        assert_eq!(single(body), Ok(Some(json!("0x1"))), "{body}");
    }
    for body in [r#"{"result":null}"#, r#"{"error":null,"result":null,"id":"0"}"#] {
        assert_eq!(single(body), Ok(None), "{body}");
    }
}

#[test]
fn an_object_without_result_and_error_is_no_answer_and_never_null() {
    let throttle = "20/second request limit reached - reduce calls per second";
    for (body, cause) in [
        (json!({ "code": -32007, "message": throttle }), throttled()),
        (json!({ "message": "Too Many Requests" }), throttled()),
        (json!({ "statusCode": 429, "message": "ThrottlerException" }), throttled()),
        (json!({ "status": 429, "title": "slow" }), throttled()),
        (json!({ "code": "429" }), throttled()),
        (json!({ "errors": [{ "message": "rate limit exceeded" }] }), throttled()),
        (json!({ "error": true, "message": "rate limit exceeded" }), throttled()),
        (json!({ "detail": "daily request count exceeded" }), Cause::QuotaSpent { until: None }),
        (json!({ "message": "Unauthorized" }), Cause::Refused),
        (json!({ "message": "Service Unavailable" }), Cause::Unavailable),
        (json!({ "message": "no Route matched with those values" }), Cause::Malformed),
        // What was not asked by name is not said not to be there.
        (json!({ "message": "block not found" }), Cause::Malformed),
        (json!({ "code": -32601, "message": "method not found" }), Cause::Malformed),
        (json!({ "error": null }), Cause::Malformed),
        (json!({ "error": {} }), Cause::Malformed),
        (json!({ "jsonrpc": "2.0", "id": 0 }), Cause::Malformed),
        (json!({}), Cause::Malformed),
        (json!("Too many requests"), throttled()),
        (json!(null), Cause::Malformed),
        (json!(7), Cause::Malformed),
        (json!([]), Cause::Malformed),
    ] {
        let (found, reason) = single(&body.to_string()).expect_err("no answer");
        assert_eq!(found, cause, "{body}: {reason}");
        let words = body.to_string();
        assert!(reason.contains(&words[..words.len().min(40)]), "{reason} has the words of {body}");
    }
}

#[test]
fn an_error_is_read_in_any_form() {
    let pruned = "missing trie node 7 (path )";
    for (error, cause, words) in [
        (json!("Too many requests, please try again later."), throttled(), "Too many requests"),
        (json!(429), throttled(), "429"),
        (json!({ "code": "429", "message": "slow" }), throttled(), "slow (429)"),
        (json!({ "code": 429.0 }), throttled(), "429"),
        (json!({ "code": "-32005", "message": null }), throttled(), "-32005"),
        (json!({ "message": { "message": "rate limit" } }), throttled(), "rate limit"),
        (json!({ "code": {}, "message": ["rate limit"] }), throttled(), "rate limit"),
        (
            json!({ "code": -32000, "message": "oops", "data": "429 Too Many Requests" }),
            throttled(),
            "oops",
        ),
        (
            json!({ "code": -32000, "message": "e", "data": [1], "details": { "a": 1 } }),
            Cause::Other,
            "e (-32000)",
        ),
        (json!({ "code": -32000, "message": pruned, "data": { "x": {} } }), Cause::Pruned, pruned),
        (
            json!({ "code": 3, "message": "Unknown block" }),
            Cause::BlockMissing,
            "Unknown block (3)",
        ),
        (json!(["rate limit"]), throttled(), "rate limit"),
        (json!({ "foo": "bar" }), Cause::Other, "foo"),
    ] {
        for beside in [json!({}), json!({ "id": null, "result": null }), json!({ "result": "0x1" })]
        {
            let mut body = json!({ "error": error });
            body.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
            let (found, reason) = single(&body.to_string()).expect_err("an error");
            assert_eq!(found, cause, "{body}: {reason}");
            assert!(reason.contains(words), "{body}: {reason}");
        }
    }
    let beside = json!({ "statusCode": 401, "error": "Unauthorized", "message": "no such key" });
    assert_eq!(
        single(&beside.to_string()),
        Err((Cause::Refused, "no such key: Unauthorized (401)".to_owned()))
    );
    let infura = json!({ "error": { "code": -32005, "message": "rate exceeded",
        "data": { "rate": { "backoff_seconds": 30 } } } });
    let after = Some(Duration::from_secs(30));
    assert_eq!(single(&infura.to_string()).unwrap_err().0, Cause::Throttled { after });
}

/// The causes of -32000 with these words.
#[test]
fn each_cause_is_only_for_words_that_say_it() {
    let other = Cause::Other;
    let cases: &[(&str, Cause)] = &[
        ("Service is currently not available", Cause::Unavailable),
        ("The service is under maintenance", Cause::Unavailable),
        ("upstream not available", Cause::Unavailable),
        ("resource temporarily unavailable", Cause::Unavailable),
        ("eth_getBlockReceipts is not available", Cause::Unavailable),
        ("state 0xab is not available", Cause::Pruned),
        ("required historical state unavailable (reexec=128)", Cause::Pruned),
        ("missing trie node 12 (path ) state 0xab is not available", Cause::Pruned),
        ("history has been pruned for this block", Cause::Pruned),
        ("historical data is not available", Cause::Pruned),
        ("block 27 is no longer available", Cause::BlockMissing),
        ("block is not available", Cause::BlockMissing),
        ("Block with number 27 could not be found", Cause::BlockMissing),
        ("header for hash not found", Cause::BlockMissing),
        ("block #27 not found", Cause::BlockMissing),
        ("header not found", Cause::BlockMissing),
        ("Unknown block", Cause::BlockMissing),
        ("cannot query unfinalized data", Cause::BlockMissing),
        ("transaction not found", other.clone()),
        ("filter not found", other.clone()),
        ("eth_getBlockByNumber not found", other.clone()),
        ("status of the estate: unclear", other.clone()),
        ("receipts length mismatch: 1 vs 0", other.clone()),
        ("getReceipts error: rlp", other.clone()),
        ("unknown block tag", Cause::InvalidParams),
        ("the method eth_x does not exist/is not available", Cause::MethodMissing),
        ("response too large", Cause::TooBig),
        ("batch requests are not allowed", Cause::BatchRefused),
        ("batch of 30 calls: at most 25", Cause::BatchRefused),
        ("The batch request was too large", Cause::BatchRefused),
        ("Batched requests are not supported by this server", Cause::BatchRefused),
        ("too many requests in a batch", Cause::BatchRefused),
        ("batch 17 is not sealed yet", other),
        ("quota of 25 requests per second exceeded", throttled()),
        ("monthly quota exceeded", Cause::QuotaSpent { until: None }),
        ("rate-limited by the proxy", throttled()),
    ];
    for (words, expected) in cases {
        let body = json!({ "error": { "code": -32000, "message": words } }).to_string();
        assert_eq!(cause_of(None, &body).as_ref(), Some(expected), "{words}");
    }
    let code = |code: i64| cause_of(None, &json!({ "error": { "code": code } }).to_string());
    assert_eq!(code(-32601), Some(Cause::MethodMissing));
    assert_eq!(code(-32004), Some(Cause::MethodMissing));
    assert_eq!(code(-32602), Some(Cause::InvalidParams));
    assert_eq!(code(-32002), Some(Cause::Unavailable));
    assert_eq!(code(503), Some(Cause::Unavailable));
    assert_eq!(code(-32000), Some(Cause::Other));
    let too_large = json!({ "error": { "code": -32003, "message": "response too large" } });
    assert_eq!(cause_of(None, &too_large.to_string()), Some(Cause::TooBig));
}

#[test]
fn what_is_malformed_is_named_by_its_path() {
    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[serde(rename = "n")]
        _n: u64,
    }
    type List = std::collections::BTreeMap<String, Vec<Item>>;
    let body = r#"{"id":0,"result":{"logs":[{"n":1},{"n":"x"}]}}"#;
    let endpoint = endpoint("http://127.0.0.1:1", None);
    let reply = parse_single::<List>(body).unwrap();
    let error = endpoint.take("m", reply).unwrap_err();
    assert_eq!(error.cause, Cause::Malformed);
    assert_eq!(error.reason, "logs[1].n: invalid type: string \"x\", expected u64");
    let calls = [Call::block(1), Call::block_receipts(1)];
    let body = format!("[{body},{{\"id\":1,\"result\":{{}}}}]");
    let sorted = endpoint.sort(&calls, parse_batch::<List>(&body).unwrap()).unwrap();
    let error = sorted[0].as_ref().unwrap_err();
    assert!(error.reason.starts_with("logs[1].n: ") && error.method == "eth_getBlockByNumber");
    assert!(sorted[1].is_ok(), "one malformed answer spoils no other");
    let (cause, reason) = single("{\"result\":[1,").unwrap_err();
    assert_eq!(cause, Cause::Malformed);
    assert!(reason.contains("EOF"), "{reason}");
}

/// What the calls of a batch of two get: results, or words of the errors.
/// What each call of a batch got.
type Answers = Vec<Result<Option<Value>, String>>;

fn batch(body: &str) -> Result<Answers, (Cause, String)> {
    let endpoint = endpoint("http://127.0.0.1:1", None);
    let calls = [Call::block(1), Call::block_receipts(1)];
    let reply: BatchReply<Value> =
        parse_batch(body).map_err(|error| shown(endpoint.malformed("m", &error)))?;
    let sorted = endpoint.sort(&calls, reply).map_err(shown)?;
    let text =
        |error: RpcError| format!("{} {}: {}", error.method, error.cause.as_str(), error.reason);
    Ok(sorted.into_iter().map(|answer| answer.map_err(text)).collect())
}

#[test]
fn a_batch_is_answered_in_any_order_and_form() {
    let both = Ok(vec![Ok(Some(json!("a"))), Ok(Some(json!("b")))]);
    for body in [
        r#"[{"id":0,"result":"a"},{"id":1,"result":"b"}]"#,
        r#"[{"id":1,"result":"b"},{"id":0,"result":"a"}]"#,
        r#"[{"id":"1","result":"b"},{"id":"0","result":"a"}]"#,
        r#"[{"id":1.0,"result":"b"},{"id":" 0 ","result":"a"}]"#,
        "{\"id\":1,\"result\":\"b\"}\n{\"id\":0,\"result\":\"a\"}\n",
        "\u{feff}\r\n[{\"id\":0,\"result\":\"a\"},{\"id\":1,\"result\":\"b\"}]  ",
        r#"[{"id":0,"result":"a"},{"id":1,"result":"b"},{"id":0,"error":{"code":1}}]"#,
        r#"[{"id":0,"error":{"code":1}},{"id":0,"result":"a"},{"id":1,"result":"b"}]"#,
        concat!(
            r#"[{"id":0,"result":"a"},{"id":1,"result":"b"},{"id":2,"result":"c"},"#,
            r#"{"id":null,"result":7}]"#
        ),
        r#"[{"id":0,"result":"a"},{"id":1,"result":"b"},null,"x",7]"#,
    ] {
        assert_eq!(batch(body), both, "{body}");
    }
}

#[test]
fn what_is_missing_in_a_batch_is_its_call_s_alone() {
    let second = |body: &str| {
        let sorted = batch(body).unwrap();
        assert_eq!(sorted[0], Ok(Some(json!("a"))), "{body}");
        sorted[1].clone().expect_err(body)
    };
    for (other, words) in [
        (r#"{"id":7,"result":"b"}"#, "eth_getBlockReceipts malformed: an answer of the batch is"),
        (
            r#"{"id":1,"message":"x"}"#,
            "eth_getBlockReceipts malformed: neither result nor error: {\"id\":1",
        ),
        (r#"{"id":1}"#, "eth_getBlockReceipts malformed: neither"),
        (
            r#"{"code":-32007,"message":"20/second request limit"}"#,
            "eth_getBlockReceipts throttled",
        ),
        (r#"{"id":null,"error":"Too many requests"}"#, "eth_getBlockReceipts throttled: Too many"),
        (
            r#"{"id":1,"error":{"code":-32003,"message":"response too large"}}"#,
            "eth_getBlockReceipts too_big",
        ),
        (r#""Too many requests""#, "eth_getBlockReceipts throttled"),
    ] {
        let found = second(&format!("[{{\"id\":0,\"result\":\"a\"}},{other}]"));
        assert!(found.starts_with(words), "{other}: {found}");
    }
    let null = batch(r#"[{"id":1,"result":null},{"id":0,"result":"a"}]"#).unwrap();
    assert_eq!(null[1], Ok(None), "which says that it is not there");
}

#[test]
fn one_answer_for_a_batch_is_everybody_s() {
    for (body, cause) in [
        (r#"{"code":-32007,"message":"20/second request limit reached"}"#, throttled()),
        (r#"[{"code":-32007,"message":"20/second request limit reached"}]"#, throttled()),
        (r#"{"error":"Too many requests"}"#, throttled()),
        (r#"{"message":"hello"}"#, Cause::Malformed),
        (r"{}", Cause::Malformed),
        (r#"{"id":null,"error":{"code":-32600,"message":"no"}}"#, Cause::BatchRefused),
        (r#"[{"id":null,"error":{"code":-32600,"message":"no"}}]"#, Cause::BatchRefused),
        (r#"{"id":0,"result":"a"}"#, Cause::BatchRefused),
        (r#"[{"id":null,"result":"a"},{"id":null,"result":"b"}]"#, Cause::BatchRefused),
        ("[]", Cause::BatchRefused),
    ] {
        assert_eq!(batch(body).expect_err(body).0, cause, "{body}");
    }
    for broken in ["", "[{\"id\":0,\"result\":", "{\"id\":0,\"result\":1}{", "<html>"] {
        assert_eq!(batch(broken).expect_err(broken).0, Cause::Malformed, "{broken}");
    }
}

fn fault(status: u16, is_batch: bool, body: &str) -> Option<(Cause, String)> {
    let redactor = Redactor::default().with_key("s3cret");
    let status = StatusCode::from_u16(status).unwrap();
    Http { status, after: None, is_batch, redactor: &redactor }.fault(body.as_bytes())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of answers")]
fn what_is_no_json_rpc_is_told_with_its_status_and_its_words() {
    let html = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>";
    for (status, body, cause, words) in [
        (
            404,
            r#"{"message":"no Route matched"}"#,
            Cause::Refused,
            "check `url`, its path and key: {\"message",
        ),
        (
            404,
            "404 page not found",
            Cause::Refused,
            "HTTP 404 Not Found: no JSON-RPC is served there",
        ),
        (404, "", Cause::Refused, "the answer is empty"),
        (405, html, Cause::Refused, "HTTP 405 Method Not Allowed"),
        (302, "", Cause::Refused, "HTTP 302 Found"),
        (
            200,
            html,
            Cause::Malformed,
            "HTTP 200 OK: a page instead of JSON-RPC; check `url`: <!DOCTYPE",
        ),
        (200, "", Cause::Malformed, "HTTP 200 OK: the answer is empty"),
        (200, " \n", Cause::Malformed, "HTTP 200 OK: the answer is empty"),
        (204, "", Cause::Malformed, "HTTP 204 No Content: the answer is empty"),
        (200, "null", Cause::Malformed, "HTTP 200 OK: no JSON-RPC: null"),
        (200, "Too Many Requests", throttled(), "HTTP 200 OK: no JSON-RPC: Too Many Requests"),
        (200, "{\"result\":", Cause::Malformed, "HTTP 200 OK: no JSON-RPC: {\"result\":"),
        (
            200,
            r#"{"code":-32007,"message":"request limit"}"#,
            throttled(),
            "HTTP 200 OK: neither result nor error: {\"code",
        ),
        (
            400,
            "full block requests are not supported",
            Cause::Other,
            "HTTP 400 Bad Request: no JSON-RPC: full block",
        ),
        (400, "rate limit", throttled(), "HTTP 400 Bad Request"),
        (418, "teapot", Cause::Unavailable, "HTTP 418"),
        (429, "", throttled(), "HTTP 429 Too Many Requests: the answer is empty"),
        (403, "nope", Cause::Refused, "HTTP 403 Forbidden"),
        (403, "rate limit", throttled(), "HTTP 403 Forbidden"),
        (413, "too much", Cause::TooBig, "HTTP 413"),
        (503, html, Cause::Unavailable, "HTTP 503 Service Unavailable"),
        (
            404,
            r#"{"error":{"code":-32001,"message":"block not found"}}"#,
            Cause::BlockMissing,
            "HTTP 404 Not Found: block not found (-32001)",
        ),
        (
            400,
            r#"{"error":{"code":-32601,"message":"no such"}}"#,
            Cause::MethodMissing,
            "HTTP 400 Bad Request: no such (-32601)",
        ),
        (400, r#"{"error":"rate limit"}"#, throttled(), "HTTP 400 Bad Request: rate limit"),
        (
            500,
            r#"{"error":{"code":-32000,"message":"header not found"}}"#,
            Cause::BlockMissing,
            "HTTP 500",
        ),
        (500, r#"{"result":"0x1"}"#, Cause::Unavailable, "HTTP 500"),
    ] {
        let (found, reason) = fault(status, false, body).expect(body);
        assert_eq!(found, cause, "{status} {body}: {reason}");
        assert!(reason.contains(words), "{status} {body}: {reason}");
    }
    for body in
        [r#"{"result":null}"#, r#"{"id":"0","error":{"code":-1}}"#, "\u{feff}{\"result\":1}"]
    {
        assert_eq!(fault(200, false, body), None, "{body}");
    }
    let lines = "{\"id\":0,\"result\":1}\n{\"id\":1,\"result\":1}";
    assert_eq!(fault(200, true, lines), None);
    assert_eq!(fault(200, true, "[]"), None);
    assert_eq!(fault(400, true, "[{\"id\":0,\"result\":1}]"), None);
    assert_eq!(fault(413, true, "too much").unwrap().0, Cause::BatchRefused);
    let error = r#"{"id":null,"error":{"code":-32600,"message":"no"}}"#;
    assert_eq!(fault(400, true, error).unwrap().0, Cause::BatchRefused);
    // A block is not looked into: what is wrong with it shows when it is read.
    assert_eq!(fault(200, false, &format!("{{{}", "x".repeat(5_000))), None);
}

#[test]
fn words_are_cut_escaped_and_without_secrets() {
    let (_, reason) = fault(404, false, &"\u{e4}\u{202e}\u{7}\n".repeat(100)).unwrap();
    let words = reason.rsplit_once("key: ").unwrap().1;
    assert!(words.starts_with("\u{e4}\\u{202e}\\u{7}\\n\u{e4}"), "{words}");
    assert!(words.ends_with("...") && words.matches('\u{e4}').count() == 50, "{words}");
    // A part of a key is one too.
    let (_, reason) = fault(404, false, &format!("{}s3cret", "x".repeat(197))).unwrap();
    assert!(reason.ends_with("xxx***"), "{reason}");
    let endpoint = endpoint("http://127.0.0.1:1/{key}", Some("s3cret"));
    let body =
        json!({ "message": format!("{} s3cret http://127.0.0.1:1/s3cret", "y".repeat(150)) });
    let reply = parse_single::<Value>(&body.to_string()).unwrap();
    let error = endpoint.take("m", reply).unwrap_err();
    assert!(!error.reason.contains("s3c") && error.reason.contains("***"), "{error}");
    let long = json!({ "error": "z".repeat(100_000) }).to_string();
    let error = endpoint.take("m", parse_single::<Value>(&long).unwrap()).unwrap_err();
    assert!(error.reason.len() < 1_100, "{}", error.reason.len());
}

fn encodings(values: &[&str]) -> Result<Encodings, Undecoded> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
    }
    Encodings::of(&headers)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
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

/// `{"result":"0x1"}` as brotli: one block that is not compressed (RFC 7932 section 9.2).
const BROTLI: &[u8] = b"\x8b\x07\x80{\"result\":\"0x1\"}\x03";

#[test]
fn encodings_that_were_not_asked_for_are_undone_within_the_bound_or_named() {
    let plain = br#"{"result":"0x1"}"#;
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (values, body) in [
        (&["gzip"][..], gzip(plain)),
        (&["X-GZIP"], gzip(plain)),
        (&["deflate"], zlib(plain)),
        (&["deflate"], raw_deflate(plain)),
        (&["zstd"], zstd.clone()),
        (&["br"], BROTLI.to_vec()),
        (&["gzip, zstd"], zstd::encode_all(&gzip(plain)[..], 1).unwrap()),
        (&["deflate", "identity , gzip"], gzip(&zlib(plain))),
        (&["identity"], plain.to_vec()),
        (&[], plain.to_vec()),
    ] {
        let undone = encodings(values).unwrap().undo(body.into(), 100).unwrap();
        assert_eq!(undone, plain[..], "{values:?}");
    }
    for unknown in ["compress", "lz4", "gzip, snappy", "aes128gcm"] {
        let error = encodings(&[unknown]).err().unwrap().to_string();
        assert!(error.contains(&format!("`{}`", unknown.replace("gzip, ", ""))), "{error}");
    }
    let bomb = vec![b'['; 10_000_000];
    let bombs = [
        ("gzip", gzip(&bomb)),
        ("deflate", zlib(&bomb)),
        ("deflate", raw_deflate(&bomb)),
        ("zstd", zstd::encode_all(&bomb[..], 1).unwrap()),
    ];
    for (name, body) in bombs {
        let error = encodings(&[name]).unwrap().undo(body.into(), 1_000).unwrap_err();
        assert!(matches!(&error, Undecoded::TooBig { most: 1_000, .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    for name in ["gzip", "deflate", "zstd", "br"] {
        let error = encodings(&[name]).unwrap().undo(Bytes::from_static(b"{\"a\":1}"), 1_000);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
}
