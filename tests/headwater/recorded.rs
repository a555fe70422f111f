//! Real blocks are proved right, doctored ones are refused for the right reason.

use std::collections::BTreeMap;
use std::fs;

use headwater::capture::verify::{Depth, Prover};
use headwater::rpc::{Cause, cause_of};
use headwater_storage::model::Verified;

use crate::data;

#[test]
fn every_recorded_block_gets_the_mark_that_an_independent_implementation_gave_it() {
    let Some(folder) = data::chain_data() else { return };
    let mut marks: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (network, folder) in data::block_folders(&folder) {
        let meta = fs::read_to_string(folder.join("meta.json")).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        let check = |name: &str| meta["checks"][name].as_str().unwrap_or("-").to_owned();
        let block = data::read_gz(&folder.join("block.json.gz")).unwrap();
        let receipts = data::read_gz(&folder.join("receipts.json.gz"));
        let Ok(mut block) = data::parse(&block, receipts.as_deref()) else {
            *marks.entry(format!("{network}: not JSON-RPC (protobuf dump)")).or_default() += 1;
            continue;
        };
        let expected = [
            (check("H"), Verified::HEADER),
            (check("T"), Verified::TRANSACTIONS),
            (check("R"), Verified::RECEIPTS),
            (check("S"), Verified::SENDERS),
        ];
        let expected = expected.iter().filter(|(check, _)| check == "ok" || check == "self");
        let expected = expected.fold(Verified::default(), |all, (_, proof)| all.with(*proof));
        let prover = Prover::new(data::chain_id(&network).unwrap(), Depth::Senders);
        match prover.prove(&mut block, Some("recorded")) {
            Ok((found, mended)) => {
                let missing = prover.proofs().missing.into_iter().map(|missing| missing.what);
                let missing: Vec<String> = missing.collect();
                let names: Vec<&str> = mended.names().collect();
                let note = format!("{network}: {found}, learned to lack {missing:?}, {names:?}");
                *marks.entry(note).or_default() += 1;
                if !found.has(expected) {
                    failures.push(format!("{}: {found}, expected {expected}", folder.display()));
                }
            }
            Err(error) if check("R") == "BAD" => {
                assert!(error.to_string().contains("the receipts root"), "{error}");
                *marks.entry(format!("{network}: refused, receipts are bad")).or_default() += 1;
            }
            Err(error) => failures.push(format!("{}: {error}", folder.display())),
        }
    }
    for (mark, count) in &marks {
        eprintln!("{count:4} {mark}");
    }
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
}

/// Bodies of whole blocks, and what each must answer; the rest of `refuse/` are headers with
/// transactions as hashes, which no capture asks for.
#[test]
fn every_doctored_block_is_refused_for_the_right_reason() {
    let Some(folder) = data::chain_data() else { return };
    let reasons = [
        ("post-shanghai-success", "header+transactions+withdrawals"),
        ("pre-shanghai-success", "header+transactions"),
        ("post-shanghai-bad-receipts-hash", "the header's hash says"),
        ("pre-shanghai-bad-receipts-hash", "the header's hash says"),
        ("post-shanghai-bad-transactions-hash", "the header's hash says"),
        ("pre-shanghai-bad-transactions-hash", "the header's hash says"),
        ("post-shanghai-bad-withdrawals-hash", "the header's hash says"),
        ("post-shanghai-bad-transactions-nil", "invalid type: null"),
        ("post-shanghai-bad-withdrawals-nil", "invalid type: null"),
        ("post-shanghai-bad-transactions", "stands elsewhere by its `blockHash`"),
        ("pre-shanghai-bad-transactions", "stands elsewhere by its `blockHash`"),
        ("post-shanghai-bad-withdrawals", "stands elsewhere by its `blockHash`"),
    ];
    let mut seen = 0;
    for (name, reason) in reasons {
        let path = folder.join("refuse/blocks").join(format!("{name}_data.json"));
        let Ok(body) = fs::read_to_string(&path) else { continue };
        let outcome = data::parse(&body, None).and_then(|mut block| {
            let proved = Prover::new(1, Depth::Roots).prove(&mut block, Some("recorded"));
            proved.map(|(verified, _)| verified).map_err(|error| error.to_string())
        });
        let text = match &outcome {
            Ok(verified) => verified.to_string(),
            Err(error) => error.clone(),
        };
        assert_eq!(outcome.is_ok(), name.ends_with("success"), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        seen += 1;
    }
    let bodies = fs::read_dir(folder.join("refuse/blocks")).unwrap();
    let bodies = bodies.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().ends_with("_data.json")
    });
    assert_eq!(seen, bodies.count(), "every body has a reason here");
}

