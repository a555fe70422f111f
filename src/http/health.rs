//! Liveness, readiness and metrics, from progress, not from constants.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::capture::verify::is_newer;

use super::server::App;

/// A chain is ready when a provider told of its head within this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: every chain hears of its head; 503 with the reasons otherwise. A dead sink is
/// degraded, not unready (INV-6).
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let reasons: Vec<Value> = app
        .node
        .chains
        .iter()
        .filter_map(|node| {
            let reason = node.status.unready(PATIENCE)?;
            Some(json!({ "chain": node.chain.name().as_str(), "reason": reason }))
        })
        .collect();
    let exporters = app.node.export_views().into_iter();
    let exporters =
        exporters.filter_map(|view| Some(json!({ "exporter": view.name, "reason": view.reason? })));
    let degraded: Vec<Value> =
        exporters.chain(newer_blocks(&app)).chain(wrong_heads(&app)).collect();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_ready = reasons.is_empty();
    (status, Json(json!({ "ready": is_ready, "reasons": reasons, "degraded": degraded })))
}

/// What of the blocks is newer than this program: it is captured, and not proved.
fn newer_blocks(app: &App) -> impl Iterator<Item = Value> {
    app.node.chains.iter().flat_map(|node| {
        let chain = node.chain.name().as_str();
        let missing = node.source.prover().proofs().missing.into_iter();
        missing.filter(|missing| is_newer(&missing.what)).map(move |missing| {
            let reason = format!("{} is newer than this program: upgrade", missing.what);
            json!({ "chain": chain, "reason": reason })
        })
    })
}

/// Providers whose heads cannot be right: others are followed.
fn wrong_heads(app: &App) -> impl Iterator<Item = Value> {
    app.node.chains.iter().flat_map(|node| {
        let chain = node.chain.name().as_str();
        node.source.pool().endpoints().iter().filter_map(move |endpoint| {
            let reason = format!("provider {}: {}", endpoint.name(), endpoint.head_fault()?);
            Some(json!({ "chain": chain, "reason": reason }))
        })
    })
}

/// Every path of a node that has no chain yet: 503 with the reason. Connections are closed, so
/// that the next request meets the node.
pub(super) async fn waiting(State(problem): State<watch::Receiver<String>>) -> impl IntoResponse {
    let reason = problem.borrow().clone();
    let body = json!({ "ready": false, "reasons": [{ "chain": null, "reason": reason }] });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")], Json(body))
}

/// `GET /metrics`: Prometheus text format 0.0.4.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
