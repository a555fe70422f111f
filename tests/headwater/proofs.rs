//! Which proofs a chain allows is never up to an answer: it stands in the table of chains, or was
//! found out when the chain was seen first, by two providers where there are two.

use std::sync::{Arc, OnceLock};

use headwater::capture::verify::{Depth, Mismatch, Prover, Unprovable, is_newer};
use headwater::devnet::{DevNode, DevnetConfig};
use headwater_storage::model::{Address, B256, Block, BlockParts, Linked, Receipt, Verified};
use serde_json::{Value, json};

use crate::data;

/// A block of a chain of our own, as its provider gives it.
pub(crate) struct Given {
    pub(crate) block: Value,
    pub(crate) receipts: Value,
}

pub(crate) fn given() -> Given {
    given_at(2)
}

/// The same, of a number below 4. It is the same block each time, whatever the clock says.
pub(crate) fn given_at(number: u64) -> Given {
    static NODE: OnceLock<Arc<DevNode>> = OnceLock::new();
    let node = NODE.get_or_init(|| {
        let config = DevnetConfig {
            block_time: std::time::Duration::ZERO,
            transactions: 9,
            ..DevnetConfig::default()
        };
        let node = Arc::new(DevNode::new(config).unwrap());
        node.mine(3).unwrap();
        node
    });
    let built = node.by_number(number).unwrap();
    let parse = |text: &str| serde_json::from_str(text).unwrap();
    Given { block: parse(&built.full), receipts: parse(&built.receipts_text) }
}

impl Given {
    /// A recorded or made block of a folder beside the project, where it is there.
    pub(crate) fn of_case(name: &str) -> Option<Given> {
        let folder = data::chain_data()?.join("../cases").join(name);
        let read = |file: &str| {
            let text = std::fs::read_to_string(folder.join(file)).ok()?;
            let value: Value = serde_json::from_str(&text).ok()?;
            Some(value.get("result").cloned().unwrap_or(value))
        };
        Some(Given { block: read("block.json")?, receipts: read("receipts.json")? })
    }

    /// The block as capture reads it, and what a prover says of it when `provider` gives it.
    pub(crate) fn prove(
        &self,
        prover: &Prover,
        provider: &str,
    ) -> Result<(Block, Verified), String> {
        let parts: BlockParts = serde_json::from_str(&self.block.to_string()).unwrap();
        let receipts: Vec<Linked<Receipt>> =
            serde_json::from_str(&self.receipts.to_string()).unwrap();
        let mut block = parts.join(None).map_err(|error| error.to_string())?;
        let text = |error: Mismatch| error.to_string();
        let body = prover.prove_body(&mut block, Some(provider)).map_err(text)?;
        block.add_receipts(receipts).map_err(|error| error.to_string())?;
        let proved = prover.prove_receipts(&mut block, body, Some(provider));
        proved.map(|(verified, _)| (block, verified)).map_err(text)
    }
}

pub(crate) fn roots(chain_id: u64) -> Prover {
    Prover::new(chain_id, Depth::Roots)
}

pub(crate) fn missing(prover: &Prover) -> Vec<String> {
    prover.proofs().missing.into_iter().map(|missing| missing.what).collect()
}

pub(crate) fn all() -> Verified {
    Verified::HEADER.with(Verified::TRANSACTIONS).with(Verified::RECEIPTS)
}

fn bodies() -> Verified {
    Verified::TRANSACTIONS.with(Verified::RECEIPTS).with(Verified::WITHDRAWALS)
}

