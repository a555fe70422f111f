//! One provider with one key: HTTP requests at its pace, with its faults remembered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};

use crate::clock;
use crate::telemetry::metrics;

use super::envelope::BatchReply;
use super::error::{ErrorObject, classify, classify_status};
use super::health::Health;
use super::pacer::Pacer;
use super::{Call, Cause, ProviderConfig, Reply, RpcError};

/// One provider with one key.
pub struct Endpoint {
    name: String,
    url: SecretString,
    key: Option<SecretString>,
    client: Client,
    pacer: Pacer,
    health: Mutex<Health>,
    takes_batches: AtomicBool,
    has_block_receipts: AtomicBool,
    has_finalized_tag: AtomicBool,
    requests: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What the API shows of an endpoint.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EndpointStatus {
    /// Provider, and the position of its key.
    pub name: String,
    /// Calls made since the start.
    pub requests: u64,
    /// Whether it is left alone at the moment.
    pub is_resting: bool,
    /// Smoothed milliseconds of an answer.
    pub latency_ms: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

impl Endpoint {
    /// An endpoint; `key` replaces `{key}` in the URL.
    pub fn new(
        config: &ProviderConfig,
        name: String,
        key: Option<SecretString>,
        client: Client,
    ) -> Endpoint {
        let url = match &key {
            Some(key) => config.url.replace("{key}", key.expose_secret()),
            None => config.url.clone(),
        };
        Endpoint {
            name,
            url: SecretString::from(url),
            key,
            client,
            pacer: Pacer::new(config.limits),
            health: Mutex::default(),
            takes_batches: AtomicBool::new(true),
            has_block_receipts: AtomicBool::new(true),
            has_finalized_tag: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Provider, and the position of its key.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether batches work there, as far as is known.
    pub fn takes_batches(&self) -> bool {
        self.takes_batches.load(Ordering::Relaxed)
    }

    /// Whether `eth_getBlockReceipts` works there, as far as is known.
    pub fn has_block_receipts(&self) -> bool {
        self.has_block_receipts.load(Ordering::Relaxed)
    }

    /// Remembers that `eth_getBlockReceipts` is missing.
    pub fn lacks_block_receipts(&self) {
        if self.has_block_receipts.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.name, "has no eth_getBlockReceipts: single receipts");
        }
    }

    /// Whether the `finalized` tag works there, as far as is known.
    pub fn has_finalized_tag(&self) -> bool {
        self.has_finalized_tag.load(Ordering::Relaxed)
    }

    /// Remembers that the `finalized` tag is not known.
    pub fn lacks_finalized_tag(&self) {
        if self.has_finalized_tag.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.name, "knows no finalized tag");
        }
    }

