//! The exporters: how they stand, what they set aside, and what they are told to do.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use headwater_storage::model::Lsn;
use serde_json::{Value, json};

use crate::forward::{Export, ExportView, Order, Unparked, before_block};

use super::admin::authorize;
use super::error::ApiError;
use super::server::App;

/// How long an order may take: a row that is tried again waits for its sink.
const ORDER_TIMEOUT: Duration = Duration::from_mins(2);

/// `GET /v1/exporters`.
pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    Json(json!({ "exporters": app.node.export_views() }))
}

/// What to do, and on which chain; all by default.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Told {
    chain: Option<String>,
    to_block: Option<u64>,
    to_lsn: Option<u64>,
    event_ids: Option<BTreeSet<String>>,
}

fn find<'a>(app: &'a App, name: &str, chain: Option<&str>) -> Result<Vec<&'a Export>, ApiError> {
    let is_it = |export: &&Export| {
        export.name() == name && chain.is_none_or(|chain| export.chain() == chain)
    };
    let found: Vec<&Export> = app.node.exporters.iter().filter(is_it).collect();
    if found.is_empty() {
        let chain = chain.map(str::to_owned);
        return Err(ApiError::UnknownExporter { name: name.to_owned(), chain });
    }
    Ok(found)
}

/// The order for one exporter.
fn order_of(action: &str, told: &Told, export: &Export) -> Result<Order, ApiError> {
    let invalid = |what: String, fix| Err(ApiError::Invalid { what, fix });
    Ok(match action {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "replay" => Order::Replay(told.event_ids.clone()),
        "drop" => Order::Drop(told.event_ids.clone()),
        "rewind" => match (told.to_block, told.to_lsn) {
            (Some(number), None) => {
                let what = format!("chain `{}` has no block {number} yet", export.chain());
                let lsn = before_block(&export.station().chain, number);
                let fix = "give a block up to the head";
                Order::Rewind(lsn.ok_or(ApiError::Invalid { what, fix })?)
            }
            (None, Some(lsn)) if Lsn(lsn) <= export.station().chain.log().durable() => {
                Order::Rewind(Lsn(lsn))
            }
            (None, Some(lsn)) => {
                let what = format!("the log of chain `{}` has no record {lsn}", export.chain());
                return invalid(what, "give a record up to `durable_lsn`");
            }
            (Some(_), Some(_)) | (None, None) => {
                return invalid("where to?".to_owned(), "give one of to_block and to_lsn");
            }
        },
        other => {
            let what = format!("exporters do not `{other}`");
            return invalid(what, "they pause, resume, rewind, replay and drop");
        }
    })
}

/// What an order came to on one chain.
#[derive(serde::Serialize)]
pub(super) struct Obeyed {
    #[serde(flatten)]
    view: ExportView,
    rows: Vec<Unparked>,
}

/// `POST /v1/exporters/{name}/{pause|resume|rewind|replay|drop}`: answers when it is done.
pub(super) async fn order(
    State(app): State<App>,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
    told: Result<Json<Told>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    authorize(&app, &headers)?;
    let Json(told) = told.map_err(|rejection| ApiError::Invalid {
        what: rejection.body_text(),
        fix: "send an object with chain, to_block, to_lsn, event_ids, or {}, as application/json",
    })?;
    let exports = find(&app, &name, told.chain.as_deref())?;
    // All of them first: a wrong block must not stop one chain and leave the other.
    let orders: Vec<Order> =
        exports.iter().map(|export| order_of(&action, &told, export)).collect::<Result<_, _>>()?;
    let mut obeyed = Vec::new();
    for (export, order) in exports.into_iter().zip(orders) {
        let busy = || ApiError::Busy { name: name.clone() };
        let done = tokio::time::timeout(ORDER_TIMEOUT, export.order(order)).await;
        let rows = done.map_err(|_| busy())?.ok_or_else(busy)??;
        obeyed.push(Obeyed { view: export.view(), rows });
    }
    Ok(Json(json!({ "exporters": obeyed })))
}

/// `GET /v1/exporters/{name}/parked`.
pub(super) async fn parked(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let reading = app.clone();
    let parked = app.bounds.read(move || -> Result<_, ApiError> {
        let mut rows = Vec::new();
        for export in find(&reading, &name, None)? {
            rows.extend(export.parked()?);
        }
        Ok(rows)
    });
    Ok(Json(json!({ "parked": parked.await?? })))
}

/// `?block=&chain=`.
#[derive(serde::Deserialize)]
pub(super) struct Explained {
    block: u64,
    chain: Option<String>,
}

/// `GET /v1/exporters/{name}/explain?block=`: the exact records of a block.
pub(super) async fn explain(
    State(app): State<App>,
    Path(name): Path<String>,
    asked: Result<Query<Explained>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(Explained { block, chain }) = asked?;
    find(&app, &name, chain.as_deref())?;
    let _turn = app.bounds.turn().await?;
    let mut records = Vec::new();
    for export in find(&app, &name, chain.as_deref())? {
        let found = export.explain(block).await?;
        records.extend(found.ok_or_else(|| ApiError::UnknownBlock {
            chain: export.chain().to_owned(),
            block: block.to_string(),
        })?);
    }
    Ok(Json(json!({ "records": records })))
}
