//! Traces as `trace_block` gives them, whichever method they came by.

use alloy_primitives::Bytes;
use serde_json::{Map, Value, json};

use super::json::Scalar;
use super::{Block, Trace, TraceKind, trace_tree};

/// The hex form of a value; `null` without one.
fn hex<T: Scalar>(value: Option<&T>) -> Value {
    value.map_or(Value::Null, |value| {
        let mut text = String::new();
        value.write_hex(&mut text);
        Value::from(text)
    })
}

impl Block {
    /// The traces, of the whole block or of the transaction in a place, in the form of
    /// `trace_block`; none where they were not captured.
    pub fn traces_to_json(&self, of: Option<u64>) -> Option<Value> {
        if self.traces.is_empty() {
            return None;
        }
        let tree = trace_tree(&self.traces).unwrap_or_default();
        let wanted = self.traces.iter().enumerate();
        let wanted = wanted.filter(|(_, t)| of.is_none() || t.transaction_index == of);
        let list = wanted.map(|(at, trace)| {
            let subtraces = tree.get(at).map(|(children, _)| *children);
            Value::from(self.trace_object(trace, subtraces))
        });
        Some(list.collect())
    }

    fn trace_object(&self, trace: &Trace, subtraces: Option<u64>) -> Map<String, Value> {
        let at = trace.transaction_index.and_then(|at| usize::try_from(at).ok());
        let transaction = at.and_then(|at| self.transactions.get(at));
        let place = json!({
            "action": action(trace),
            "blockHash": hex(Some(&self.header.hash)),
            "blockNumber": self.header.number,
            "result": result(trace),
            "subtraces": subtraces,
            "traceAddress": trace.trace_address,
            "transactionHash": hex(transaction.map(|transaction| &transaction.hash)),
            "transactionPosition": trace.transaction_index,
            "type": trace.kind.trace_type(),
        });
        let mut object = match place {
            Value::Object(object) => object,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        if let Some(error) = &trace.error {
            object.insert("error".to_owned(), Value::from(error.as_str()));
        }
        for (key, value) in trace.extra.iter().flat_map(|extra| extra.iter()) {
            let half = half_of(key, &object);
            let half = half.and_then(|name| object.get_mut(name)?.as_object_mut());
            match half {
                Some(half) => half.insert(key.clone(), value.clone()),
                None => object.insert(key.clone(), value.clone()),
            };
        }
        object
    }
}

/// The half that a kept field stands in; none for one that stands beside both.
fn half_of(key: &str, object: &Map<String, Value>) -> Option<&'static str> {
    let has = |half: &Value| {
        // Of deployments only.
        let is_method = key == "creationMethod" && half.get("init").is_some();
        is_method || half.get(key).is_some()
    };
    ["action", "result"].into_iter().find(|name| object.get(*name).is_some_and(has))
}

fn action(trace: &Trace) -> Value {
    let (from, to) = (hex(trace.from.as_ref()), hex(trace.to.as_ref()));
    let (value, gas) = (hex(trace.value.as_ref()), hex(trace.gas.as_ref()));
    let input = hex(Some(&trace.input));
    match trace.kind {
        TraceKind::Call
        | TraceKind::CallCode
        | TraceKind::DelegateCall
        | TraceKind::StaticCall
        | TraceKind::Other => json!({
            "callType": trace.kind.call_type(), "from": from, "gas": gas, "input": input,
            "to": to, "value": value,
        }),
        TraceKind::Create => json!({ "from": from, "gas": gas, "init": input, "value": value }),
        TraceKind::SelfDestruct => {
            json!({ "address": from, "balance": value, "refundAddress": to })
        }
        TraceKind::BlockReward | TraceKind::UncleReward => {
            json!({ "author": to, "rewardType": trace.kind.reward_type(), "value": value })
        }
    }
}

fn result(trace: &Trace) -> Value {
    let output = trace.output.as_ref();
    if trace.gas_used.is_none() && output.is_none() {
        return Value::Null;
    }
    let gas_used = hex(trace.gas_used.as_ref());
    match trace.kind {
        TraceKind::Create => {
            let code = hex::<Bytes>(output);
            json!({ "address": hex(trace.to.as_ref()), "code": code, "gasUsed": gas_used })
        }
        TraceKind::Call
        | TraceKind::CallCode
        | TraceKind::DelegateCall
        | TraceKind::StaticCall
        | TraceKind::SelfDestruct
        | TraceKind::BlockReward
        | TraceKind::UncleReward
        | TraceKind::Other => json!({ "gasUsed": gas_used, "output": hex::<Bytes>(output) }),
    }
}
