//! Values in forms that providers give: what can mean one thing only is taken and given back as it
//! came, what is as told is kept whatever it is, all else is an error.

use serde_json::{Value, json};

use super::{
    Address, B256, BlockParts, Header, Linked, Log, LogLinks, Object, Receipt, ReceiptLinks,
    Transaction, U256, restore_extra,
};

/// An object that was read, and how it is written again.
fn again<T: Object>(text: &str) -> Result<(T, Value), String> {
    let read: Linked<T> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut out = "{".to_owned();
    read.value.write_entries(&read.links, &mut out);
    out.push('}');
    for key in ["size", "gas", "to", "removed", "extraField"] {
        assert!(out.matches(&format!("\"{key}\":")).count() < 2, "a key comes twice: {out}");
    }
    Ok((read.value, serde_json::from_str(&out).unwrap()))
}

/// The same, where nothing may be lost: neither when it is written nor when its kept fields come
/// back from a table.
fn kept<T: Object>(object: &Value) -> T {
    let (mut value, written) = again::<T>(&object.to_string()).unwrap();
    assert_eq!(&written, object);
    if let Some(extra) = value.extra_mut().clone() {
        let text = Value::Object(*extra).to_string();
        restore_extra(&mut value, &text).unwrap();
        let mut out = "{".to_owned();
        value.write_entries(&T::Links::default(), &mut out);
        out.push('}');
        assert_eq!(serde_json::from_str::<Value>(&out).ok().as_ref(), Some(object), "from a table");
    }
    value
}

fn refused<T: Object>(object: &Value) -> String {
    again::<T>(&object.to_string()).map(drop).expect_err(&object.to_string())
}

#[test]
fn numbers_are_understood_in_every_form_that_means_one_thing() {
    let forms = [
        (json!("0x1b"), 27),
        (json!("0x1B"), 27),
        (json!("0X1b"), 27),
        (json!("0x001b"), 27),
        (json!(format!("0x{}1b", "0".repeat(80))), 27),
        (json!("27"), 27),
        (json!(27), 27),
        (json!("0x"), 0),
        (json!("0x00"), 0),
        (json!(0), 0),
        (json!("0xffffffffffffffff"), u64::MAX),
        (json!(u64::MAX), u64::MAX),
        (json!(null), 0),
    ];
    for (form, expected) in forms {
        let transaction: Transaction = kept(&json!({ "gas": form, "value": form }));
        assert_eq!(transaction.gas, expected, "{form}");
        assert_eq!(transaction.value, U256::from(expected), "{form}");
    }
    let large = "100000000000000000000000";
    let transaction: Transaction = kept(&json!({ "value": large }));
    assert_eq!(transaction.value, U256::from(100_000_000_000_000_000_000_000_u128));
    let forms = ["\"\"", "\"abc\"", "\"0xg\"", "\"0x+5\"", "\"0x-5\"", "\"+5\"", "\"1_000\"", "-1"];
    let more = ["1.5", "1e3", "true", "{}", "[]", "\"0x0x5\"", "\"0b11\"", "\"1e3\""];
    for form in forms.into_iter().chain(more) {
        for key in ["gas", "value", "nonce", "gasPrice", "v"] {
            let error = again::<Transaction>(&format!("{{\"{key}\":{form}}}")).map(drop);
            assert!(error.is_err(), "{key}: {form}");
        }
    }
    let error = again::<Transaction>("{\"value\":100000000000000000000000}").map(drop);
    assert!(error.unwrap_err().contains("whose digits would be lost"));
}

#[test]
fn data_is_understood_in_every_form_that_means_one_thing() {
    for (form, expected) in [
        ("0xab", vec![0xab]),
        ("0xAB", vec![0xab]),
        ("0Xab", vec![0xab]),
        ("ab", vec![0xab]),
        ("0x", vec![]),
        ("", vec![]),
        ("0x0", vec![]),
    ] {
        let log: Log = kept(&json!({ "data": form }));
        assert_eq!(log.data.as_ref(), expected, "{form}");
    }
    for wrong in [json!("0xabc"), json!("0xzz"), json!("0x0xab"), json!(7), json!({}), json!(true)]
    {
        assert!(refused::<Log>(&json!({ "data": wrong })).contains("a hex string"));
    }
    let hash = B256::repeat_byte(0xab);
    let plain = hash.to_string();
    let upper = plain.to_uppercase();
    for form in [&plain, &upper, &plain.replacen("0x", "", 1)] {
        let transaction: Transaction = kept(&json!({ "hash": form }));
        assert_eq!(transaction.hash, hash, "{form}");
    }
    for wrong in ["", "0x", "0x0", "0xab"] {
        refused::<Transaction>(&json!({ "hash": wrong }));
        if !wrong.is_empty() && wrong != "0x" {
            refused::<Transaction>(&json!({ "to": wrong }));
        }
    }
    for zero in [json!("0x0000000000000000"), json!("0x0"), json!(0), json!("0x")] {
        let header: Header = kept(&json!({ "nonce": zero }));
        assert!(header.nonce.is_zero(), "{zero}");
    }
}

