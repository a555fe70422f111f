//! One transaction by hash, and the transactions of an address.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use headwater_storage::model::{Address, B256};
use serde_json::{Value, json};

use super::chains::find;
use super::error::ApiError;
use super::server::App;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// `GET /v1/chains/{chain}/transactions/{hash}`: transaction, receipt and traces as JSON-RPC
/// objects.
pub(super) async fn one(
    State(app): State<App>,
    Path((name, text)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let chain = find(&app, &name)?.chain.clone();
    let hash: B256 = text.parse().map_err(|_| ApiError::Invalid {
        what: format!("`{text}` is no transaction hash"),
        fix: "give 0x and 64 hex digits",
    })?;
    let found = app.bounds.read(move || chain.transaction(hash)).await??;
    let unknown = || ApiError::UnknownTransaction { chain: name.clone(), hash: text.clone() };
    let (event, at) = found.ok_or_else(unknown)?;
    let block = event.block.ok_or_else(unknown)?;
    Ok(Json(json!({
        "chain": name,
        "lsn": event.head.lsn,
        "block": event.head.block,
        "verified": event.head.verified.names().collect::<Vec<_>>(),
        "transaction": object(&block.transaction_to_json(at)),
        "receipt": block.receipt_to_json(at).map(|text| object(&text)),
        "traces": block.traces_to_json(Some(at as u64)),
    })))
}

/// `?limit=&before=`.
#[derive(serde::Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    before: Option<u64>,
}

/// `GET /v1/chains/{chain}/addresses/{address}/transactions`: newest first, of each block all;
/// `next_before` is the `before` to go on with, `null` at the end.
pub(super) async fn of_address(
    State(app): State<App>,
    Path((name, text)): Path<(String, String)>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(page) = page?;
    let chain = find(&app, &name)?.chain.clone();
    let address: Address = text.parse().map_err(|_| ApiError::Invalid {
        what: format!("`{text}` is no address"),
        fix: "give 0x and 40 hex digits",
    })?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let before = page.before.unwrap_or(u64::MAX);
    let found = app.bounds.read(move || chain.by_address(address, before, limit)).await??;
    let last = found.last().map(|(touch, _)| touch.block_number);
    let next = last.filter(|_| found.len() >= limit);
    let rows: Vec<Value> = found
        .into_iter()
        .map(|(touch, hash)| {
            json!({
                "block_number": touch.block_number,
                "transaction_index": touch.transaction_index,
                "transaction_hash": hash,
                "role": touch.role.as_str(),
            })
        })
        .collect();
    let body = json!({
        "chain": name,
        "address": address,
        "transactions": rows,
        "next_before": next,
    });
    Ok(Json(body))
}
