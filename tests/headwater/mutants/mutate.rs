//! One change, at random, of a block and its receipts as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Numbers that follow from a seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes one thing, and says what.
pub(super) fn mutate(dice: &mut Dice, block: &mut Value, receipts: &mut Value) -> String {
    match dice.below(24) {
        0 => forge_outside(dice, block, receipts),
        1 => downgrade(dice, receipts),
        2 => move_log(dice, receipts),
        3 => borrow_field(dice, block, receipts),
        _ => {
            let is_block = dice.below(2) == 0;
            let root = if is_block { &mut *block } else { &mut *receipts };
            let mut path = if is_block { "block" } else { "receipts" }.to_owned();
            let what = change(dice, root, &mut path);
            format!("{what} at {path}")
        }
    }
}

/// A transaction that is in no root, in the form of Polygon's state sync, with a transfer of a
/// token.
fn forge_outside(dice: &mut Dice, block: &mut Value, receipts: &mut Value) -> String {
    let zero = format!("0x{}", "0".repeat(40));
    let hash = format!("0x{:064x}", dice.next());
    let list = block["transactions"].as_array().unwrap();
    let at = format!("{:#x}", list.len());
    let place = json!({
        "blockHash": block["hash"], "blockNumber": block["number"], "transactionIndex": at,
    });
    let mut transaction = json!({
        "type": "0x0", "nonce": "0x0", "gasPrice": "0x0", "gas": "0x0", "to": zero, "from": zero,
        "value": "0x0", "input": "0x", "hash": hash, "v": "0x0", "r": "0x0", "s": "0x0",
    });
    let mut log = json!({
        "address": "0xdac17f958d2ee523a2206206994597c13d831ec7",
        "topics": [format!("0x{}", "dd".repeat(32))], "data": "0x01", "logIndex": "0x9",
        "transactionHash": hash,
    });
    let mut receipt = json!({
        "transactionHash": hash, "to": zero, "from": zero, "cumulativeGasUsed": "0x0",
        "gasUsed": "0x0", "contractAddress": null, "logsBloom": format!("0x{}", "0".repeat(512)),
        "status": "0x1", "type": "0x0", "effectiveGasPrice": "0x0",
    });
    for object in [&mut transaction, &mut log, &mut receipt] {
        let object = object.as_object_mut().unwrap();
        object.extend(place.as_object().unwrap().clone());
    }
    receipt["logs"] = json!([log]);
    let at = dice.below(list.len() + 1);
    block["transactions"].as_array_mut().unwrap().insert(at, transaction);
    receipts.as_array_mut().unwrap().insert(at, receipt);
    format!("a transaction outside of the roots was added at {at}")
}

/// Fields by which a chain of weaker rules could be claimed, and a log that is another.
fn downgrade(dice: &mut Dice, receipts: &mut Value) -> String {
    let fields = ["l1BlockNumber", "depositNonce", "depositReceiptVersion", "baseFee", "l1Fee"];
    let field = fields[dice.below(fields.len())];
    for receipt in receipts.as_array_mut().unwrap() {
        receipt[field] = json!("0x1");
        if let Some(log) = receipt["logs"].as_array_mut().and_then(|logs| logs.first_mut()) {
            log["data"] = json!("0xffff");
        }
        receipt["cumulativeGasUsed"] = json!("0x77");
    }
    format!("receipts are others, with {field}")
}

/// A log stands in another receipt.
fn move_log(dice: &mut Dice, receipts: &mut Value) -> String {
    let list = receipts.as_array_mut().unwrap();
    let with_logs: Vec<usize> = (0..list.len())
        .filter(|at| list[*at]["logs"].as_array().is_some_and(|logs| !logs.is_empty()))
        .collect();
    let Some(from) = with_logs.get(dice.below(with_logs.len())).copied() else {
        list.pop();
        return "the last receipt is missing".to_owned();
    };
    let to = dice.below(list.len());
    let logs = list[from]["logs"].as_array_mut().unwrap();
    let at = dice.below(logs.len());
    let mut log = logs.remove(at);
    for key in ["transactionHash", "transactionIndex"] {
        log[key] = list[to][key].clone();
    }
    list[to]["logs"].as_array_mut().unwrap().push(log);
    format!("a log of receipt {from} stands in {to}")
}

/// A field of one object, name and value, stands in another too.
fn borrow_field(dice: &mut Dice, block: &mut Value, receipts: &mut Value) -> String {
    let objects = |value: &Value| {
        let mut list = Vec::new();
        collect(value, "", &mut list);
        list
    };
    let from = objects(if dice.below(2) == 0 { block } else { receipts });
    let (_, source) = &from[dice.below(from.len())];
    let names: Vec<(&String, &Value)> = source.iter().collect();
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let (name, value) = names[dice.below(names.len())];
    let target = if dice.below(2) == 0 { block } else { receipts };
    let places = objects(target);
    let (path, _) = &places[dice.below(places.len())];
    let place = target.pointer_mut(path).unwrap();
    place[name] = value.clone();
    format!("{name} is borrowed at {path}")
}

