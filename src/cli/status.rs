//! `headwater status`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::capture::verify::is_newer;
use crate::exit::Exit;
use crate::http::StatusDocument;

use super::args::StatusArgs;
use super::ask::{Remote, Which};
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: StatusArgs) -> Result<Exit, CommandError> {
    if args.quick {
        return quick(Which::running(&args.which)?).await;
    }
    let which = Which::find_to_read(&args.which)?;
    let (document, is_running) = match which {
        Which::Running(remote) => {
            let (_, body) = remote.read("/v1/status").await?;
            (serde_json::from_slice(&body).unwrap_or_default(), true)
        }
        Which::Stopped(node) => {
            let document = StatusDocument::from(node.as_ref());
            (serde_json::to_value(document).unwrap_or_default(), false)
        }
    };
    if args.json {
        output::line(&document.to_string())?;
    } else {
        output::line(&text(&document, is_running))?;
    }
    Ok(Exit::Success)
}

/// One word for a health check.
async fn quick(remote: Option<Remote>) -> Result<Exit, CommandError> {
    let Some(remote) = remote else {
        output::line("stopped")?;
        return Ok(Exit::NotReady);
    };
    let (status, body) = remote.read("/readyz").await?;
    if status == 200 {
        output::line("ready")?;
        return Ok(Exit::Success);
    }
    output::line(&format!("not ready: {}", String::from_utf8_lossy(&body)))?;
    Ok(Exit::NotReady)
}

fn number(value: &Value, path: &str) -> String {
    value.pointer(path).filter(|found| !found.is_null()).map_or("-".to_owned(), Value::to_string)
}

fn size(value: &Value, path: &str) -> String {
    let bytes = value.pointer(path).and_then(Value::as_f64);
    bytes.map_or("-".to_owned(), output::size)
}

fn time(value: &Value, path: &str) -> String {
    let seconds = value.pointer(path).and_then(Value::as_f64);
    seconds.map_or("-".to_owned(), output::time)
}

