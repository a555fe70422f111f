//! Liveness, readiness and metrics, from progress, not from constants.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::sync::watch;

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
    let degraded: Vec<Value> = app
        .node
        .export_views()
        .into_iter()
        .filter_map(|view| Some(json!({ "exporter": view.name, "reason": view.reason? })))
        .collect();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_ready = reasons.is_empty();
    (status, Json(json!({ "ready": is_ready, "reasons": reasons, "degraded": degraded })))
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
