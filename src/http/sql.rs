//! `POST /v1/sql`: one read-only statement.

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;

use crate::query::{Answer, Format, QueryError};

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
    let answer = app.node.engine.run(&sql, format).await?;
    let lsn: Vec<String> = answer.lsn.iter().map(|(chain, lsn)| format!("{chain}={lsn}")).collect();
    let gaps = answer.gaps.iter().map(|(chain, first, last)| format!("{chain}={first}-{last}"));
    let gaps: Vec<String> = gaps.collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    for (name, values) in [("x-headwater-lsn", lsn), ("x-headwater-gaps", gaps)] {
        if let Ok(value) = HeaderValue::from_str(&values.join(","))
            && !values.is_empty()
        {
            headers.insert(name, value);
        }
    }
    Ok((headers, Body::from_stream(pieces(answer))).into_response())
}

/// The answer as it is read; where it breaks off, so does the body, without its end.
fn pieces(answer: Answer) -> impl Stream<Item = Result<Vec<u8>, QueryError>> {
    futures::stream::unfold(Some(answer), async |answer| {
        let mut answer = answer?;
        match answer.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(answer))),
            Err(error) => {
                tracing::warn!(%error, "an answer broke off");
                Some((Err(error), None))
            }
        }
    })
}
