//! What axum refuses by itself, in the words of this API.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;

/// Bytes of a refusal that are told.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// Tells as JSON what is refused as text, or without a word.
pub(super) async fn as_json(request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let response = next.run(request).await;
    let status = response.status();
    let is_refused = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !is_refused || kind.is_some_and(|kind| kind.starts_with(b"application/json")) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let allow = parts.headers.get(header::ALLOW).cloned();
    let text = to_bytes(body, TEXT_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).escape_debug().to_string();
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => ApiError::Method {
            method: method.chars().take(20).collect(),
            allow: allow.as_ref().and_then(|allow| allow.to_str().ok()).unwrap_or("-").to_owned(),
        },
        _ => ApiError::Refused { status, text },
    };
    let mut told = error.into_response();
    if let Some(allow) = allow {
        told.headers_mut().insert(header::ALLOW, allow);
    }
    told
}
