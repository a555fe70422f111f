//! What somebody would try who wants a lie kept under a mark, an honest block refused, or what is
//! known of a chain spoiled.

use alloy_primitives::address;
use headwater::capture::verify::{Depth, Prover, is_newer};
use headwater_storage::model::{Address, B256, Verified};
use serde_json::{Value, json};

use crate::data;
use crate::mutants::{assemble, through_tables};
use crate::proofs::{Given, all, given, given_at, missing, roots};

/// A recorded block whose receipts are there.
fn recorded(path: &str) -> Option<Given> {
    let folder = data::chain_data()?.join("rpc").join(path);
    let read = |name| Some(serde_json::from_str(&data::read_gz(&folder.join(name))?).unwrap());
    Some(Given { block: read("block.json.gz")?, receipts: read("receipts.json.gz")? })
}

/// Gives a block another hash, everywhere.
fn rename(given: &mut Given, hash: B256) {
    let old = given.block["hash"].as_str().unwrap().to_owned();
    for value in [&mut given.block, &mut given.receipts] {
        let text = value.to_string().replace(&old, &hash.to_string());
        *value = serde_json::from_str(&text).unwrap();
    }
}

#[test]
fn what_was_put_right_is_also_served_and_stored_as_it_is_right() {
    let right = given().prove(&roots(1337), "a").unwrap().0;
    let mut given = given();
    for (at, receipt) in given.receipts.as_array_mut().unwrap().iter_mut().enumerate() {
        receipt["gasUsed"] = json!(5);
        receipt["effectiveGasPrice"] = json!("0x0007");
        for log in receipt["logs"].as_array_mut().unwrap() {
            log["logIndex"] = json!(format!("0x00{:x}", 40 + at));
        }
    }
    for transaction in given.block["transactions"].as_array_mut().unwrap() {
        let kind = transaction["type"].as_str().unwrap();
        if !["0x0", "0x1"].contains(&kind) {
            transaction["gasPrice"] = json!(9);
        }
    }
    let (block, verified) = given.prove(&roots(1337), "a").unwrap();
    assert!(verified.has(all()));
    assert_eq!(block.to_json(), right.to_json());
    assert_eq!(block.receipts_to_json(), right.receipts_to_json());
    assert_eq!(through_tables(&block), block);
}

#[test]
fn of_a_key_that_is_there_twice_the_last_value_counts_and_no_other_is_kept() {
    let given = given();
    let (block, receipts) = (given.block.to_string(), given.receipts.to_string());
    let right = given.prove(&roots(1337), "a").unwrap().0;
    let twice = |text: &str, lie: &str| text.replacen('{', &format!("{{{lie},"), 1);
    let lies = [
        (twice(&block, "\"gasUsed\":\"0x0dead\""), receipts.clone()),
        (twice(&block, "\"stateRoot\":null"), receipts.clone()),
        (block.clone(), twice(&receipts, "\"cumulativeGasUsed\":57005")),
        (block.clone(), twice(&receipts, "\"status\":\"0x00\"")),
    ];
    for (block, receipts) in lies {
        let (block, verified, _) = assemble(&roots(1337), &block, &receipts).unwrap();
        assert!(verified.has(all()));
        assert_eq!(block.to_json(), right.to_json());
        assert_eq!(block.receipts_to_json(), right.receipts_to_json());
        assert_eq!(through_tables(&block), right);
    }
    // The other way round the odd one is the last.
    let end = block.len() - 1;
    let odd = format!("{},\"gasUsed\":\"0x00dead\"}}", &block[..end]);
    assemble(&roots(1), &odd, &receipts).unwrap_err();
}

