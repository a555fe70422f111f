//! `POST /v1/sql`: one read-only statement.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::query::{Format, render};

use super::error::ApiError;
use super::server::App;

/// `?format=`.
#[derive(serde::Deserialize)]
pub(super) struct Wish {
    format: Option<Format>,
}

/// `{"sql": "..."}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
}

/// The body is the statement, or `{"sql": "..."}`; the form by `?format=` or `Accept`.
pub(super) async fn run(
    State(app): State<App>,
    wish: Result<Query<Wish>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Query(wish) = wish?;
    let invalid = |what: String| ApiError::Invalid {
        what,
        fix: "send the statement as text, or as {\"sql\": \"...\"}",
    };
    let text = std::str::from_utf8(&body)
        .map_err(|error| invalid(format!("the body is not UTF-8: {error}")))?;
    let sql = if text.trim_start().starts_with('{') {
        let statement: Statement = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the body is not the JSON that is due: {error}")))?;
        statement.sql
    } else {
        text.to_owned()
    };
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = wish.format.or_else(|| Format::from_accept(accepted?)).unwrap_or_default();
    let answer = app.node.engine.run(&sql).await?;
    let lsn: Vec<String> = answer.lsn.iter().map(|(chain, lsn)| format!("{chain}={lsn}")).collect();
    let headers = [
        (header::CONTENT_TYPE.as_str(), format.content_type().to_owned()),
        ("x-headwater-lsn", lsn.join(",")),
    ];
    Ok((headers, render(&answer, format)?).into_response())
}
