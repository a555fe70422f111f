//! Bodies of requests: received as a whole, within a time and a number of bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Body as _;

use crate::http::bounds::{Bounds, Share};
use crate::http::error::ApiError;
use crate::http::server::BODY_BYTES_MAX;

use super::slots::{Phase, Slot};

/// How long a client may take to send a body.
pub(in crate::http) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Receives the body before the route is asked.
pub(super) async fn receive(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let slot = parts.extensions.get::<Arc<Slot>>().cloned();
    let received = tokio::time::timeout(BODY_TIMEOUT, collect(body, &bounds)).await;
    let received =
        received.unwrap_or_else(|_| Err(ApiError::SlowBody { secs: BODY_TIMEOUT.as_secs() }));
    let (bytes, share) = match received {
        Ok(received) => received,
        Err(error) => return closed(error),
    };
    if let Some(slot) = slot {
        slot.enter(Phase::Work);
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    drop(share);
    response
}

async fn collect(mut body: Body, bounds: &Bounds) -> Result<(Bytes, Share), ApiError> {
    let too_large = || ApiError::LargeBody { max: BODY_BYTES_MAX };
    let mut share = bounds.body();
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut received = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| ApiError::Invalid {
            what: format!("the body is not whole: {error}"),
            fix: "send all of it",
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        if received.len() + bytes.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        share.grow(bytes.len()).await?;
        received.extend_from_slice(&bytes);
    }
    Ok((received.into(), share))
}

/// A refusal after which the rest of the body is not read.
fn closed(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
