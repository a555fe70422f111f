//! Traces from JSON: the list of `trace_block` (`OpenEthereum`'s form), and the nested calls of
//! `debug_traceBlockByNumber` with `callTracer` (go-ethereum's).
//!
//! Both become the same [`Trace`]s in the same order. Fields that are not known are kept.

use alloy_primitives::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::json::Scalar;
use super::object::{keep, put};
use super::scalar::ScalarSeed;
use super::trace::{ClaimedTrace, TraceKind};

/// Calls within calls at most: what the EVM allows, and the outermost.
const DEPTH_MAX: usize = 1_025;
/// The largest quantity that a column holds.
const QUANTITY_MAX: u64 = i64::MAX as u64;

/// Reads the result of `trace_block`.
pub fn read_trace_block(text: &str) -> Result<Vec<ClaimedTrace>, serde_json::Error> {
    let items: Vec<Item> = serde_json::from_str(text)?;
    Ok(items.into_iter().map(|item| item.0).collect())
}

/// Reads the result of `debug_traceBlockByNumber` with `callTracer`.
pub fn read_call_frames(text: &str) -> Result<Vec<ClaimedTrace>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Calls are deeper nested than any other JSON: the stack grows as far as they may go.
    reader.disable_recursion_limit();
    let traces = serde_stacker::Deserializer::new(&mut reader).deserialize_seq(Transactions)?;
    reader.end()?;
    Ok(traces)
}

/// A trace while it is read.
#[derive(Default)]
struct Draft {
    claimed: ClaimedTrace,
    name: String,
    /// `callType` or `rewardType`, and what it says.
    finer: Option<(&'static str, String)>,
}

impl Draft {
    fn value<'de, T: Scalar, A: MapAccess<'de>>(map: &mut A) -> Result<Option<T>, A::Error> {
        Ok(map.next_value_seed(ScalarSeed::<T>::optional())?.0)
    }

    fn quantity<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<Option<u64>, A::Error> {
        let found: Option<u64> = Draft::value(map)?;
        if let Some(large) = found.filter(|found| *found > QUANTITY_MAX) {
            put(&mut self.claimed.trace.extra, key, Value::from(format!("{large:#x}")));
        }
        Ok(found.map(|found| found.min(QUANTITY_MAX)))
    }

    fn keep<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        // By its text, so that it is not nested deeper than JSON usually may be.
        keep(&mut self.claimed.trace.extra, key, map.next_value()?);
        Ok(())
    }

    /// An entry that both forms have; `false` for others.
    fn common<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let trace = &mut self.claimed.trace;
        match key {
            "gas" => self.claimed.trace.gas = self.quantity(key, map)?,
            "gasUsed" => self.claimed.trace.gas_used = self.quantity(key, map)?,
            "from" => trace.from = Draft::value(map)?,
            "to" => trace.to = Draft::value(map)?,
            "value" => trace.value = Draft::value(map)?,
            "input" => trace.input = Draft::value::<Bytes, A>(map)?.unwrap_or_default(),
            "output" => trace.output = Draft::value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The trace; `kind` is what its words mean.
    fn finish(mut self, kind: Option<TraceKind>) -> ClaimedTrace {
        let trace = &mut self.claimed.trace;
        trace.kind = kind.unwrap_or(TraceKind::Other);
        if kind.is_none() {
            put(&mut trace.extra, "type", Value::from(self.name));
            if let Some((key, finer)) = self.finer {
                put(&mut trace.extra, key, Value::from(finer));
            }
        }
        self.claimed
    }
}

/// One of `trace_block`.
struct Item(ClaimedTrace);

impl<'de> serde::Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Item, D::Error> {
        from.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = map.next_key::<&str>()? {
            let claimed = &mut draft.claimed;
            match key {
                "action" => map.next_value_seed(Half { draft: &mut draft, is_action: true })?,
                "result" => map.next_value_seed(Half { draft: &mut draft, is_action: false })?,
                "traceAddress" => claimed.trace.trace_address = map.next_value()?,
                "subtraces" => claimed.subtraces = map.next_value()?,
                "transactionHash" => claimed.transaction_hash = Draft::value(&mut map)?,
                "transactionPosition" => claimed.trace.transaction_index = map.next_value()?,
                "blockHash" => claimed.block_hash = Draft::value(&mut map)?,
                "blockNumber" => drop(map.next_value::<de::IgnoredAny>()?),
                "type" => draft.name = map.next_value()?,
                "error" => claimed.trace.error = map.next_value()?,
                _ => draft.keep(key, &mut map)?,
            }
        }
        let finer = draft.finer.as_ref().map(|(_, finer)| finer.as_str());
        let kind = match draft.name.as_str() {
            "selfdestruct" => Some(TraceKind::SelfDestruct),
            name => TraceKind::from_words(name, finer),
        };
        Ok(Item(draft.finish(kind)))
    }
}