#[test]
fn a_transaction_outside_of_the_roots_is_polygons_last_before_pip_74_or_refused() {
    let mut given = given();
    let parts: BlockParts = serde_json::from_str(&given.block.to_string()).unwrap();
    let block = parts.block_ref();
    let mut key = b"matic-bor-receipt-".to_vec();
    key.extend_from_slice(&block.number.to_be_bytes());
    key.extend_from_slice(block.hash.as_slice());
    let hash = alloy_primitives::keccak256(&key);
    let zero = Address::ZERO;
    let at = given.block["transactions"].as_array().unwrap().len();
    let transaction = json!({
        "type": "0x0", "nonce": "0x0", "gasPrice": "0x0", "gas": "0x0", "to": zero, "from": zero,
        "value": "0x0", "input": "0x", "hash": hash, "v": "0x0", "r": "0x0", "s": "0x0",
    });
    let receipt = json!({
        "transactionHash": hash, "from": zero, "to": zero, "cumulativeGasUsed": "0x0",
        "gasUsed": "0x0", "logsBloom": format!("0x{}", "0".repeat(512)), "status": "0x1",
        "logs": [{"address": zero, "topics": [], "data": "0x01", "logIndex": "0x0"}],
    });
    let add = |given: &mut Given, at: usize, transaction: Value| {
        given.block["transactions"].as_array_mut().unwrap().insert(at, transaction);
        given.receipts.as_array_mut().unwrap().insert(at, receipt.clone());
    };
    let plain = Given { block: given.block.clone(), receipts: given.receipts.clone() };
    add(&mut given, at, transaction.clone());
    for prover in [roots(137), roots(80_002), roots(80_001)] {
        let (stored, verified) = given.prove(&prover, "p").unwrap();
        assert!(verified.has(all()));
        assert!(stored.is_outside_roots(at) && !stored.is_outside_roots(at - 1));
        assert_eq!(stored.logs().last().unwrap().1.log_index + 1, stored.logs().count() as u64);
    }
    for chain_id in [1, 56, 1337, 42_161] {
        let error = given.prove(&roots(chain_id), "p").unwrap_err();
        assert!(error.contains("in no root"), "chain {chain_id}: {error}");
    }
    // Not the last one; of another hash; of another form.
    let mut first = Given { block: plain.block.clone(), receipts: plain.receipts.clone() };
    add(&mut first, 0, transaction.clone());
    first.prove(&roots(137), "p").unwrap_err();
    for (key, value) in [("hash", json!(B256::repeat_byte(7))), ("gas", json!("0x1"))] {
        let mut other = Given { block: plain.block.clone(), receipts: plain.receipts.clone() };
        let mut transaction = transaction.clone();
        transaction[key] = value;
        add(&mut other, at, transaction);
        other.prove(&roots(137), "p").unwrap_err();
    }
}

#[test]
fn on_a_chain_that_nobody_knows_two_providers_say_what_cannot_be_proved_and_it_is_kept() {
    let mut given = given();
    given.block["hash"] = json!(B256::repeat_byte(9));
    for transaction in given.block["transactions"].as_array_mut().unwrap() {
        transaction["blockHash"] = json!(B256::repeat_byte(9));
    }
    for receipt in given.receipts.as_array_mut().unwrap() {
        receipt["blockHash"] = json!(B256::repeat_byte(9));
        for log in receipt["logs"].as_array_mut().unwrap() {
            log["blockHash"] = json!(B256::repeat_byte(9));
        }
    }
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keeper = kept.clone();
    let prover = roots(1337).of_providers(2).kept_by(move |proofs| {
        *keeper.lock().unwrap() = proofs.missing.clone();
    });
    let error = given.prove(&prover, "a").unwrap_err();
    assert!(error.contains("header") && error.contains("a second provider"), "{error}");
    given.prove(&prover, "a").unwrap_err();
    assert!(missing(&prover).is_empty() && kept.lock().unwrap().is_empty());
    let (_, verified) = given.prove(&prover, "b").unwrap();
    assert_eq!(verified, bodies(), "roots are proved against what the header says");
    assert_eq!(missing(&prover), ["header"]);
    let kept = kept.lock().unwrap().clone();
    assert_eq!(kept[0].providers, ["a", "b"]);
    assert!(!is_newer(&kept[0].what));
    // The one provider that there is, is enough; and after a restart it is known.
    let alone = roots(1337);
    given.prove(&alone, "a").unwrap();
    let again = roots(1337).of_providers(2).with_proofs(alone.proofs());
    given.prove(&again, "c").unwrap();
    // Where the configuration refuses, it stays refused, and says by which setting.
    let strict = roots(1337).with_unprovable(Unprovable::Refuse);
    let error = given.prove(&strict, "a").unwrap_err();
    assert!(error.contains("`unprovable = \"refuse\"`"), "{error}");
}

#[test]
fn what_came_out_once_on_a_chain_must_come_out_always() {
    let good = given();
    let prover = roots(1337);
    good.prove(&prover, "a").unwrap();
    let again = roots(1337).with_proofs(prover.proofs());
    for prover in [&prover, &again] {
        let mut lie = given();
        lie.block["gasUsed"] = json!("0x7");
        let error = lie.prove(prover, "a").unwrap_err();
        assert!(
            error.contains("header's hash") && error.contains("`verify = \"links\"`"),
            "{error}"
        );
        let mut lie = given();
        lie.receipts[0]["cumulativeGasUsed"] = json!("0x7");
        assert!(lie.prove(prover, "a").unwrap_err().contains("receipts root"));
        let mut lie = given();
        lie.block["transactions"][0]["value"] = json!("0x7");
        assert!(lie.prove(prover, "a").unwrap_err().contains("transaction 0"));
        assert!(missing(prover).is_empty());
    }
    // A chain that is known whole needs no first sight.
    let mut lie = given();
    lie.block["gasUsed"] = json!("0x7");
    let error = lie.prove(&roots(1), "a").unwrap_err();
    assert!(error.contains("header's hash") && !error.contains("links"), "{error}");
}

