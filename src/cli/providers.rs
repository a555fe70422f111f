//! `headwater providers`.

use std::fmt::Write as _;

use headwater_storage::model::{date_of, date_text};
use serde_json::Value;

use crate::exit::Exit;
use crate::http::ProvidersDocument;
use crate::node::NodeError;

use super::args::ProvidersArgs;
use super::ask::Which;
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: ProvidersArgs) -> Result<Exit, CommandError> {
    let document: Value = match Which::find_to_read(&args.which)? {
        Which::Running(remote) => remote.document("/v1/providers").await?,
        Which::Stopped(node) => {
            let document = ProvidersDocument::of(&node, false).map_err(NodeError::from)?;
            serde_json::to_value(document).unwrap_or_default()
        }
    };
    let text = if args.json { document.to_string() } else { text(&document) };
    output::line(&text)?;
    Ok(Exit::Success)
}

/// `2026-11-22 17:40 UTC`.
fn utc(seconds: u64) -> String {
    let minutes = seconds % 86_400 / 60;
    format!("{} {:02}:{:02} UTC", date_text(date_of(seconds)), minutes / 60, minutes % 60)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `120 answered, 3 throttled` over all methods.
fn calls(value: &Value) -> String {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    let by_method = value.get("calls").and_then(Value::as_object);
    for outcomes in by_method.into_iter().flatten().filter_map(|(_, value)| value.as_object()) {
        for (outcome, count) in outcomes {
            *sums.entry(outcome).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    let texts: Vec<String> = sums.iter().map(|(what, count)| format!("{count} {what}")).collect();
    if texts.is_empty() { "no calls".to_owned() } else { texts.join(", ") }
}

/// How long a quota lasts.
fn quota(provider: &Value) -> String {
    let unit = word(provider, "unit").replace('_', " ");
    let used = number(provider, "used").unwrap_or(0);
    let Some(quota) = number(provider, "quota") else { return format!("{used} {unit}, no quota") };
    let resets = number(provider, "resets_at").map(utc).unwrap_or_default();
    match number(provider, "ends_at") {
        Some(at) => format!("{used} of {quota} {unit}, ends at {} at this rate", utc(at)),
        None => format!("{used} of {quota} {unit}, lasts until {resets}"),
    }
}

/// For people.
fn text(document: &Value) -> String {
    let mut out = String::new();
    for provider in list(document, "providers") {
        let is_resting = provider.get("is_resting") == Some(&Value::Bool(true));
        let _infallible = writeln!(
            out,
            "{} {}: {}, {}, {} ms, {} of {} at work{}",
            word(provider, "chain"),
            word(provider, "name"),
            quota(provider),
            calls(provider),
            number(provider, "latency_ms").unwrap_or(0),
            number(provider, "workers").unwrap_or(0),
            number(provider, "workers_max").unwrap_or(0),
            if is_resting { ", rests" } else { "" },
        );
        if let Some(text) = provider.get("head_problem").and_then(Value::as_str) {
            let _infallible = writeln!(out, "  head: {text}");
        }
        if let Some(error) = provider.get("last_error").and_then(Value::as_str) {
            let _infallible = writeln!(out, "  last error: {error}");
        }
    }
    let usage = list(document, "usage");
    if !usage.is_empty() {
        let _infallible = writeln!(out, "use of keys, as the ledger has it:");
    }
    for row in usage {
        let _infallible = writeln!(
            out,
            "  {} from {}: {} units, {}",
            word(row, "key"),
            number(row, "start").map(utc).unwrap_or_default(),
            number(row, "units").unwrap_or(0),
            calls(row),
        );
    }
    if out.is_empty() { "no key was used yet".to_owned() } else { out.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_the_quota_ends() {
        let mut provider = serde_json::json!({
            "chain": "ethereum", "name": "infura/KEY_1", "unit": "credits", "quota": 3_000_000,
            "used": 1_080, "resets_at": 1_700_006_400, "ends_at": 1_700_000_000,
            "calls": { "eth_getBlockByNumber": { "answered": 2, "throttled": 1 } },
        });
        let line = quota(&provider);
        assert_eq!(line, "1080 of 3000000 credits, ends at 2023-11-14 22:13 UTC at this rate");
        assert_eq!(calls(&provider), "2 answered, 1 throttled");
        provider["ends_at"] = Value::Null;
        assert!(quota(&provider).ends_with("lasts until 2023-11-15 00:00 UTC"));
        assert!(text(&serde_json::json!({ "providers": [provider] })).starts_with("ethereum inf"));
    }
}