/// All objects with their JSON pointers.
fn collect(value: &Value, path: &str, list: &mut Vec<(String, Map<String, Value>)>) {
    match value {
        Value::Object(map) => {
            list.push((path.to_owned(), map.clone()));
            for (key, value) in map {
                collect(value, &format!("{path}/{key}"), list);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect(item, &format!("{path}/{at}"), list);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Gives a key of one object a second time, before or behind the first, now and then.
pub(super) fn repeat(dice: &mut Dice, texts: &mut [String; 2]) -> Option<String> {
    if dice.below(8) != 0 {
        return None;
    }
    let text = &mut texts[dice.below(2)];
    let mut value: Value = serde_json::from_str(text).unwrap();
    let mut places = Vec::new();
    collect(&value, "", &mut places);
    let (path, object) = places.get(dice.below(places.len()))?;
    let (key, old) = object.iter().nth(dice.below(object.len()))?;
    let mut new = old.clone();
    change_leaf(dice, &mut new);
    let mark = if dice.below(2) == 0 { "!" } else { "~" };
    value.pointer_mut(path).unwrap()[mark] = json!(7);
    *text = value.to_string().replacen(&format!("\"{mark}\":7"), &format!("\"{key}\":{new}"), 1);
    Some(format!("{key} twice at {path} ({mark}), as {new:.60}"))
}

/// Walks down at random and changes what it meets.
fn change(dice: &mut Dice, value: &mut Value, path: &mut String) -> String {
    let stops_here = dice.below(6) == 0;
    match value {
        Value::Object(map) if !map.is_empty() => {
            let at = dice.below(map.len());
            let key = map.keys().nth(at).unwrap().clone();
            if stops_here || !map[&key].is_object() && !map[&key].is_array() && dice.below(3) == 0 {
                return change_entries(dice, map, &key, path);
            }
            path.push('.');
            path.push_str(&key);
            change(dice, map.get_mut(&key).unwrap(), path)
        }
        Value::Array(items) if !items.is_empty() => {
            let at = dice.below(items.len());
            if stops_here {
                write!(path, "[{at}]").unwrap();
                return change_items(dice, items, at);
            }
            write!(path, "[{at}]").unwrap();
            change(dice, &mut items[at], path)
        }
        leaf @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => change_leaf(dice, leaf),
    }
}

fn change_entries(
    dice: &mut Dice,
    map: &mut Map<String, Value>,
    key: &str,
    path: &mut String,
) -> String {
    path.push('.');
    path.push_str(key);
    let other = map.keys().nth(dice.below(map.len())).unwrap().clone();
    match dice.below(5) {
        0 => {
            map.remove(key);
            "removed".to_owned()
        }
        1 => {
            map.insert(format!("{key}Of"), json!("0x1"));
            "an unknown field beside it".to_owned()
        }
        2 => {
            let value = map.remove(key).unwrap();
            map.insert(other.clone(), value);
            format!("moved to {other}")
        }
        3 => {
            let (one, two) = (map[key].clone(), map[&other].clone());
            map.insert(key.to_owned(), two);
            map.insert(other.clone(), one);
            format!("exchanged with {other}")
        }
        _ => {
            let value = map[&other].clone();
            map.insert(key.to_owned(), value);
            format!("the value of {other}")
        }
    }
}

fn change_items(dice: &mut Dice, items: &mut Vec<Value>, at: usize) -> String {
    match dice.below(4) {
        0 => {
            items.remove(at);
            "an element removed".to_owned()
        }
        1 => {
            items.insert(at, items[at].clone());
            "an element twice".to_owned()
        }
        2 => {
            let other = dice.below(items.len());
            items.swap(at, other);
            format!("exchanged with {other}")
        }
        _ => {
            items[at] = Value::Null;
            "an element null".to_owned()
        }
    }
}

fn change_leaf(dice: &mut Dice, leaf: &mut Value) -> String {
    let text = leaf.as_str().unwrap_or_default().to_owned();
    let digits = text.strip_prefix("0x").unwrap_or_default().to_owned();
    let new = match dice.below(14) {
        0..=4 if !digits.is_empty() => {
            let at = dice.below(digits.len());
            let mut bytes = digits.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'5' } else { b'7' };
            json!(format!("0x{}", String::from_utf8(bytes).unwrap()))
        }
        5 => Value::Null,
        6 => json!("0x0"),
        7 => json!("0x"),
        8 => json!(dice.below(100)),
        9 => json!(format!("0x{}", "0".repeat(digits.len()))),
        12 => json!(format!("0x0{:x}", dice.below(300))),
        13 => json!(format!("0x{:X}", dice.below(300))),
        10 => json!(text.to_uppercase().replacen("0X", "0x", 1)),
        _ => json!(format!("0x{}{digits}", ["0", "00", "ff", "1"][dice.below(4)])),
    };
    let what = format!("{leaf:.60} became {new:.60}");
    *leaf = new;
    what
}
