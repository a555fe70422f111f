//! `headwater exporters`.

use std::fmt::Write as _;

use headwater_storage::ledger::Cursor;
use headwater_storage::model::{ChainName, Lsn};
use serde_json::{Value, json};

use crate::config::Config;
use crate::exit::Exit;
use crate::forward::{ExporterConfig, before_block};
use crate::node::{Node, NodeError};
use crate::secrets::{AdminToken, TOKEN_FILE};

use super::args::{ExporterAction, ExporterCheckArgs, ExporterOrderArgs, ExportersArgs, WhichArgs};
use super::ask::{Remote, Which};
use super::error::CommandError;
use super::{output, preview};

pub(super) async fn run(args: ExportersArgs) -> Result<Exit, CommandError> {
    match args.action {
        ExporterAction::List(args) => {
            let document = match Which::find(&args.which)? {
                Which::Running(remote) => remote.document("/v1/exporters").await?,
                Which::Stopped(node) => cursors(&node)?,
            };
            print(&document, args.json, list_text)
        }
        ExporterAction::Parked(args) => {
            let document = match Which::find(&args.which)? {
                Which::Running(remote) => {
                    remote.document(&format!("/v1/exporters/{}/parked", args.name)).await?
                }
                Which::Stopped(node) => {
                    let rows =
                        node.data_dir.ledger().parked(&args.name).map_err(NodeError::from)?;
                    let row = |(id, reason)| json!({ "event_id": id, "reason": reason });
                    json!({ "parked": rows.into_iter().map(row).collect::<Vec<Value>>() })
                }
            };
            print(&document, args.json, parked_text)
        }
        ExporterAction::Explain(args) => {
            let Which::Running(remote) = Which::find(&args.which)? else {
                return Err(CommandError::Stopped { what: "explain" });
            };
            let chain = args.chain.map_or(String::new(), |chain| format!("&chain={chain}"));
            let path = format!("/v1/exporters/{}/explain?block={}{chain}", args.name, args.block);
            let document: Value = remote.document(&path).await?;
            print(&document, args.json, |document| lines(document, "records"))
        }
        ExporterAction::Check(args) => check(args).await,
        ExporterAction::Pause(args) => order("pause", args, json!({})).await,
        ExporterAction::Resume(args) => order("resume", args, json!({})).await,
        ExporterAction::Rewind(args) => {
            let to = json!({ "to_block": args.to_block, "to_lsn": args.to_lsn });
            order("rewind", args.order, to).await
        }
        ExporterAction::Replay(args) => order("replay", args.order, rows(&args.event_ids)).await,
        ExporterAction::Drop(args) => order("drop", args.order, rows(&args.event_ids)).await,
    }
}

fn rows(event_ids: &[String]) -> Value {
    if event_ids.is_empty() { json!({}) } else { json!({ "event_ids": event_ids }) }
}

fn print(
    document: &Value,
    is_json: bool,
    text: impl FnOnce(&Value) -> String,
) -> Result<Exit, CommandError> {
    output::line(&if is_json { document.to_string() } else { text(document) })?;
    Ok(Exit::Success)
}

async fn order(
    action: &'static str,
    args: ExporterOrderArgs,
    mut told: Value,
) -> Result<Exit, CommandError> {
    let document = match Which::find(&args.which)? {
        Which::Running(remote) => {
            if let (Some(told), Some(chain)) = (told.as_object_mut(), &args.chain) {
                told.insert("chain".to_owned(), json!(chain));
            }
            let token = token(&args.which, args.token_file.as_deref())?;
            send(&remote, &args.name, action, &told, &token).await?
        }
        Which::Stopped(node) => change_stopped(&node, action, &args, &told)?,
    };
    print(&document, args.json, |document| list_text(document) + &rows_text(document))
}

fn token(which: &WhichArgs, file: Option<&std::path::Path>) -> Result<AdminToken, CommandError> {
    match (file, &which.data_dir) {
        (Some(path), _) => Ok(AdminToken::read(path)?),
        (None, Some(data_dir)) => Ok(AdminToken::read(&data_dir.join(TOKEN_FILE))?),
        (None, None) => Err(CommandError::Token),
    }
}