/// As Cronos, Evmos and Filecoin: the roots of a block without transactions are Ethereum's,
/// those of other blocks are not.
#[test]
fn empty_blocks_say_nothing_of_how_a_chain_makes_its_roots() {
    let mut empty = given();
    let hash = B256::repeat_byte(8);
    let root = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
    for key in ["transactionsRoot", "receiptsRoot"] {
        empty.block[key] = json!(root);
    }
    (empty.block["transactions"], empty.receipts) = (json!([]), json!([]));
    rename(&mut empty, hash);
    let mut full = given_at(3);
    full.block["transactionsRoot"] = json!(B256::repeat_byte(7));
    full.block["receiptsRoot"] = json!(root);
    rename(&mut full, B256::repeat_byte(9));
    let prover = roots(25).of_providers(2);
    for given in [&empty, &full] {
        // What does not come out is doubted one after the other: header, transactions, receipts.
        let tries: Vec<bool> =
            (0..6).map(|at| given.prove(&prover, ["a", "b"][at % 2]).is_ok()).collect();
        assert!(tries[5], "two providers gave the same: {tries:?}, {:?}", missing(&prover));
    }
    let (_, verified) = full.prove(&prover, "a").unwrap();
    assert_eq!(Verified(verified.0 & all().0), Verified::default());
    assert!(missing(&prover).contains(&"transactions".to_owned()));
}

/// Celo's blocks from before it was a rollup, after its newest ones; Arbitrum's before Nitro.
#[test]
fn blocks_of_before_a_chains_rules_are_taken_after_newer_ones() {
    for (chain_id, kind) in [(42_220, "0x0"), (42_220, "0x7c"), (42_161, "0x78")] {
        let prover = roots(chain_id);
        given().prove(&prover, "a").unwrap();
        let mut old = given();
        let at = old.block["transactions"].as_array().unwrap().len() - 1;
        old.block["transactions"][at]["type"] = json!(kind);
        old.block["transactions"][at]["nonce"] = json!("0x777");
        old.receipts[at]["type"] = json!(kind);
        let (_, verified) = old.prove(&prover, "a").unwrap();
        assert!(!verified.has(Verified::TRANSACTIONS));
        assert!(missing(&prover).is_empty(), "{chain_id}: {:?}", missing(&prover));
    }
}

#[test]
fn types_that_other_chains_have_are_not_newer_than_the_program() {
    for kind in [0x71_u64, 0x78, 0x7a, 0x7c, 0x7e, 0xfe, 0xff, 0x100] {
        assert!(!is_newer(&format!("transactions of type {kind:#x}")), "{kind:#x}");
        let mut given = given();
        let at = given.block["transactions"].as_array().unwrap().len() - 1;
        given.block["transactions"][at]["type"] = json!(format!("{kind:#x}"));
        given.receipts[at]["type"] = json!(format!("{kind:#x}"));
        given.prove(&roots(1), "a").unwrap_err();
    }
    assert!(is_newer("transactions of type 0x5") && is_newer("receipts of type 0x6"));
    assert!(is_newer("header field newRoot"));
    assert!(!is_newer("header field slotNumber"), "this version knows it");
}

/// Base since Isthmus, with a transaction of a type that comes later.
#[test]
fn a_rollups_withdrawals_do_not_hang_on_a_transaction_of_an_unknown_type() {
    let Some(mut given) = recorded("optimism/154497277-a12f85c9") else { return };
    let root = given.block["withdrawalsRoot"].as_str().unwrap().to_owned();
    assert!(!root.starts_with("0x56e81f17"), "the root of a contract's storage");
    let prover = roots(8_453);
    assert!(given.prove(&prover, "a").unwrap().1.has(all()));
    let at = given.block["transactions"].as_array().unwrap().len() - 1;
    given.block["transactions"][at]["type"] = json!("0x6");
    given.receipts[at]["type"] = json!("0x6");
    let (_, verified) = given.prove(&prover, "a").unwrap();
    assert_eq!(verified, Verified::HEADER);
    assert!(missing(&prover).iter().all(|what| is_newer(what)));
    // A chain that is no rollup has withdrawals, whatever its first transaction is said to be.
    given.prove(&roots(1), "a").unwrap_err();
}

