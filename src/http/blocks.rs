//! One block by number, hash or tag.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headwater_storage::model::{B256, OwnedEvent};
use headwater_storage::store::Chain;
use serde_json::json;

use super::chains::find;
use super::error::ApiError;
use super::server::App;

/// What a path names.
enum Wanted {
    Number(u64),
    Hash(B256),
    Head,
    Finalized,
}

impl Wanted {
    fn parse(text: &str) -> Result<Wanted, ApiError> {
        let invalid = || ApiError::Invalid {
            what: format!("`{text}` names no block"),
            fix: "give a number (decimal or 0x), a 32-byte hash, `head` or `finalized`",
        };
        // Rust's own reading of numbers takes a sign.
        if text.contains(['+', '-']) {
            return Err(invalid());
        }
        match (text, text.strip_prefix("0x")) {
            ("head", _) => Ok(Wanted::Head),
            ("finalized", _) => Ok(Wanted::Finalized),
            (_, Some(digits)) if digits.len() == 64 => {
                text.parse().map(Wanted::Hash).map_err(|_| invalid())
            }
            (_, Some(digits)) => {
                u64::from_str_radix(digits, 16).map(Wanted::Number).map_err(|_| invalid())
            }
            (_, None) => text.parse().map(Wanted::Number).map_err(|_| invalid()),
        }
    }

    fn read(&self, chain: &Chain) -> Result<Option<OwnedEvent>, ApiError> {
        let number = match self {
            Wanted::Number(number) => Some(*number),
            Wanted::Hash(hash) => return Ok(chain.block_by_hash(*hash)?),
            Wanted::Head => chain.with_state(|state| state.latest().map(|block| block.number)),
            Wanted::Finalized => chain.with_state(|state| state.latest_final().map(|b| b.number)),
        };
        match number {
            Some(number) => Ok(chain.block_by_number(number)?),
            None => Ok(None),
        }
    }
}

/// `?receipts=true&traces=true`.
#[derive(serde::Deserialize)]
pub(super) struct Wish {
    #[serde(default)]
    receipts: bool,
    #[serde(default)]
    traces: bool,
}

/// `GET /v1/chains/{chain}/blocks/{block}`: the JSON-RPC object, and what we know of it.
pub(super) async fn one(
    State(app): State<App>,
    Path((name, text)): Path<(String, String)>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wish) = wish?;
    let chain = find(&app, &name)?.chain.clone();
    let wanted = Wanted::parse(&text)?;
    let unknown = || ApiError::UnknownBlock { chain: name.clone(), block: text.clone() };
    let reading = chain.clone();
    let found = app.bounds.read(move || -> Result<_, ApiError> {
        let Some(event) = wanted.read(&reading)? else { return Ok(None) };
        let is_canonical = reading.is_canonical(&event.head)?;
        Ok(Some((event, is_canonical)))
    });
    let (event, is_canonical) = found.await??.ok_or_else(unknown)?;
    let block = event.block.ok_or_else(unknown)?;
    let head = event.head;
    // What is sealed is final.
    let is_final = chain.with_state(|state| {
        state.canonical(head.block.number).is_none_or(|known| state.is_final(known))
    });
    let facts = json!({
        "chain": name,
        "lsn": head.lsn,
        "canonical": is_canonical,
        "final": is_canonical && is_final,
        "verified": head.verified.names().collect::<Vec<_>>(),
    });
    let mut body = facts.to_string();
    body.pop();
    body.push_str(",\"block\":");
    body.push_str(&block.to_json());
    if let Some(receipts) = block.receipts_to_json().filter(|_| wish.receipts) {
        body.push_str(",\"receipts\":");
        body.push_str(&receipts);
    }
    if let Some(traces) = block.traces_to_json(None).filter(|_| wish.traces) {
        body.push_str(",\"traces\":");
        body.push_str(&traces.to_string());
    }
    body.push_str("}\n");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