async fn send(
    remote: &Remote,
    name: &str,
    action: &str,
    told: &Value,
    token: &AdminToken,
) -> Result<Value, CommandError> {
    remote.order(&format!("/v1/exporters/{name}/{action}"), told, token).await
}

/// Changes what the ledger of a stopped node says.
fn change_stopped(
    node: &Node,
    action: &'static str,
    args: &ExporterOrderArgs,
    told: &Value,
) -> Result<Value, CommandError> {
    let ledger = node.data_dir.ledger();
    if action == "replay" {
        return Err(CommandError::Stopped { what: "replay" });
    }
    if action == "drop" {
        let mut gone = Vec::new();
        for (event_id, _) in ledger.parked(&args.name).map_err(NodeError::from)? {
            let wanted = told.get("event_ids").and_then(Value::as_array);
            if wanted.is_none_or(|ids| ids.iter().any(|id| id == event_id.as_str())) {
                ledger.unpark(&args.name, &event_id).map_err(NodeError::from)?;
                gone.push(json!({ "event_id": event_id, "outcome": "dropped" }));
            }
        }
        return Ok(json!({ "exporters": [{ "rows": gone }] }));
    }
    let mut found = false;
    for (exporter, chain, cursor) in ledger.cursors().map_err(NodeError::from)? {
        if exporter != args.name || args.chain.as_ref().is_some_and(|asked| *asked != chain) {
            continue;
        }
        found = true;
        let cursor = match action {
            "pause" => Cursor { is_paused: true, ..cursor },
            "resume" => Cursor { is_paused: false, ..cursor },
            _ => rewound(node, &chain, told, cursor)?,
        };
        let name: ChainName =
            chain.parse().map_err(|_| CommandError::UnknownChain { name: chain.clone() })?;
        ledger.set_cursor(&exporter, &name, cursor).map_err(NodeError::from)?;
    }
    if !found {
        return Err(CommandError::UnknownExporter { name: args.name.clone() });
    }
    cursors(node)
}

fn rewound(node: &Node, chain: &str, told: &Value, cursor: Cursor) -> Result<Cursor, CommandError> {
    let number = |key| told.get(key).and_then(Value::as_u64);
    let unknown = || CommandError::UnknownChain { name: chain.to_owned() };
    let store = &node.chain(chain).ok_or_else(unknown)?.chain;
    let lsn = match number("to_block") {
        Some(block) => before_block(store, block),
        None => number("to_lsn").map(Lsn).filter(|lsn| *lsn <= store.log().durable()),
    };
    let exported = lsn.ok_or_else(|| CommandError::NotThere { chain: chain.to_owned() })?;
    let generation = cursor.generation + 1;
    Ok(Cursor { exported, intent: None, generation, ..cursor })
}

/// Where the exporters of a stopped node stand.
fn cursors(node: &Node) -> Result<Value, CommandError> {
    let ledger = node.data_dir.ledger();
    let mut views = Vec::new();
    for (name, chain, cursor) in ledger.cursors().map_err(NodeError::from)? {
        let durable = node.chain(&chain).map_or(0, |node| node.chain.log().durable().0);
        let parked = ledger.parked(&name).map_err(NodeError::from)?;
        let of_chain = |(id, _): &&(String, String)| id.split([':', '~']).next() == Some(&chain);
        views.push(json!({
            "name": name,
            "chain": chain,
            "state": if cursor.is_paused { "paused" } else { "stopped" },
            "exported_lsn": cursor.exported.0,
            "lag": durable.saturating_sub(cursor.exported.0),
            "parked": parked.iter().filter(of_chain).count(),
        }));
    }
    Ok(json!({ "exporters": views }))
}