#[test]
fn what_is_the_same_in_every_transaction_that_the_chain_makes_is_put_right() {
    let system = address!("00000000000000000000000000000000000a4b05");
    if let Some(mut given) = recorded("arbitrum/150000000-c43cd2d9") {
        let prover = Prover::new(42_161, Depth::Senders);
        let lie = Address::repeat_byte(0xbb);
        for (key, value) in [
            ("from", json!(lie)),
            ("to", json!(lie)),
            ("value", json!("0xffff")),
            ("gas", json!("0x1")),
            ("nonce", json!(7)),
            ("r", json!("0x5")),
            ("gasPrice", json!("0x9")),
        ] {
            given.block["transactions"][0][key] = value;
        }
        (given.receipts[0]["from"], given.receipts[0]["to"]) = (json!(lie), json!(lie));
        let (block, verified) = given.prove(&prover, "a").unwrap();
        assert!(verified.has(all().with(Verified::SENDERS)));
        let first = &block.transactions[0];
        assert_eq!((first.from, first.to, first.nonce, first.gas), (system, Some(system), 0, 0));
        assert!(first.value.is_zero() && first.r.is_zero() && first.gas_price == Some(0));
        assert_eq!(through_tables(&block), block);
    }
    let Some(mut given) = recorded("optimism/109279688-1410d411") else { return };
    let right = given.prove(&roots(10), "a").unwrap().0;
    let deposit = &mut given.block["transactions"][0];
    assert_eq!(deposit["type"], "0x7e");
    for (key, value) in [("r", "0x5"), ("s", "0x6"), ("v", "0x1b"), ("gasPrice", "0x9")] {
        deposit[key] = json!(value);
    }
    deposit["mint"] = json!(0);
    assert_eq!(given.receipts[0]["type"], "0x7e");
    let (block, verified) = given.prove(&roots(10), "a").unwrap();
    assert!(verified.has(all()));
    let plain = |block: &headwater_storage::model::Block| {
        let first = &block.transactions[0];
        (first.r, first.s, first.v, first.gas_price)
    };
    assert_eq!(plain(&block), plain(&right));
}

/// Scroll's messages: who sent one is in the hash, under whichever name.
#[test]
fn a_message_is_from_who_its_hash_says() {
    let (from, to) = (Address::repeat_byte(0x11), Address::repeat_byte(0x22));
    let mut envelope = vec![0x7e, 0xf0, 0x05, 0x82, 0x52, 0x08, 0x94];
    envelope.extend_from_slice(to.as_slice());
    envelope.extend_from_slice(&[0x80, 0x80, 0x94]);
    envelope.extend_from_slice(from.as_slice());
    let hash = alloy_primitives::keccak256(&envelope);
    let mut given = given();
    let at = given.block["transactions"].as_array().unwrap().len() - 1;
    let transaction = &mut given.block["transactions"][at];
    let place =
        ["blockHash", "blockNumber", "transactionIndex"].map(|key| transaction[key].clone());
    *transaction = json!({
        "type": "0x7e", "hash": hash, "queueIndex": "0x5", "gas": "0x5208", "to": to,
        "value": "0x0", "input": "0x", "from": from, "sender": from, "nonce": "0x5",
        "gasPrice": "0x0", "v": "0x0", "r": "0x0", "s": "0x0",
        "blockHash": place[0], "blockNumber": place[1], "transactionIndex": place[2],
    });
    for key in ["from", "to", "type"] {
        given.receipts[at][key] = given.block["transactions"][at][key].clone();
    }
    given.receipts[at]["transactionHash"] = json!(hash);
    for log in given.receipts[at]["logs"].as_array_mut().unwrap() {
        log["transactionHash"] = json!(hash);
    }
    let of_type = |what: &String| what == "transactions of type 0x7e";
    let prover = roots(534_352);
    given.prove(&prover, "a").ok();
    assert!(!missing(&prover).iter().any(of_type), "the hash comes out");
    let forged = Address::repeat_byte(0xbb);
    given.block["transactions"][at]["from"] = json!(forged);
    given.receipts[at]["from"] = json!(forged);
    let prover = roots(534_352);
    given.prove(&prover, "a").ok();
    assert!(missing(&prover).iter().any(of_type), "`sender` does not stand for `from`");
}

