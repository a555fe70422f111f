//! Which fields of the same block differ between providers, by path: `transactions[].gasPrice`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::plain;

/// Differences that are told, each with one example.
const DIFFERENCES_MAX: usize = 100;
/// A block of a client is three levels deep; access lists and logs are below.
const DEPTH_MAX: usize = 12;
/// Characters of a value in an example: a hash is whole.
const VALUE_CHARS_MAX: usize = 70;
/// Fields that are bytes: zeros in front count.
const BYTES: [&str; 3] = ["input", "data", "extraData"];

/// How a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Some have a value, some have none, or `null`.
    Absent,
    /// Another value.
    Value,
    /// The same value otherwise written: case of hex, zeros in front, a number, `null`.
    Form,
}

impl Kind {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Absent => "not given by all",
            Kind::Value => "another value",
            Kind::Form => "another form",
        }
    }
}

/// A field that differs, and where that was seen first.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Difference {
    /// `receipts[].logs[].blockTimestamp`.
    pub path: String,
    /// How.
    pub kind: Kind,
    /// Places where it differs, in all blocks.
    pub places: u64,
    /// A block where it does.
    pub block: u64,
    /// The place in that block, with its positions.
    pub place: String,
    /// The values there, and the keys that give each.
    pub values: Vec<Given>,
}

/// A value, and the keys that give it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Given {
    /// The keys.
    pub keys: Vec<String>,
    /// JSON text, cut; `None` where the field is not there.
    pub value: Option<String>,
}

/// Block and receipts as a key gave them.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) key: usize,
    pub(super) block: Value,
    pub(super) receipts: Option<Value>,
}

/// What was found of all blocks so far.
#[derive(Debug, Default)]
pub(super) struct Differences {
    keys: Vec<String>,
    found: BTreeMap<(String, Kind), Difference>,
    left_out: BTreeSet<(String, Kind)>,
    block: u64,
}

/// What one key has at a place.
type At<'a> = (usize, Option<&'a Value>);

/// Where the comparison is: with positions, and without.
#[derive(Clone, Default)]
struct Place {
    exact: String,
    pattern: String,
    depth: usize,
}

impl Place {
    fn root(name: &str) -> Place {
        Place { exact: name.to_owned(), pattern: name.to_owned(), depth: 0 }
    }

    fn field(&self, name: &str) -> Place {
        let name = plain(name);
        let join = |path: &str| match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        let (exact, pattern) = (join(&self.exact), join(&self.pattern));
        Place { exact, pattern, depth: self.depth + 1 }
    }

    fn element(&self, at: usize) -> Place {
        let (exact, pattern) = (format!("{}[{at}]", self.exact), format!("{}[]", self.pattern));
        Place { exact, pattern, depth: self.depth + 1 }
    }

    fn is_bytes(&self) -> bool {
        BYTES.contains(&self.pattern.rsplit('.').next().unwrap_or_default())
    }
}

impl Differences {
    /// Of keys with these names.
    pub(super) fn of(keys: Vec<String>) -> Differences {
        Differences { keys, ..Differences::default() }
    }

    /// What was found, and how much more there was than is told.
    pub(super) fn into_parts(self) -> (Vec<Difference>, usize) {
        (self.found.into_values().collect(), self.left_out.len())
    }

    /// Compares what was told of one block. Of another block with the same number only the hash is
    /// compared: every other field may differ then.
    pub(super) fn compare(&mut self, number: u64, told: &[Told]) {
        self.block = number;
        let mut forks: Vec<(String, Vec<&Told>)> = Vec::new();
        for told in told {
            let hash = told.block.get("hash").and_then(Value::as_str).unwrap_or_default();
            let hash = hash.to_lowercase();
            match forks.iter_mut().find(|(known, _)| *known == hash) {
                Some((_, list)) => list.push(told),
                None => forks.push((hash, vec![told])),
            }
        }
        if forks.len() > 1 {
            let hashes: Vec<At<'_>> =
                told.iter().map(|told| (told.key, told.block.get("hash"))).collect();
            self.walk(&hashes, &Place::root("hash"));
        }
        for (_, told) in forks {
            let blocks: Vec<At<'_>> = told.iter().map(|it| (it.key, Some(&it.block))).collect();
            self.walk(&blocks, &Place::default());
            let receipts = told.iter().filter(|told| told.receipts.is_some());
            let receipts: Vec<At<'_>> =
                receipts.map(|told| (told.key, told.receipts.as_ref())).collect();
            self.walk(&receipts, &Place::root("receipts"));
        }
    }