/// Connects to the sinks of a configuration, without a node.
async fn check(args: ExporterCheckArgs) -> Result<Exit, CommandError> {
    let config = Config::load(&args.config, std::env::vars())?;
    let named = |name: &str| args.name.as_ref().is_none_or(|wanted| wanted == name);
    let wanted = config.exporter.iter().filter(|exporter| named(&exporter.name));
    // One that does not answer does not keep the others waiting.
    let checks = wanted.map(|exporter| check_one(&config, exporter, args.apply));
    let results = futures::future::try_join_all(checks).await?;
    let is_good = results.iter().all(|result| result.get("error").is_none());
    if let (Some(name), true) = (&args.name, results.is_empty()) {
        return Err(CommandError::UnknownExporter { name: name.clone() });
    }
    let (document, verb) =
        (json!({ "exporters": results }), if args.apply { "made" } else { "would make" });
    print(&document, args.json, |document| check_text(document, verb))?;
    Ok(if is_good { Exit::Success } else { Exit::Unreachable })
}

/// Connects to one sink; what it lacks is made on request.
async fn check_one(
    config: &Config,
    exporter: &ExporterConfig,
    is_applied: bool,
) -> Result<Value, NodeError> {
    let scope = preview::scope(config, exporter);
    let (name, kind) = (&exporter.name, &exporter.kind);
    let sink = exporter.sink(exporter.settings.clone(), &scope, &config.secrets)?;
    let answer = match sink.missing().await {
        Ok(missing) if is_applied => sink.check().await.map(|()| missing),
        answer => answer,
    };
    sink.close().await;
    Ok(match answer {
        Ok(missing) => json!({ "name": name, "kind": kind, "missing": missing }),
        Err(error) => json!({ "name": name, "kind": kind, "error": error.to_string() }),
    })
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn lines(document: &Value, key: &str) -> String {
    let lines: Vec<String> = list(document, key).iter().map(Value::to_string).collect();
    lines.join("\n")
}

fn check_text(document: &Value, verb: &str) -> String {
    let line = |sink: &Value| {
        let told = match sink.get("error").and_then(Value::as_str) {
            Some(error) => error.to_owned(),
            None if list(sink, "missing").is_empty() => "ready".to_owned(),
            None => {
                let missing = list(sink, "missing").iter().filter_map(Value::as_str);
                format!("answers; {verb} {}", missing.collect::<Vec<_>>().join(", "))
            }
        };
        format!("{} ({}): {told}", word(sink, "name"), word(sink, "kind"))
    };
    let text: Vec<String> = list(document, "exporters").iter().map(line).collect();
    if text.is_empty() { "no exporter is configured".to_owned() } else { text.join("\n") }
}

fn list_text(document: &Value) -> String {
    let mut out = String::new();
    for view in list(document, "exporters").iter().filter(|view| view.get("name").is_some()) {
        let number = |key| view.get(key).and_then(Value::as_u64).unwrap_or(0);
        let _infallible = write!(
            out,
            "{}{} of {}: {}, exported up to record {}, {} behind, {} rows set aside",
            if out.is_empty() { "" } else { "\n" },
            word(view, "name"),
            word(view, "chain"),
            word(view, "state"),
            number("exported_lsn"),
            number("lag"),
            number("parked"),
        );
        if let Some(waits) = view.get("waits").and_then(Value::as_str) {
            let _infallible = write!(out, "\n  {waits}");
        }
        if let Some(reason) = view.get("reason").and_then(Value::as_str) {
            let _infallible = write!(out, "\n  {reason}");
        }
    }
    out
}

fn rows_text(document: &Value) -> String {
    let rows = list(document, "exporters").iter().flat_map(|view| list(view, "rows"));
    let line = |row: &Value| format!("\n  {}: {}", word(row, "event_id"), word(row, "outcome"));
    rows.map(line).collect()
}

fn parked_text(document: &Value) -> String {
    let line = |row: &Value| format!("{}: {}", word(row, "event_id"), word(row, "reason"));
    let rows: Vec<String> = list(document, "parked").iter().map(line).collect();
    if rows.is_empty() { "no row is set aside".to_owned() } else { rows.join("\n") }
}