/// Words of the recorded errors, and what each means. The first line that fits decides.
const ERRORS: [(&str, &str); 26] = [
    ("project id request rate exceeded", "throttled"),
    ("daily request count exceeded", "quota_spent"),
    ("daily credit limit", "quota_spent"),
    ("exceeded its compute units per second", "throttled"),
    ("over rate limit", "throttled"),
    ("globally rate limited", "throttled"),
    ("\"message\":\"limit exceeded\"", "method_missing"),
    ("returned more than", "range_too_wide"),
    ("block range", "range_too_wide"),
    ("blocks range", "range_too_wide"),
    ("is limited to a", "range_too_wide"),
    ("exceeds max results", "range_too_wide"),
    ("exceeds limit of", "range_too_wide"),
    ("maximum is set to", "range_too_wide"),
    ("max range", "range_too_wide"),
    ("must be smaller than size", "range_too_wide"),
    ("range is too large", "range_too_wide"),
    ("number of requested blocks", "range_too_wide"),
    ("are limited to", "range_too_wide"),
    ("max rate limit reached", "none"),
    ("max calls per sec", "none"),
    ("batch", "batch_refused"),
    ("method not found", "method_missing"),
    ("header not found", "block_missing"),
    ("pruned", "pruned"),
    ("timeout", "unavailable"),
];

#[test]
fn every_recorded_error_of_a_provider_means_what_it_says() {
    let Some(folder) = data::chain_data() else { return };
    let text = fs::read_to_string(folder.join("errors/provider_errors.jsonl")).unwrap();
    let mut failures = Vec::new();
    for line in text.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let status = case["http_status"].as_u64().map(|status| u16::try_from(status).unwrap());
        let body = match case["message_contains"].as_str() {
            Some(words) => {
                serde_json::json!({ "error": { "code": -32000, "message": words } }).to_string()
            }
            None => case["body"].to_string(),
        };
        let lower = body.to_lowercase();
        let expected = ERRORS.iter().find(|(words, _)| lower.contains(words));
        let expected = expected.unwrap_or_else(|| panic!("no word for {body}")).1;
        let found = cause_of(status, &body);
        let word = found.as_ref().map_or("none", Cause::as_str);
        if word != expected {
            failures.push(format!("{body}: {word}, expected {expected}"));
        }
        // A hint in the answer is used.
        let hint = case["max_block_range"].as_str().map(|text| text.replace('_', ""));
        let hint = hint.and_then(|text| text.parse::<u64>().ok());
        match (found, hint) {
            (Some(Cause::RangeTooWide { blocks: Some(blocks) }), Some(hint)) => {
                if blocks.abs_diff(hint) > 1 {
                    failures.push(format!("{body}: {blocks} blocks, expected {hint}"));
                }
            }
            (_, Some(hint)) if body.contains(&hint.to_string()) => {
                failures.push(format!("{body}: the hint {hint} is not found"));
            }
            (_, _) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let wait = Some(std::time::Duration::from_secs(30));
    let infura = text.lines().find(|line| line.contains("\"backoff_seconds\": 30")).unwrap();
    let body = serde_json::from_str::<serde_json::Value>(infura).unwrap()["body"].to_string();
    assert_eq!(cause_of(None, &body), Some(Cause::QuotaSpent { until: None }));
    let rate = body.replace("daily request count exceeded, request rate limited", "rate exceeded");
    assert_eq!(cause_of(Some(429), &rate), Some(Cause::Throttled { after: wait }));
}

#[test]
fn a_sender_that_did_not_sign_is_refused() {
    let Some(folder) = data::chain_data() else { return };
    let mut tried = 0;
    for (network, folder) in data::block_folders(&folder).iter().step_by(7) {
        let block = data::read_gz(&folder.join("block.json.gz")).unwrap();
        let receipts = data::read_gz(&folder.join("receipts.json.gz"));
        let Ok(mut block) = data::parse(&block, receipts.as_deref()) else { continue };
        let prover = Prover::new(data::chain_id(network).unwrap(), Depth::Senders);
        let proved = prover.prove(&mut block, None);
        let proved = proved.is_ok_and(|(mark, _)| mark.has(Verified::SENDERS));
        let signed =
            block.transactions.iter().position(|t| t.transaction_type <= 4 && !t.r.is_zero());
        let Some(at) = signed.filter(|_| proved) else { continue };
        block.transactions[at].from.0[7] ^= 1;
        let error = prover.prove(&mut block, None).unwrap_err().to_string();
        assert!(error.contains(&format!("transaction {at} is from")), "{error}");
        tried += 1;
    }
    assert!(tried > 10, "{tried} blocks with signed transactions");
}