fn word<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn ranges(value: &Value, path: &str) -> String {
    let texts: Vec<String> = list(value, path)
        .iter()
        .map(|range| format!("{}..={}", number(range, "/first"), number(range, "/last")))
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// A line for each damaged place.
fn damages(chain: &Value) -> String {
    let mut out = String::new();
    for place in list(chain, "/damages") {
        let is_mended = place.pointer("/is_mended") == Some(&Value::Bool(true));
        let _infallible = writeln!(
            out,
            "  damage     {} at {}: {}, records {}..={}, {}",
            word(place, "/file"),
            number(place, "/offset"),
            word(place, "/damage"),
            number(place, "/first"),
            number(place, "/last"),
            if is_mended { "mended" } else { "being fetched again" },
        );
    }
    out
}

/// A line for each kind of proof that does not come out.
fn missing_proofs(chain: &Value) -> String {
    let mut out = String::new();
    for missing in list(chain, "/missing_proofs") {
        let what = word(missing, "/what");
        let _infallible = writeln!(
            out,
            "  not proved {what}, since block {}{}: {}",
            number(missing, "/block/number"),
            if is_newer(what) { " (newer than this program: upgrade)" } else { "" },
            word(missing, "/reason"),
        );
    }
    out
}

/// What of history is being filled, or why not, and the backfills that were ordered.
fn history(chain: &Value) -> String {
    let mut out = format!("  history    {}\n", word(chain, "/history/what"));
    if let Some(waits) = chain.pointer("/history_problem").and_then(Value::as_str) {
        let _infallible = writeln!(out, "             waits: {waits}");
    }
    for order in list(chain, "/backfills") {
        let _infallible = writeln!(
            out,
            "  backfill   {}: {}, {}/{} blocks of {}",
            number(order, "/id"),
            word(order, "/state"),
            number(order, "/done_blocks"),
            number(order, "/total_blocks"),
            ranges(order, "/ranges"),
        );
        if let Some(waits) = order.pointer("/problem").and_then(Value::as_str) {
            let _infallible = writeln!(out, "             waits: {waits}");
        }
    }
    out
}

/// What is true of the whole node.
fn node_text(document: &Value, is_running: bool) -> String {
    let mut out = String::new();
    let state = if is_running { "running" } else { "stopped" };
    let _infallible = writeln!(
        out,
        "headwater {}, {state}, data in {}",
        word(document, "/version"),
        word(document, "/data_dir")
    );
    if document.pointer("/descent/way").is_some() {
        let _infallible = writeln!(
            out,
            "{} from {} at {} s: what is exported from there on may have been exported before",
            word(document, "/descent/way"),
            word(document, "/descent/from"),
            number(document, "/descent/at"),
        );
    }
    if is_running {
        let _infallible = writeln!(
            out,
            "disk {}: {} free, {} used, full in {}",
            word(document, "/disk/step"),
            size(document, "/disk/free_bytes"),
            size(document, "/disk/used_bytes"),
            time(document, "/disk/seconds_until_full"),
        );
    }
    out
}

fn exporters(document: &Value) -> String {
    let mut out = String::new();
    for exporter in list(document, "/exporters") {
        let _infallible = writeln!(
            out,
            "\nexporter {} ({}) of {}: {}, exported {}, {} behind, {} parked, {} left out, \
             reason {}",
            word(exporter, "/name"),
            word(exporter, "/kind"),
            word(exporter, "/chain"),
            word(exporter, "/state"),
            number(exporter, "/exported_lsn"),
            number(exporter, "/lag"),
            number(exporter, "/parked"),
            number(exporter, "/left_out"),
            word(exporter, "/reason"),
        );
        if let Some(waits) = exporter.pointer("/waits").and_then(Value::as_str) {
            let _infallible = writeln!(out, "  {waits}");
        }
    }
    out
}

/// For people.
fn text(document: &Value, is_running: bool) -> String {
    let mut out = node_text(document, is_running);
    for chain in list(document, "/chains") {
        let _infallible = writeln!(
            out,
            "\nchain {} (id {})\n  head       {} (provider says {})\n  finalized  {}\n  captured   \
             {} blocks: {}\n  sealed     {} blocks\n  gaps       {}\n  records    durable {}, \
             indexed {}, sealed {}\n  lookups    {}\n  disk       log {}, parts {}",
            word(chain, "/name"),
            number(chain, "/chain_id"),
            number(chain, "/head/number"),
            number(chain, "/capture/provider_head"),
            number(chain, "/finalized/number"),
            number(chain, "/captured_blocks"),
            ranges(chain, "/captured"),
            number(chain, "/sealed_blocks"),
            ranges(chain, "/gaps"),
            number(chain, "/durable_lsn"),
            number(chain, "/indexed_lsn"),
            number(chain, "/sealed_lsn"),
            word(chain, "/lookups"),
            size(chain, "/wal_bytes"),
            size(chain, "/part_bytes"),
        );
        out.push_str(&missing_proofs(chain));
        out.push_str(&damages(chain));
        for hole in list(chain, "/holes") {
            let _infallible = writeln!(
                out,
                "  not had    {}..={}: {}",
                number(hole, "/first"),
                number(hole, "/last"),
                word(hole, "/reason"),
            );
        }
        if is_running {
            out.push_str(&history(chain));
            let problem = word(chain, "/capture/problem");
            let _infallible = writeln!(out, "  problem    {problem}");
            for provider in list(chain, "/providers") {
                let _infallible = writeln!(
                    out,
                    "  provider   {}: {} requests, {} ms, last error {}",
                    word(provider, "/name"),
                    number(provider, "/requests"),
                    number(provider, "/latency_ms"),
                    word(provider, "/last_error"),
                );
                if let Some(text) = provider.pointer("/head_problem").and_then(Value::as_str) {
                    let _infallible = writeln!(out, "             {text}");
                }
            }
        }
    }
    out.push_str(&exporters(document));
    out.trim_end().to_owned()
}