#[test]
fn a_header_with_an_unknown_field_is_newer_than_the_program_when_two_say_the_same() {
    let mut given = given();
    given.block["newTrieRoot"] = json!(B256::repeat_byte(3));
    // A field beside the header that the hash does not cover is no matter.
    assert!(given.prove(&roots(1), "a").unwrap().1.has(all()));
    given.block["stateRoot"] = json!(B256::repeat_byte(4));
    let prover = roots(1).of_providers(2);
    let error = given.prove(&prover, "a").unwrap_err();
    assert!(error.contains("header field newTrieRoot"), "{error}");
    let (_, verified) = given.prove(&prover, "b").unwrap();
    assert_eq!(verified, bodies(), "roots are proved");
    assert!(missing(&prover).iter().all(|what| is_newer(what)));
    assert_eq!(missing(&prover), ["header field newTrieRoot"]);
    // Without the field it is a lie, before and after.
    given.block.as_object_mut().unwrap().remove("newTrieRoot");
    let error = given.prove(&prover, "b").unwrap_err();
    assert!(error.contains("header's hash"), "{error}");
    given.block["newTrieRoot"] = json!(B256::repeat_byte(3));
    let strict = roots(1).with_unprovable(Unprovable::Refuse);
    given.prove(&strict, "a").unwrap_err();
}

#[test]
fn a_transaction_of_an_unknown_type_is_newer_than_the_program_and_one_of_another_chain_a_lie() {
    let mut given = given();
    let last = given.block["transactions"].as_array().unwrap().len() - 1;
    given.block["transactions"][last]["type"] = json!("0x6");
    given.receipts[last]["type"] = json!("0x6");
    let prover = roots(11_155_111);
    let (_, verified) = given.prove(&prover, "a").unwrap();
    assert_eq!(verified, Verified::HEADER.with(Verified::WITHDRAWALS));
    let what = missing(&prover);
    assert_eq!(what, ["transactions of type 0x6", "receipts of type 0x6"]);
    assert!(what.iter().all(|what| is_newer(what)));
    for kind in ["0x7e", "0x6a", "0x7b", "0x7f"] {
        given.block["transactions"][last]["type"] = json!(kind);
        given.receipts[last]["type"] = json!(kind);
        given.prove(&roots(11_155_111), "a").unwrap_err();
    }
}

