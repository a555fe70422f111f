//! Which logs are wanted: `eth_getLogs`, `eth_newFilter` and `eth_subscribe("logs")`.

use std::ops::RangeInclusive;

use headwater_storage::model::{Address, B256, Log};
use serde_json::Value;

use super::error::CallError;
use super::params::{Height, address, hash, height};

/// Addresses in one filter, and hashes in one place of its topics; as in go-ethereum.
const ALTERNATIVES_MAX: usize = 1_000;
const TOPICS_MAX: usize = 4;

/// Which logs are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Any of these, in order; all where there are none.
    pub(super) addresses: Vec<Address>,
    /// By place any of these, in order; a place without any must be there.
    pub(super) topics: Vec<Vec<B256>>,
}

/// Of which blocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    /// This block, of whichever fork.
    Block(B256),
    /// First and last.
    Range(Height, Height),
}

fn invalid(place: usize, problem: &str) -> CallError {
    CallError::Argument { place, problem: problem.to_owned() }
}

/// One or several; `null` is none.
fn list<T: Ord>(
    place: usize,
    value: Option<&Value>,
    read: impl Fn(usize, &Value) -> Result<T, CallError>,
) -> Result<Vec<T>, CallError> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if list.len() > ALTERNATIVES_MAX {
        return Err(invalid(place, "more than 1000 alternatives"));
    }
    // An alternative that is anything makes the whole place anything.
    if list.iter().any(Value::is_null) {
        return Ok(Vec::new());
    }
    let mut wanted = list.iter().map(|item| read(place, item)).collect::<Result<Vec<T>, _>>()?;
    // Each log is looked up in them.
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

impl Filter {
    /// Reads the filter object in a place of the parameters.
    pub(super) fn read(place: usize, value: &Value) -> Result<Filter, CallError> {
        let object = value.as_object().ok_or_else(|| invalid(place, "no filter object"))?;
        let topics = match object.get("topics") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(places)) if places.len() <= TOPICS_MAX => {
                let places = places.iter().map(|topic| list(place, Some(topic), hash));
                places.collect::<Result<_, CallError>>()?
            }
            Some(_) => return Err(invalid(place, "`topics` is no list of at most 4")),
        };
        Ok(Filter { addresses: list(place, object.get("address"), address)?, topics })
    }

    /// Addresses and hashes that it names.
    pub(super) fn len(&self) -> usize {
        self.addresses.len() + self.topics.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether a log is wanted.
    pub(super) fn takes(&self, log: &Log) -> bool {
        let is_from =
            self.addresses.is_empty() || self.addresses.binary_search(&log.address).is_ok();
        let has = |(place, wanted): (usize, &Vec<B256>)| {
            let topic = log.topics.get(place);
            topic.is_some_and(|topic| wanted.is_empty() || wanted.binary_search(topic).is_ok())
        };
        is_from && self.topics.iter().enumerate().all(has)
    }

    /// The same as SQL, over columns of `logs`: conditions beside others.
    pub(super) fn to_sql(&self) -> String {
        let any = |column: &str, values: Vec<String>| {
            if values.is_empty() {
                return format!(" and {column} is not null");
            }
            format!(" and {column} in ({})", values.join(", "))
        };
        let topics = self.topics.iter().enumerate().map(|(place, wanted)| {
            let values = wanted.iter().map(|topic| format!("X'{topic:x}'"));
            any(&format!("topic{place}"), values.collect())
        });
        let addresses = self.addresses.iter().map(|address| format!("X'{address:x}'"));
        any("address", addresses.collect()) + &topics.collect::<String>()
    }
}

impl Span {
    /// Reads what the filter object in a place says of blocks; the latest where it says nothing.
    pub(super) fn read(place: usize, value: &Value) -> Result<Span, CallError> {
        let given = |key: &str| value.get(key).filter(|value| !value.is_null());
        if let Some(of) = given("blockHash") {
            if given("fromBlock").or(given("toBlock")).is_some() {
                return Err(invalid(place, "`blockHash` beside `fromBlock` or `toBlock`"));
            }
            return Ok(Span::Block(hash(place, of)?));
        }
        let end = |key: &str| match given(key) {
            None => Ok(Height::Latest),
            Some(value) if value.as_str().is_some_and(|text| text.len() == 66) => {
                Err(invalid(place, "a hash is given as `blockHash`"))
            }
            Some(value) => height(place, value),
        };
        Ok(Span::Range(end("fromBlock")?, end("toBlock")?))
    }

    /// The numbers that a subscription or an installed filter is told of: it is about blocks to
    /// come, so that one block, or a range that ends before it begins, would never be told.
    pub(super) fn to_come(self, place: usize) -> Result<RangeInclusive<u64>, CallError> {
        match self {
            Span::Range(Height::Latest, Height::Latest) => Ok(0..=u64::MAX),
            Span::Range(Height::Number(first), Height::Latest) => Ok(first..=u64::MAX),
            Span::Range(Height::Number(first), Height::Number(last)) if first <= last => {
                Ok(first..=last)
            }
            Span::Range(Height::Number(first), Height::Number(last)) => {
                Err(reversed(place, first, last))
            }
            Span::Range(..) => {
                let due = "a subscription or filter begins at a number or `latest`, and one with a \
                           `toBlock` has a `fromBlock` too";
                Err(invalid(place, due))
            }
            Span::Block(_) => {
                Err(invalid(place, "no log of `blockHash` is to come: ask eth_getLogs for it"))
            }
        }
    }
}