#[test]
fn no_recipient_is_a_deployment_however_it_is_said() {
    for none in [json!(null), json!(""), json!("0x")] {
        let transaction: Transaction = kept(&json!({ "to": none }));
        assert_eq!(transaction.to, None, "{none}");
        let receipt: Receipt = kept(&json!({ "to": none, "contractAddress": none }));
        assert_eq!(receipt.contract_address, None, "{none}");
    }
    let transaction: Transaction = kept(&json!({ "to": Address::ZERO.to_string() }));
    assert_eq!(transaction.to, Some(Address::ZERO), "which is for who assembles the block");
    refused::<Transaction>(&json!({ "from": "" }));
}

#[test]
fn what_is_as_told_is_kept_whatever_it_is_and_never_malforms_a_block() {
    let forms = [
        json!("abc"),
        json!(""),
        json!(true),
        json!({}),
        json!({ "a": [1, "0x2"] }),
        json!(["0x1"]),
        json!(-1),
        json!(1.5),
        json!("0xzz"),
    ];
    for form in &forms {
        let header: Header = kept(&json!({ "size": form, "totalDifficulty": form }));
        assert_eq!((header.size, header.total_difficulty), (None, None), "{form}");
        let receipt: Receipt = kept(&json!({
            "effectiveGasPrice": form, "blobGasUsed": form, "blobGasPrice": form, "root": form,
            "contractAddress": form,
        }));
        assert_eq!(receipt.effective_gas_price, None, "{form}");
        assert_eq!(receipt.root, None, "{form}");
        let (log, written) = again::<Log>(&json!({ "blockTimestamp": form }).to_string()).unwrap();
        assert_eq!(written, json!({ "blockTimestamp": form }));
        let expected = LogLinks { block_timestamp: 7, ..LogLinks::default() };
        assert_eq!(log.differing(&LogLinks::default(), &expected), None, "{form}");
    }
    let hash = B256::repeat_byte(1).to_string();
    for form in [json!("0x"), json!({}), json!(7), json!([hash, "0x1"]), json!([null])] {
        let header: Header = kept(&json!({ "uncles": form }));
        assert!(header.uncles.is_empty(), "{form}");
    }
    // A field of another size.
    let receipt: Receipt = kept(&json!({ "root": "0xabcd", "status": "0x1" }));
    assert_eq!((receipt.root, receipt.status), (None, Some(1)));
    // What enters a proof is named instead.
    for form in forms {
        for key in ["cumulativeGasUsed", "gasUsed", "status", "blockHash"] {
            refused::<Receipt>(&json!({ key: form }));
        }
        refused::<Log>(&json!({ "address": form }));
        refused::<Log>(&json!({ "logIndex": form }));
        refused::<Header>(&json!({ "stateRoot": form }));
    }
    assert!(refused::<Receipt>(&json!({ "logs": null })).contains("invalid type: null"));
}

#[test]
fn booleans_come_in_many_forms() {
    for (form, expected) in [
        (json!(true), Some(true)),
        (json!(false), Some(false)),
        (json!("true"), Some(true)),
        (json!("False"), Some(false)),
        (json!("0x1"), Some(true)),
        (json!("0x0"), Some(false)),
        (json!("0"), Some(false)),
        (json!(1), Some(true)),
        (json!(0), Some(false)),
        (json!(null), None),
        (json!("yes"), None),
        (json!(2), None),
        (json!([]), None),
    ] {
        let log: Log = kept(&json!({ "removed": form }));
        assert_eq!(log.removed, expected, "{form}");
    }
}