    fn walk(&mut self, at: &[At<'_>], place: &Place) {
        let Some((_, first)) = at.first() else { return };
        if at.iter().all(|(_, value)| value == first) {
            return;
        }
        let all = |is: fn(&Value) -> bool| at.iter().all(|(_, value)| value.is_some_and(is));
        if place.depth >= DEPTH_MAX {
            self.differs(at, place);
        } else if all(Value::is_object) {
            let objects = || at.iter().filter_map(|(_, value)| value.and_then(Value::as_object));
            let names: BTreeSet<&String> = objects().flat_map(serde_json::Map::keys).collect();
            for name in names {
                let fields: Vec<At<'_>> = at
                    .iter()
                    .map(|(key, value)| (*key, value.and_then(|value| value.get(name))))
                    .collect();
                self.walk(&fields, &place.field(name));
            }
        } else if all(Value::is_array) {
            self.walk_lists(at, place);
        } else {
            self.differs(at, place);
        }
    }

    /// Of lists that are not as long as each other, the elements that all have are compared.
    fn walk_lists(&mut self, at: &[At<'_>], place: &Place) {
        let list = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
        let lengths: Vec<usize> = at.iter().map(|(_, value)| list(*value)).collect();
        let shortest = lengths.iter().copied().min().unwrap_or(0);
        if lengths.iter().any(|length| *length != shortest) {
            let texts = lengths.iter().map(|length| Value::from(format!("{length} elements")));
            let texts: Vec<Value> = texts.collect();
            let counts: Vec<At<'_>> =
                at.iter().zip(&texts).map(|((key, _), text)| (*key, Some(text))).collect();
            let whole = Place { pattern: format!("{}[]", place.pattern), ..place.clone() };
            self.differs(&counts, &whole);
        }
        for position in 0..shortest {
            let elements: Vec<At<'_>> = at
                .iter()
                .map(|(key, value)| (*key, value.and_then(|value| value.get(position))))
                .collect();
            self.walk(&elements, &place.element(position));
        }
    }

    fn differs(&mut self, at: &[At<'_>], place: &Place) {
        let has_value = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
        let with_value = at.iter().filter(|(_, value)| has_value(*value)).count();
        let is_bytes = place.is_bytes();
        let meanings: BTreeSet<String> =
            at.iter().filter_map(|(_, value)| Some(meaning((*value)?, is_bytes))).collect();
        let kind = match with_value {
            0 => Kind::Form,
            count if count < at.len() => Kind::Absent,
            _ if meanings.len() == 1 => Kind::Form,
            _ => Kind::Value,
        };
        let name = (place.pattern.clone(), kind);
        if let Some(known) = self.found.get_mut(&name) {
            known.places += 1;
            return;
        }
        if self.found.len() >= DIFFERENCES_MAX {
            if self.left_out.len() < 10 * DIFFERENCES_MAX {
                self.left_out.insert(name);
            }
            return;
        }
        let difference = Difference {
            path: place.pattern.clone(),
            kind,
            places: 1,
            block: self.block,
            place: place.exact.clone(),
            values: self.values(at),
        };
        self.found.insert(name, difference);
    }

    fn values(&self, at: &[At<'_>]) -> Vec<Given> {
        let mut given: Vec<(Option<&Value>, Vec<String>)> = Vec::new();
        for (key, value) in at {
            let name = self.keys.get(*key).cloned().unwrap_or_default();
            match given.iter_mut().find(|(known, _)| known == value) {
                Some((_, keys)) => keys.push(name),
                None => given.push((*value, vec![name])),
            }
        }
        given.into_iter().map(|(value, keys)| Given { keys, value: value.map(shown) }).collect()
    }
}

/// A value as it is shown.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
    };
    let mut shown: String = plain(&text).chars().take(VALUE_CHARS_MAX).collect();
    if text.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown += "..";
    }
    shown
}

/// A value, however it is written.
fn meaning(value: &Value, is_bytes: bool) -> String {
    match value {
        Value::String(text) => {
            let text = text.to_lowercase();
            match text.strip_prefix("0x") {
                Some(digits) if !is_bytes && !digits.is_empty() => {
                    format!("0x{}", digits.trim_start_matches('0'))
                }
                Some(_) | None => text,
            }
        }
        Value::Number(number) => number.as_u64().map_or_else(
            || number.to_string(),
            |number| match number {
                0 => "0x".to_owned(),
                number => format!("{number:#x}"),
            },
        ),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(key: usize, block: Value, receipts: Value) -> Told {
        Told { key, block, receipts: Some(receipts) }
    }

    fn compared(list: &[Told]) -> Vec<(String, Kind, u64)> {
        let keys = (0..list.len()).map(|key| format!("p{key}")).collect();
        let mut differences = Differences::of(keys);
        differences.compare(7, list);
        let (found, left_out) = differences.into_parts();
        assert_eq!(left_out, 0);
        found.into_iter().map(|it| (it.path, it.kind, it.places)).collect()
    }

    #[test]
    fn a_field_is_absent_of_another_value_or_of_another_form() {
        let one = json!({ "hash": "0xAA", "size": "0x1", "nonce": "0x00", "number": "0x7",
            "extraData": "0x00aa", "to": null, "uncles": [] });
        let two = json!({ "hash": "0xaa", "nonce": "0x0", "number": 7, "extraData": "0xaa",
            "uncles": ["0x1"], "more": {} });
        let receipts =
            |time: &str| json!([{ "logs": [] }, { "logs": [{ "time": time }, { "time": time }] }]);
        let found = compared(&[told(0, one, receipts("0x0")), told(1, two, receipts("0x5"))]);
        let expected = [
            ("extraData", Kind::Value, 1),
            ("hash", Kind::Form, 1),
            ("more", Kind::Absent, 1),
            ("nonce", Kind::Form, 1),
            ("number", Kind::Form, 1),
            ("receipts[].logs[].time", Kind::Value, 2),
            ("size", Kind::Absent, 1),
            ("to", Kind::Form, 1),
            ("uncles[]", Kind::Value, 1),
        ];
        assert_eq!(found, expected.map(|(path, kind, places)| (path.to_owned(), kind, places)));
    }

    #[test]
    fn who_gives_what_is_told_by_an_example() {
        let block = |size: &str| json!({ "hash": "0x1", "transactions": [{ "size": size }] });
        let list = ["0x5", "0x6", "0x5"]
            .iter()
            .enumerate()
            .map(|(key, size)| told(key, block(size), json!([])));
        let mut differences = Differences::of(vec!["a".into(), "b".into(), "c".into()]);
        differences.compare(9, &list.collect::<Vec<_>>());
        let (found, _) = differences.into_parts();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].block, found[0].place.as_str()), (9, "transactions[0].size"));
        let given = |keys: &[&str], value: &str| Given {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            value: Some(value.to_owned()),
        };
        assert_eq!(found[0].values, [given(&["a", "c"], "0x5"), given(&["b"], "0x6")]);
    }

    #[test]
    fn of_another_fork_only_the_hash_differs() {
        let block = |hash: &str, size: &str| json!({ "hash": hash, "size": size });
        let found = compared(&[
            told(0, block("0x1", "0x5"), json!([])),
            told(1, block("0x2", "0x6"), json!([])),
            told(2, block("0x2", "0x6"), json!([])),
        ]);
        assert_eq!(found, [("hash".to_owned(), Kind::Value, 1)]);
    }

    #[test]
    fn what_a_provider_makes_up_is_bounded_and_escaped() {
        let odd = |value: u32| {
            let fields = (0..5_000).map(|at| (format!("f{at}\u{1b}[31m"), json!(value)));
            Value::Object(fields.collect())
        };
        let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
        let mut differences = Differences::of(vec!["a".into(), "b".into()]);
        differences.compare(1, &[told(0, odd(1), json!([])), told(1, odd(2), deep)]);
        let (found, left_out) = differences.into_parts();
        assert_eq!(found.len(), DIFFERENCES_MAX);
        assert_eq!(left_out, 10 * DIFFERENCES_MAX);
        assert!(found.iter().all(|it| it.path.is_ascii() && !it.path.contains('\u{1b}')));
    }
}
