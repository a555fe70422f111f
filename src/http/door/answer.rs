//! Answers: in pieces that are written one by one, so that memory is counted until it is free.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::http::bounds::{Bounds, Share};
use crate::http::error::ApiError;

use super::slots::{Phase, Slot};

/// Bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// Marks an answer whose bytes have their share already.
#[derive(Clone)]
pub(in crate::http) struct Accounted;

/// A body that is given out in pieces, and says when it was given out.
struct Pieces {
    body: Body,
    rest: Bytes,
    slot: Arc<Slot>,
    share: Option<Share>,
}

/// What `count` found for the bytes of an answer.
#[derive(Clone)]
struct Found(Arc<std::sync::Mutex<Option<Share>>>);

/// Finds room for the bytes of an answer, or answers that there is none.
pub(super) async fn count(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let bytes = response.body().size_hint().lower();
    if bytes <= PIECE_BYTES as u64 || response.extensions().get::<Accounted>().is_some() {
        return response;
    }
    let mut share = bounds.answer();
    if let Err(busy) = share.grow(usize::try_from(bytes).unwrap_or(usize::MAX)).await {
        return ApiError::Crowded(busy).into_response();
    }
    let found = Found(Arc::new(std::sync::Mutex::new(Some(share))));
    response.extensions_mut().insert(found);
    response
}

/// The same answer, in pieces.
pub(super) fn watch(response: Response, slot: Arc<Slot>) -> Response {
    slot.enter(Phase::Answer);
    let (mut parts, body) = response.into_parts();
    let found = parts.extensions.remove::<Found>();
    let share = found.and_then(|found| found.0.lock().ok()?.take());
    let pieces = Pieces { body, rest: Bytes::new(), slot, share };
    Response::from_parts(parts, Body::new(pieces))
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.rest = match self.share.take() {
                            Some(share) => share.keep(bytes),
                            None => bytes,
                        };
                    }
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint().exact();
        inner.map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes + rest))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.slot.leave(Phase::Answer, Phase::Idle);
    }
}