#[test]
fn of_a_key_that_comes_twice_the_last_one_counts_and_nothing_is_left_of_the_first() {
    for (text, gas, expected) in [
        (r#"{"gas":"0x01","gas":"0x2"}"#, 2, json!({ "gas": "0x2" })),
        (r#"{"gas":"0x2","gas":"0x01"}"#, 1, json!({ "gas": "0x01" })),
        (r#"{"gas":"0x01","gas":"0x02"}"#, 2, json!({ "gas": "0x02" })),
        (r#"{"gas":1,"gas":null}"#, 0, json!({ "gas": null })),
        (
            r#"{"extraField":1,"gas":"0x1","extraField":"2"}"#,
            1,
            json!({ "extraField": "2", "gas": "0x1" }),
        ),
        (r#"{"g\u0061s":"0x3"}"#, 3, json!({ "gas": "0x3" })),
    ] {
        let (transaction, written) = again::<Transaction>(text).unwrap();
        assert_eq!(transaction.gas, gas, "{text}");
        assert_eq!(written, expected, "{text}");
    }
    let (transaction, _) = again::<Transaction>(r#"{"gas":"0x01","gas":"0x2"}"#).unwrap();
    assert_eq!(transaction.extra, None);
    let twice = r#"{"size":true,"number":"0x1","size":"0x5","more":1,"number":"0x01"}"#;
    let parts: BlockParts = serde_json::from_str(twice).unwrap();
    let block = parts.join(None).unwrap();
    let written: Value = serde_json::from_str(&block.to_json()).unwrap();
    assert_eq!(written["size"], "0x5");
    assert_eq!(written["number"], "0x01");
    assert_eq!(block.header.extra.unwrap().len(), 2, "the unknown one, and the odd number");
    let (header, written) = again::<Header>(r#"{"size":true,"size":"0x5"}"#).unwrap();
    assert_eq!((header.size, written), (Some(5), json!({ "size": "0x5" })));
    let links: Linked<Receipt> =
        serde_json::from_str(r#"{"blockNumber":"0x1","blockNumber":"0x2"}"#).unwrap();
    let expected = ReceiptLinks { block_number: 2, ..ReceiptLinks::default() };
    assert_eq!(links.value.differing(&links.links, &expected), None);
}

#[test]
fn unknown_fields_keep_every_digit_or_are_refused_by_name() {
    for kept_as_it_came in [
        json!(0.25),
        json!(0.123_456_789_012_345_68),
        json!(1e300),
        json!(-1),
        json!(u64::MAX),
        json!({ "a": ["b\"c 1e999 \\", 1.5, { "d": -0.5e-7 }] }),
        json!("text with \\ and 99999999999999999999999"),
        json!(null),
    ] {
        kept::<Transaction>(&json!({ "extraField": kept_as_it_came }));
    }
    for (text, same) in [("1e3", "1000.0"), ("1.50", "1.5"), ("100000000000000000000", "1e20")] {
        let (_, written) = again::<Transaction>(&format!("{{\"extraField\":{text}}}")).unwrap();
        assert_eq!(written["extraField"], serde_json::from_str::<Value>(same).unwrap());
    }
    for lost in [
        "123456789012345678901234567890",
        "0.1000000000000000055",
        "[{\"a\":1.00000000000000000001}]",
    ] {
        let error = again::<Transaction>(&format!("{{\"extraField\":{lost}}}")).map(drop);
        assert!(error.unwrap_err().contains("would be lost"), "{lost}");
    }
}

#[test]
fn lists_inside_a_transaction_come_in_unusual_forms() {
    let (address, key) = (Address::repeat_byte(1).to_string(), B256::repeat_byte(2).to_string());
    for (item, keys) in [
        (json!({ "address": address, "storageKeys": [key] }), 1),
        (json!({ "address": address, "storageKeys": null }), 0),
        (json!({ "address": address }), 0),
        (json!({ "address": address, "storageKeys": [key], "more": 7 }), 1),
        (json!({ "storageKeys": [key.to_uppercase()], "address": address.to_uppercase() }), 1),
    ] {
        let transaction: Transaction = kept(&json!({ "accessList": [item] }));
        let list = transaction.access_list.unwrap();
        assert_eq!(list[0].storage_keys, vec![B256::repeat_byte(2); keys], "{item}");
        assert_eq!(list[0].address, Address::repeat_byte(1));
    }
    for authorization in [
        json!({
            "chainId": 1, "address": address, "nonce": "0x2", "yParity": "0x1", "r": "0x3",
            "s": "0x4",
        }),
        json!({
            "chainId": "0x1", "address": address, "nonce": 2, "v": 1, "r": "0x03", "s": "0x4",
        }),
        json!({
            "chainId": "1", "address": address, "nonce": "0x2", "yParity": "0x1", "v": "0x1",
            "r": "3", "s": "4",
        }),
    ] {
        let transaction: Transaction = kept(&json!({ "authorizationList": [authorization] }));
        let list = transaction.authorization_list.unwrap();
        assert_eq!((list[0].chain_id, list[0].nonce), (U256::from(1), 2), "{authorization}");
        assert_eq!((list[0].y_parity, list[0].r), (1, U256::from(3)), "{authorization}");
    }
    for wrong in [
        json!([{ "address": "" }]),
        json!({}),
        json!([7]),
        json!([{ "address": address, "storageKeys": ["0x1"] }]),
    ] {
        refused::<Transaction>(&json!({ "accessList": wrong }));
    }
    let error = refused::<Transaction>(
        &json!({ "accessList": [{ "address": address, "storageKeys": {} }] }),
    );
    assert!(error.contains("[0]: `storageKeys` is no list: {}"), "{error}");
}