/// What was done, or what came of it.
struct Half<'a> {
    draft: &'a mut Draft,
    is_action: bool,
}

impl<'de> DeserializeSeed<'de> for Half<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Half<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an action or a result")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Half { draft, is_action } = self;
        while let Some(key) = map.next_key::<&str>()? {
            let trace = &mut draft.claimed.trace;
            match (key, is_action) {
                ("init", true) => {
                    trace.input = Draft::value::<Bytes, A>(&mut map)?.unwrap_or_default();
                }
                ("callType", true) => draft.finer = Some(("callType", map.next_value()?)),
                ("rewardType", true) => draft.finer = Some(("rewardType", map.next_value()?)),
                ("address", true) => trace.from = Draft::value(&mut map)?,
                ("balance", true) => trace.value = Draft::value(&mut map)?,
                ("refundAddress" | "author", true) | ("address", false) => {
                    trace.to = Draft::value(&mut map)?;
                }
                ("code", false) => trace.output = Draft::value(&mut map)?,
                (_, _) => {
                    if !draft.common(key, &mut map)? {
                        draft.keep(key, &mut map)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The transactions of `debug_traceBlockByNumber`.
struct Transactions;

impl<'de> Visitor<'de> for Transactions {
    type Value = Vec<ClaimedTrace>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of transactions with their calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<ClaimedTrace>, A::Error> {
        let mut traces = Vec::new();
        let mut at = 0;
        while list.next_element_seed(Traced { at, traces: &mut traces })?.is_some() {
            at += 1;
        }
        Ok(traces)
    }
}

/// `{"txHash": .., "result": {..}}`, or `{"error": ..}`.
struct Traced<'a> {
    at: u64,
    traces: &'a mut Vec<ClaimedTrace>,
}

impl<'de> DeserializeSeed<'de> for Traced<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Traced<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a transaction with its calls")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Traced { at, traces } = self;
        let first = traces.len();
        let mut hash = None;
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "txHash" => hash = Draft::value(&mut map)?,
                "result" => map.next_value_seed(Frame { traces, path: &mut Vec::new() })?,
                "error" => {
                    let error: String = map.next_value()?;
                    return Err(de::Error::custom(format!("transaction {at}: {error}")));
                }
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        for claimed in traces.iter_mut().skip(first) {
            claimed.trace.transaction_index = Some(at);
            claimed.transaction_hash = hash;
        }
        Ok(())
    }
}

/// A call and those that it made: each gets its place before those below it.
struct Frame<'a> {
    traces: &'a mut Vec<ClaimedTrace>,
    path: &'a mut Vec<u64>,
}

impl<'de> DeserializeSeed<'de> for Frame<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Frame<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a call")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Frame { traces, path } = self;
        let place = traces.len();
        traces.push(ClaimedTrace::default());
        let mut draft = Draft::default();
        draft.claimed.trace.trace_address.clone_from(path);
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "type" => draft.name = map.next_value()?,
                "error" => draft.claimed.trace.error = map.next_value()?,
                "calls" => map.next_value_seed(Frames { traces, path })?,
                _ => {
                    if !draft.common(key, &mut map)? {
                        draft.keep(key, &mut map)?;
                    }
                }
            }
        }
        let kind = match draft.name.as_str() {
            "CALL" => Some(TraceKind::Call),
            "CALLCODE" => Some(TraceKind::CallCode),
            "DELEGATECALL" => Some(TraceKind::DelegateCall),
            "STATICCALL" => Some(TraceKind::StaticCall),
            "CREATE" | "CREATE2" => Some(TraceKind::Create),
            "SELFDESTRUCT" => Some(TraceKind::SelfDestruct),
            _ => None,
        };
        if draft.name == "CREATE2" {
            let method = Value::from("create2");
            put(&mut draft.claimed.trace.extra, "creationMethod", method);
        }
        if let Some(kept) = traces.get_mut(place) {
            *kept = draft.finish(kind);
        }
        Ok(())
    }
}

/// The calls that a call made.
struct Frames<'a> {
    traces: &'a mut Vec<ClaimedTrace>,
    path: &'a mut Vec<u64>,
}

impl<'de> DeserializeSeed<'de> for Frames<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Frames<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of calls")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Frames { traces, path } = self;
        if path.len() >= DEPTH_MAX {
            let reason = format!("calls are nested deeper than {DEPTH_MAX}");
            return Err(de::Error::custom(reason));
        }
        path.push(0);
        while list.next_element_seed(Frame { traces, path })?.is_some() {
            if let Some(last) = path.last_mut() {
                *last += 1;
            }
        }
        path.pop();
        Ok(())
    }
}
