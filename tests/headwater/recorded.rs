//! Real blocks are proved right, doctored ones are refused for the right reason.

use std::collections::BTreeMap;
use std::fs;

use headwater::capture::verify::{Depth, verify};
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
        let Ok(block) = data::parse(&block, receipts.as_deref()) else {
            *marks.entry(format!("{network}: not JSON-RPC (protobuf dump)")).or_default() += 1;
            continue;
        };
        let expected = [
            (check("H"), Verified::HEADER),
            (check("T"), Verified::TRANSACTIONS),
            (check("R"), Verified::RECEIPTS),
        ];
        let expected = expected.iter().filter(|(check, _)| check == "ok" || check == "self");
        let expected = expected.fold(Verified::default(), |all, (_, proof)| all.with(*proof));
        match verify(&block, Depth::Roots) {
            Ok(found) => {
                *marks.entry(format!("{network}: {found}")).or_default() += 1;
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
        let outcome = data::parse(&body, None)
            .and_then(|block| verify(&block, Depth::Roots).map_err(|error| error.to_string()));
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
