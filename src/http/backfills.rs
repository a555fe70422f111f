//! Backfills of a running node: ordered, listed, paused, resumed, cancelled.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::capture::Span;
use crate::node::{BackfillOrder, BackfillView};

use super::admin::authorize;
use super::chains::find;
use super::error::ApiError;
use super::server::App;

/// Ranges of one order.
const RANGES_MAX: usize = 64;

/// What `POST /v1/chains/{chain}/backfills` is told.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// `FIRST:END`, as `headwater backfill` takes them.
    ranges: Vec<String>,
}

/// `GET /v1/chains/{chain}/backfills`: all since the node started, with their progress.
pub(super) async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &name)?;
    let reading = app.clone();
    let views = app.bounds.read(move || -> Result<_, ApiError> {
        let node = find(&reading, &name)?;
        Ok(node.orders.views(&node.chain))
    });
    Ok(Json(json!({ "backfills": views.await?? })))
}

/// `POST /v1/chains/{chain}/backfills`: takes the order, and answers before it is done.
pub(super) async fn order(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    told: Result<Json<Told>, JsonRejection>,
) -> Result<Json<BackfillView>, ApiError> {
    authorize(&app, &headers)?;
    let node = find(&app, &name)?;
    let fix = "send {\"ranges\": [\"FIRST:END\"]} as application/json";
    let invalid = |what: String| ApiError::Invalid { what, fix };
    let Json(told) = told.map_err(|rejection| invalid(rejection.body_text()))?;
    if told.ranges.is_empty() || told.ranges.len() > RANGES_MAX {
        return Err(invalid(format!("`ranges` has {} entries, not 1 to 64", told.ranges.len())));
    }
    let spans: Result<Vec<Span>, _> = told.ranges.iter().map(|text| text.parse()).collect();
    let spans = spans.map_err(|error| invalid(error.to_string()))?;
    if !node.orders.has_room() {
        let what = "too many backfills wait".to_owned();
        return Err(ApiError::Invalid { what, fix: "cancel some, or order them later" });
    }
    let asked = node.order_backfill(&spans).await;
    Ok(Json(asked.map_err(|source| ApiError::Provider { source })?))
}

/// `POST /v1/chains/{chain}/backfills/{id}/{pause|resume|cancel}`.
pub(super) async fn tell(
    State(app): State<App>,
    Path((name, id, action)): Path<(String, u64, String)>,
    headers: HeaderMap,
) -> Result<Json<BackfillView>, ApiError> {
    authorize(&app, &headers)?;
    let node = find(&app, &name)?;
    let what = match action.as_str() {
        "pause" => BackfillOrder::Pause,
        "resume" => BackfillOrder::Resume,
        "cancel" => BackfillOrder::Cancel,
        other => {
            let what = format!("backfills do not `{other}`");
            return Err(ApiError::Invalid { what, fix: "they pause, resume and cancel" });
        }
    };
    let invalid = |what: String| ApiError::Invalid { what, fix: "GET the list of backfills" };
    node.orders.tell(id, what).map_err(|error| invalid(error.to_string()))?;
    Ok(Json(node.orders.view(id, &node.chain).unwrap_or_default()))
}