#[test]
fn what_follows_from_proved_data_is_put_right() {
    let right = given().prove(&roots(1337), "a").unwrap().0;
    let mut given = given();
    for receipt in given.receipts.as_array_mut().unwrap() {
        receipt["gasUsed"] = receipt["cumulativeGasUsed"].clone();
        receipt["effectiveGasPrice"] = json!("0x7");
        let has_made = !receipt["contractAddress"].is_null();
        receipt["contractAddress"] =
            if has_made { Value::Null } else { json!(Address::repeat_byte(1)) };
        for log in receipt["logs"].as_array_mut().unwrap() {
            log["logIndex"] = json!("0x0");
            log["removed"] = json!(true);
        }
    }
    for transaction in given.block["transactions"].as_array_mut().unwrap() {
        let kind = transaction["type"].as_str().unwrap().to_owned();
        if kind == "0x0" {
            transaction["accessList"] = json!([]);
            transaction["maxFeePerGas"] = json!("0x9");
            transaction["chainId"] = json!("0x5");
        } else {
            transaction["v"] = json!("0x5");
        }
        if kind != "0x0" && kind != "0x1" {
            transaction["gasPrice"] = json!("0x7");
        }
    }
    let prover = roots(1337);
    let parts: BlockParts = serde_json::from_str(&given.block.to_string()).unwrap();
    let mut block = parts.join(None).unwrap();
    let body = prover.prove_body(&mut block, Some("a")).unwrap();
    block.add_receipts(serde_json::from_str(&given.receipts.to_string()).unwrap()).unwrap();
    let (verified, mended) = prover.prove_receipts(&mut block, body, Some("a")).unwrap();
    assert!(verified.has(all()));
    let names: Vec<&str> = mended.names().collect();
    let due = [
        "logIndex",
        "gasUsed",
        "effectiveGasPrice",
        "contractAddress",
        "gasPrice",
        "v",
        "chainId",
        "removed",
        "fields of another type",
    ];
    for name in due {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    for (mended, right) in block.transactions.iter().zip(&right.transactions) {
        assert_eq!(
            (mended.gas_price, mended.chain_id, mended.max_fee_per_gas, &mended.access_list),
            (right.gas_price, right.chain_id, right.max_fee_per_gas, &right.access_list)
        );
    }
    let receipts = |block: &Block| {
        let receipts = block.receipts.clone().unwrap().into_iter();
        let plain = receipts.map(|receipt| {
            (receipt.gas_used, receipt.effective_gas_price, receipt.contract_address, receipt.logs)
        });
        plain.collect::<Vec<_>>()
    };
    assert_eq!(receipts(&block), receipts(&right));
    assert!(receipts(&right).iter().any(|receipt| receipt.2.is_some()), "one made a contract");
}

#[test]
fn receipts_in_another_order_missing_filters_and_odd_recipients_are_understood() {
    let right = given().prove(&roots(1337), "a").unwrap().0;
    let mut given = given();
    given.receipts.as_array_mut().unwrap().reverse();
    for receipt in given.receipts.as_array_mut().unwrap() {
        receipt.as_object_mut().unwrap().remove("logsBloom");
        for log in receipt["logs"].as_array_mut().unwrap() {
            log["blockTimestamp"] = json!("0x0");
        }
        if receipt["to"].is_null() {
            receipt["to"] = json!(Address::ZERO);
        }
    }
    let mut is_tried = false;
    for transaction in given.block["transactions"].as_array_mut().unwrap() {
        if transaction["to"].is_null() {
            transaction["to"] = json!(Address::ZERO);
            is_tried = true;
        }
    }
    assert!(is_tried, "one is a deployment");
    let (block, verified) = given.prove(&roots(1337), "a").unwrap();
    assert!(verified.has(all()));
    let recipients = |block: &Block| block.transactions.iter().map(|t| t.to).collect::<Vec<_>>();
    assert_eq!(recipients(&block), recipients(&right));
    let blooms = |block: &Block| {
        block.receipts.iter().flatten().map(|r| r.logs_bloom.clone()).collect::<Vec<_>>()
    };
    assert_eq!(blooms(&block), blooms(&right));
    assert!(block.receipts_to_json().unwrap().contains("\"blockTimestamp\":\"0x0\""), "as told");
}

#[test]
fn withdrawals_that_are_left_out_are_no_lie_and_no_proof() {
    let Some(mut given) = Given::of_case("amsterdam") else { return };
    let verified = given.prove(&roots(1), "a").unwrap().1;
    assert!(verified.has(all().with(Verified::WITHDRAWALS)), "{verified}");
    given.block.as_object_mut().unwrap().remove("withdrawals");
    let verified = given.prove(&roots(1), "a").unwrap().1;
    assert!(verified.has(Verified::WITHDRAWALS), "the root says that there are none");
    given.block["withdrawals"] = json!([{
        "index": "0x1", "validatorIndex": "0x1", "address": Address::ZERO, "amount": "0x1",
    }]);
    given.prove(&roots(1), "a").unwrap_err();
}

/// The marks of each chain's own rules, on made blocks.
#[test]
fn chains_with_rules_of_their_own_are_proved_as_far_as_the_rules_are_known() {
    let polygon = Verified::HEADER.with(Verified::RECEIPTS);
    let old = Verified::HEADER.with(Verified::TRANSACTIONS);
    let cases = [
        ("polygon7f", 137, polygon),
        ("celo_cip64", 42_220, all()),
        ("avalanche", 43_114, all()),
        ("amsterdam", 1, all()),
        ("zero_block_timestamp", 7777, all()),
        ("log_index", 7777, all()),
        ("wrong_derived", 7777, all()),
        ("to_zero", 7777, all()),
    ];
    for (name, chain_id, expected) in cases {
        let Some(given) = Given::of_case(name) else { return };
        let prover = roots(chain_id);
        let (_, verified) = given.prove(&prover, "a").unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = Verified(verified.0 & all().0);
        assert_eq!(found, expected, "{name}: {verified}");
        assert!(missing(&prover).is_empty(), "{name}: {:?}", missing(&prover));
    }
    // A second provider is asked for the state root, where there is one.
    let Some(mut given) = Given::of_case("prebyz_status") else { return };
    let prover = roots(1).of_providers(2);
    assert!(given.prove(&prover, "a").unwrap_err().contains("a second provider"));
    assert_eq!(given.prove(&prover, "b").unwrap().1, old);
    assert_eq!(missing(&prover), ["receipts with a status before Byzantium"]);
    given.receipts[1]["logs"][0]["topics"] = json!([B256::repeat_byte(0xdd)]);
    let error = given.prove(&prover, "b").unwrap_err();
    assert!(error.contains("logsBloom"), "the filter proves what the root does not: {error}");
    for (name, chain_id, reason) in
        [("forged_sync", 1, "transaction"), ("downgrade_receipts", 1, "the receipts root")]
    {
        let Some(given) = Given::of_case(name) else { return };
        let error = given.prove(&roots(chain_id), "a").unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
}
