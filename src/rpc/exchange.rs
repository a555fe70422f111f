//! One HTTP exchange: a body goes out, and what comes back is bounded, decoded, and looked at.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headwater_storage::foreign::BODY_BYTES_MAX;
use headwater_storage::store::error_text;
use reqwest::Response;
use secrecy::ExposeSecret;

use crate::supervisor::on_cpu;

use super::answer::{Encodings, Http, Undecoded};
use super::{Call, Cause, Endpoint, RpcError};

impl Endpoint {
    /// Sends a body that holds `calls` and gives back the answer's bytes.
    pub(super) async fn exchange(
        &self,
        calls: &[Call],
        body: String,
        spent: u64,
    ) -> Result<Bytes, RpcError> {
        let method = calls.first().map_or("none", |call| call.method);
        let response = self
            .client()
            .post(self.full_url().expose_secret())
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| self.unavailable(method, error))?;
        let status = response.status();
        let after = retry_after(&response);
        self.key().refund(status.as_u16(), spent);
        let encodings = Encodings::of(response.headers());
        let bytes = self.read(method, response).await?;
        let bytes = match encodings {
            Ok(encodings) if encodings.is_none() => bytes,
            Ok(encodings) => {
                let most = self.answer_bytes_max();
                let undone = on_cpu(move || encodings.undo(bytes, most)).await;
                undone.map_err(|error| self.undecoded(method, &error))?
            }
            Err(error) => return Err(self.undecoded(method, &error)),
        };
        let redactor = self.redactor();
        let http = Http { status, after, is_batch: calls.len() > 1, redactor: &redactor };
        match http.fault(&bytes) {
            Some((cause, reason)) => Err(self.error(method, cause, &reason)),
            None => Ok(bytes),
        }
    }

    /// The body, of at most `answer_bytes_max` bytes; of an error only the start.
    async fn read(&self, method: &'static str, response: Response) -> Result<Bytes, RpcError> {
        let mut response = response;
        let is_error = !response.status().is_success();
        let most = self.answer_bytes_max();
        let most = if is_error { most.min(BODY_BYTES_MAX) } else { most };
        let due = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut bytes = BytesMut::with_capacity(due.unwrap_or(0).min(most));
        let failed = |error| self.unavailable(method, error);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > most && is_error {
                bytes.extend_from_slice(chunk.get(..most - bytes.len()).unwrap_or_default());
                break;
            }
            if bytes.len() + chunk.len() > most {
                let reason = format!("an answer of more than answer_bytes_max = {most} bytes");
                return Err(self.error(method, Cause::TooBig, &reason));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    fn unavailable(&self, method: &'static str, error: reqwest::Error) -> RpcError {
        // The client undoes gzip only, and takes its name out of the headers.
        let of = if error.is_decode() { "content-encoding `gzip`: " } else { "" };
        let reason = error_text(&error.without_url());
        self.error(method, Cause::Unavailable, &format!("{of}{reason}"))
    }

    fn undecoded(&self, method: &'static str, error: &Undecoded) -> RpcError {
        let cause = match error {
            Undecoded::Unknown { .. } | Undecoded::Broken { .. } => Cause::Malformed,
            Undecoded::TooBig { .. } => Cause::TooBig,
        };
        self.error(method, cause, &error.to_string())
    }
}

/// Seconds that the provider asks to wait.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get("retry-after")?;
    Some(Duration::from_secs(value.to_str().ok()?.trim().parse().ok()?))
}