    /// Remembers that batches do not work.
    pub fn lacks_batches(&self) {
        if self.takes_batches.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.name, "takes no batches: single requests");
        }
    }

    /// What the API shows.
    pub fn status(&self) -> EndpointStatus {
        let health = self.health();
        EndpointStatus {
            name: self.name.clone(),
            requests: self.requests.load(Ordering::Relaxed),
            is_resting: health.is_resting(clock::now()),
            latency_ms: (health.latency_secs * 1_000.0) as u64,
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// A failure of this endpoint; text that repeats the key is cleaned (INV-9).
    pub fn error(&self, method: &'static str, cause: Cause, reason: &str) -> RpcError {
        let mut reason = reason.to_owned();
        if let Some(key) = &self.key {
            reason = reason.replace(key.expose_secret(), "***");
        }
        reason = reason.replace(self.url.expose_secret(), "<url>");
        RpcError { provider: self.name.clone(), method, cause, reason }
    }

    /// Remembers a failure, so that others are asked first for a while; whether it is another
    /// than the last.
    pub fn failed(&self, error: &RpcError) -> bool {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed(&error.cause, clock::now());
        let text = error.to_string();
        metrics::rpc_failure(&self.name, error.method, error.cause.as_str());
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref() != Some(&text);
        *last = Some(text);
        is_new
    }

    /// Sends a body that holds `calls` and gives back the answer's bytes.
    async fn post(&self, calls: &[Call], body: String) -> Result<Bytes, RpcError> {
        let method = calls.first().map_or("none", |call| call.method);
        if let Err(rest) = self.pacer.spend(calls.len(), clock::unix_seconds()) {
            let reason = format!("the configured quota of the day ends in {} s", rest.as_secs());
            return Err(self.error(method, Cause::QuotaSpent, &reason));
        }
        self.pacer.wait(calls.len()).await;
        let started = clock::now();
        self.requests.fetch_add(calls.len() as u64, Ordering::Relaxed);
        for call in calls {
            metrics::rpc_request(&self.name, call.method);
        }
        let unavailable = |error: reqwest::Error| {
            let error = error.without_url();
            let mut reason = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(deeper) = source {
                reason = format!("{reason}: {deeper}");
                source = deeper.source();
            }
            self.error(method, Cause::Unavailable, &reason)
        };
        let response = self
            .client
            .post(self.url.expose_secret())
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(unavailable)?;
        let status = response.status();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| Some(Duration::from_secs(value.to_str().ok()?.trim().parse().ok()?)));
        let bytes = response.bytes().await.map_err(unavailable)?;
        if let Some(cause) = classify_status(status.as_u16(), after) {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            return Err(self.error(method, cause, &format!("HTTP {status}: {text}")));
        }
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.succeeded(started.elapsed());
        drop(health);
        metrics::rpc_seconds(&self.name, started.elapsed());
        Ok(bytes)
    }

    /// Makes one call.
    pub async fn single<T>(&self, call: &Call) -> Result<Option<T>, RpcError>
    where
        T: serde::de::DeserializeOwned,
    {
        let body = self.single_raw(call).await?;
        let reply = super::parse_single(self.text(call.method, &body)?);
        self.take(call.method, reply.map_err(|error| self.malformed(call.method, &error))?)
    }

    /// Makes one call and gives back the answer's bytes.
    pub async fn single_raw(&self, call: &Call) -> Result<Bytes, RpcError> {
        self.post(std::slice::from_ref(call), call.single_body()).await
    }

    /// Makes calls in one HTTP request and gives back the answer's bytes.
    pub async fn batch_raw(&self, calls: &[Call]) -> Result<Bytes, RpcError> {
        self.post(calls, Call::batch_body(calls)).await
    }

    /// The answer as text.
    pub fn text<'a>(&self, method: &'static str, body: &'a Bytes) -> Result<&'a str, RpcError> {
        let text = std::str::from_utf8(body);
        text.map_err(|error| self.error(method, Cause::Malformed, &error.to_string()))
    }

    /// The error for an answer that is not of the expected shape.
    pub fn malformed(&self, method: &'static str, error: &serde_json::Error) -> RpcError {
        self.error(method, Cause::Malformed, &error.to_string())
    }

    /// What an answer holds.
    pub fn take<T>(&self, method: &'static str, reply: Reply<T>) -> Result<Option<T>, RpcError> {
        match reply.error {
            Some(error) => Err(self.refused(method, &error)),
            None => Ok(reply.result),
        }
    }

    fn refused(&self, method: &'static str, error: &ErrorObject) -> RpcError {
        let reason = format!("{} ({})", error.message, error.code);
        self.error(method, classify(error), &reason)
    }

    /// Answers of a batch by the positions of its calls.
    pub fn sort<T>(
        &self,
        calls: &[Call],
        reply: BatchReply<T>,
    ) -> Result<Vec<Result<Option<T>, RpcError>>, RpcError> {
        let method = calls.first().map_or("none", |call| call.method);
        let replies = match reply {
            BatchReply::Many(replies) => replies,
            BatchReply::One(reply) => {
                let mut error = match reply.error {
                    Some(error) => self.refused(method, &error),
                    None => self.error(method, Cause::BatchRefused, "one answer for a batch"),
                };
                if matches!(error.cause, Cause::Other | Cause::MethodMissing | Cause::InvalidParams)
                {
                    error.cause = Cause::BatchRefused;
                }
                return Err(error);
            }
        };
        let mut sorted: Vec<Option<Result<Option<T>, RpcError>>> =
            calls.iter().map(|_| None).collect();
        for reply in replies {
            let at = reply.id.and_then(|id| usize::try_from(id).ok());
            let Some((call, place)) = at.and_then(|at| calls.get(at).zip(sorted.get_mut(at)))
            else {
                // An error without an id is about the whole batch.
                let error = reply.error.unwrap_or(ErrorObject {
                    code: 0,
                    message: "an answer has no matching id".to_owned(),
                });
                return Err(self.refused(method, &error));
            };
            *place = Some(self.take(call.method, reply));
        }
        let missing =
            || Err(self.error(method, Cause::Malformed, "an answer of the batch is missing"));
        Ok(sorted.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }
}