#[test]
fn a_field_of_the_header_does_not_come_out_under_another_name() {
    let Some(mut given) = Given::of_case("amsterdam") else { return };
    let slot = given.block["slotNumber"].as_str().unwrap().strip_prefix("0x").unwrap().to_owned();
    let even = if slot.len() % 2 == 1 { format!("0x0{slot}") } else { format!("0x{slot}") };
    assert!(given.prove(&roots(80_094), "a").unwrap().1.has(Verified::HEADER));
    given.block.as_object_mut().unwrap().remove("slotNumber");
    given.block["parentProposerPubkey"] = json!(even);
    let (_, verified) = given.prove(&roots(80_094), "a").unwrap();
    assert!(!verified.has(Verified::HEADER));
}

#[test]
fn a_fork_that_later_blocks_do_not_have_was_a_lie_and_lies_are_doubted_again() {
    let mut lie = given();
    lie.block["newTrieRoot"] = json!(B256::repeat_byte(3));
    lie.block["stateRoot"] = json!(B256::repeat_byte(4));
    let prover = roots(1).of_providers(2);
    lie.prove(&prover, "a").unwrap_err();
    // Another provider has fields of its own besides.
    lie.block["addedByB"] = json!("0x1");
    lie.prove(&prover, "b").unwrap();
    assert_eq!(missing(&prover), ["header field newTrieRoot"]);
    given_at(1).prove(&prover, "a").unwrap();
    assert_eq!(missing(&prover).len(), 1, "a block of before the fork says nothing");
    given_at(3).prove(&prover, "a").unwrap();
    assert!(missing(&prover).is_empty());
    lie.prove(&prover, "b").unwrap_err();
    // What was found out by a version that knew less is not believed by one that knows more.
    let mut proofs = roots(1).proofs();
    let mut one = roots(1).of_providers(1);
    lie.prove(&one, "a").unwrap();
    proofs.missing = one.proofs().missing;
    for what in ["transactions of type 0x2", "header", "receipts"] {
        let mut known = proofs.missing[0].clone();
        what.clone_into(&mut known.what);
        proofs.missing.push(known);
    }
    one = roots(1).with_proofs(proofs);
    assert!(missing(&one).iter().all(|what| is_newer(what)), "{:?}", missing(&one));
}

/// Kaia takes the base fee from legacy transactions, Polygon zkEVM a part of the price: on chains
/// whose headers are their own.
#[test]
fn prices_are_put_right_only_where_the_header_is_of_ethereums_rules() {
    let mut given = given();
    rename(&mut given, B256::repeat_byte(6));
    for receipt in given.receipts.as_array_mut().unwrap() {
        receipt["effectiveGasPrice"] = json!("0x7");
    }
    let (block, verified) = given.prove(&roots(8_217), "a").unwrap();
    assert!(verified.has(Verified::TRANSACTIONS) && !verified.has(Verified::HEADER));
    let prices = block.receipts.iter().flatten().map(|receipt| receipt.effective_gas_price);
    assert!(prices.into_iter().all(|price| price == Some(7)));
}

#[test]
fn permissions_with_both_names_of_the_parity_are_read() {
    let mut given = given();
    let transactions = given.block["transactions"].as_array_mut().unwrap();
    let of_type = |transaction: &&mut Value| transaction["type"] == "0x4";
    let transaction = transactions.iter_mut().find(of_type).expect("one has permissions");
    let item = &mut transaction["authorizationList"][0];
    item["v"] = item["yParity"].clone();
    let (block, verified) = given.prove(&roots(1337), "a").unwrap();
    assert!(verified.has(all()));
    let again: Value = serde_json::from_str(&block.to_json()).unwrap();
    assert_eq!(again, given.block, "as it came");
}

/// Who is impersonated on a chain of a developer signs with what is no signature, under a hash of
/// the tool's own.
#[test]
fn impersonated_transactions_of_developers_chains_are_taken() {
    let prover = roots(31_337);
    given().prove(&prover, "a").unwrap();
    let mut given = given();
    given.block["transactions"][0]["r"] = json!("0x1");
    let (_, verified) = given.prove(&prover, "a").unwrap();
    assert!(verified.has(Verified::HEADER.with(Verified::RECEIPTS)));
    assert!(!verified.has(Verified::TRANSACTIONS));
}