/// A range that ends before it begins.
pub(super) fn reversed(place: usize, first: u64, last: u64) -> CallError {
    let problem = format!(
        "invalid block range params: `fromBlock` {first} ({first:#x}) is above `toBlock` {last} \
         ({last:#x})"
    );
    CallError::Argument { place, problem }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(address: u8, topics: &[u8]) -> Log {
        let topics = topics.iter().map(|byte| B256::repeat_byte(*byte)).collect();
        Log { address: Address::repeat_byte(address), topics, ..Log::default() }
    }

    #[test]
    fn places_are_anything_one_or_one_of_several_and_must_be_there() {
        let topic = |byte| B256::repeat_byte(byte).to_string();
        let from = |byte| Address::repeat_byte(byte).to_string();
        let logs = [log(1, &[]), log(1, &[5]), log(2, &[5, 6]), log(2, &[7, 6])];
        let cases = [
            (json!({}), vec![0, 1, 2, 3]),
            (json!({ "address": from(1) }), vec![0, 1]),
            (json!({ "address": [from(1), from(2)] }), vec![0, 1, 2, 3]),
            (json!({ "address": [] }), vec![0, 1, 2, 3]),
            (json!({ "topics": [] }), vec![0, 1, 2, 3]),
            (json!({ "topics": [null] }), vec![1, 2, 3]),
            (json!({ "topics": [topic(5)] }), vec![1, 2]),
            (json!({ "topics": [[topic(5), topic(7)]] }), vec![1, 2, 3]),
            (json!({ "topics": [[topic(5), null]] }), vec![1, 2, 3]),
            (json!({ "topics": [null, topic(6)] }), vec![2, 3]),
            (json!({ "topics": [topic(5), null] }), vec![2]),
            (json!({ "address": from(2), "topics": [topic(7)] }), vec![3]),
        ];
        for (object, expected) in cases {
            let filter = Filter::read(0, &object).unwrap();
            let taken = logs.iter().enumerate().filter(|(_, log)| filter.takes(log));
            assert_eq!(taken.map(|(at, _)| at).collect::<Vec<_>>(), expected, "{object}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let hash = B256::ZERO.to_string();
        let many = vec![Address::ZERO.to_string(); ALTERNATIVES_MAX + 1];
        let wrong = [
            json!("logs"),
            json!({ "address": "0x1" }),
            json!({ "address": many }),
            json!({ "topics": hash }),
            json!({ "topics": [hash, hash, hash, hash, hash] }),
            json!({ "topics": ["0x1"] }),
        ];
        for object in wrong {
            assert!(Filter::read(0, &object).is_err(), "{object}");
        }
        for span in [
            json!({ "blockHash": hash, "fromBlock": "0x1" }),
            json!({ "blockHash": hash, "toBlock": "0x1" }),
            json!({ "blockHash": hash, "fromBlock": "latest", "toBlock": "latest" }),
            json!({ "blockHash": "0x1" }),
            json!({ "fromBlock": hash }),
            json!({ "toBlock": hash }),
            json!({ "fromBlock": 1 }),
            json!({ "fromBlock": "-0x1" }),
            json!({ "toBlock": "0x01" }),
            json!({ "toBlock": "0xffffffffffffffffffffffff" }),
            json!({ "toBlock": { "blockNumber": "0x1" } }),
        ] {
            assert!(Span::read(0, &span).is_err(), "{span}");
        }
    }

    #[test]
    fn subscriptions_are_about_blocks_to_come() {
        let to_come = |object: Value| Span::read(1, &object).and_then(|span| span.to_come(1));
        for (object, expected) in [
            (json!({}), 0..=u64::MAX),
            (json!({ "fromBlock": "latest" }), 0..=u64::MAX),
            (json!({ "fromBlock": "0x5" }), 5..=u64::MAX),
            (json!({ "fromBlock": "0x5", "toBlock": "0x7" }), 5..=7),
            (json!({ "fromBlock": "0x5", "toBlock": "latest" }), 5..=u64::MAX),
        ] {
            assert_eq!(to_come(object.clone()).unwrap(), expected, "{object}");
        }
        for object in [
            json!({ "fromBlock": "0x7", "toBlock": "0x5" }),
            json!({ "toBlock": "0x5" }),
            json!({ "fromBlock": "finalized" }),
            json!({ "toBlock": "safe" }),
            json!({ "blockHash": B256::ZERO }),
        ] {
            assert!(to_come(object.clone()).is_err(), "{object}");
        }
    }
}
