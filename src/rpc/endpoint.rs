//! One provider with one key: HTTP requests at its pace, with its faults remembered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_storage::foreign::REASON_CHARS_MAX;
use headwater_storage::model::ChainName;
use headwater_storage::store::error_text;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};

use crate::clock;
use crate::secrets::Redactor;
use crate::telemetry::metrics;

use super::capabilities::Capabilities;
use super::heads::NamedHead;
use super::key::{Key, MeterStatus, Outcome, SpendError};
use super::router::{Facts, Health};
use super::subscribe::Announcer;
use super::{Call, Cause, ProviderConfig, RpcError, Wanted, parse_single};

/// How long a key rests at most whose provider calls it spent while we do not.
const SPENT_LOOK: Duration = Duration::from_hours(1);

/// How long a head is not believed of who named one that nobody had.
const DOUBT: Duration = Duration::from_mins(1);

/// Blocks that a provider may be behind without being asked last.
const BEHIND_MAX: u64 = 2;

/// One provider with one key.
pub struct Endpoint {
    name: String,
    provider: String,
    /// `{key}` stands for the key.
    url: String,
    ws_url: Option<String>,
    key: Arc<Key>,
    client: Client,
    answer_bytes_max: usize,
    health: Mutex<Health>,
    pub(super) can: Arc<Capabilities>,
    requests: AtomicU64,
    /// Blocks that its head was behind ours when it was asked last.
    behind: AtomicU64,
    last_error: Mutex<Option<(Instant, String)>>,
    mended: Mutex<BTreeSet<&'static str>>,
    pub(super) named: Mutex<NamedHead>,
    doubted_until: Mutex<Option<Instant>>,
}

/// What the API shows of an endpoint.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EndpointStatus {
    /// Provider, and the name of its key.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// The key's reference, or chain and provider where there is none.
    pub key: String,
    /// What the key was used for, with that of all chains.
    #[serde(flatten)]
    pub use_of_key: MeterStatus,
    /// Workers that use it now, of all chains.
    pub workers: usize,
    /// Workers that may.
    pub workers_max: usize,
    /// Calls made since the start.
    pub requests: u64,
    /// Whether several calls go there in one request, as far as is known.
    pub takes_batches: bool,
    /// How many at most, as far as is known.
    pub batch_max: usize,
    /// Whether `eth_getBlockReceipts` works there, as far as is known.
    pub has_block_receipts: bool,
    /// Whether the `finalized` tag works there, as far as is known.
    pub has_finalized_tag: bool,
    /// The method by which it gives traces, as far as is known.
    pub trace_method: Option<&'static str>,
    /// Blocks that its head was behind ours when it was asked last.
    pub blocks_behind: u64,
    /// The head that it named last.
    pub head: Option<u64>,
    /// What cannot be right about that head, so that it is not followed.
    pub head_problem: Option<String>,
    /// Whether it is left alone at the moment.
    pub is_resting: bool,
    /// Smoothed milliseconds of an answer.
    pub latency_ms: u64,
    /// The last failure.
    pub last_error: Option<String>,
    /// Fields that it gave wrong and that were put right, because they follow from what is proved.
    pub mended_fields: Vec<&'static str>,
}

impl Endpoint {
    /// An endpoint; the key's value replaces `{key}` in the URL, when it is asked.
    pub(super) fn new(
        config: &ProviderConfig,
        name: String,
        key: Arc<Key>,
        can: Arc<Capabilities>,
        client: Client,
    ) -> Endpoint {
        Endpoint {
            name,
            provider: config.name.clone(),
            url: config.url.clone(),
            ws_url: config.ws_url.clone(),
            behind: AtomicU64::new(0),
            key,
            client,
            answer_bytes_max: config.answer_bytes_max,
            health: Mutex::default(),
            can,
            requests: AtomicU64::new(0),
            last_error: Mutex::default(),
            mended: Mutex::default(),
            named: Mutex::default(),
            doubted_until: Mutex::default(),
        }
    }

    /// Provider, and the name of its key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The provider.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Its key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    fn with_key(&self, url: &str) -> SecretString {
        match self.key.secret() {
            Some(secret) => SecretString::from(url.replace("{key}", secret.expose_secret())),
            None => SecretString::from(url.to_owned()),
        }
    }

    /// Where it announces new heads.
    pub(super) fn announcer(&self) -> Option<Announcer> {
        let url = self.with_key(self.ws_url.as_deref()?);
        let redactor = self.redactor();
        Some(Announcer { name: self.name.clone(), url, key: self.key.clone(), redactor })
    }

    /// Whether it announces new heads; `None` where it has no `ws_url`.
    pub async fn announces(&self) -> Option<Result<(), String>> {
        Some(self.announcer()?.check().await)
    }

    /// It named a head that nobody has: for a while others are believed before.
    pub fn doubt(&self) {
        let until = clock::now() + DOUBT;
        *self.doubted_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Whether it named a head that nobody had, lately.
    pub fn is_doubted(&self) -> bool {
        let until = *self.doubted_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > clock::now())
    }

    /// Remembers how far its head is behind ours.
    pub fn has_head(&self, number: u64, ours: u64) {
        self.behind.store(ours.saturating_sub(number), Ordering::Relaxed);
    }

    /// How long an answer takes, lately.
    pub fn usual_time(&self) -> Duration {
        Duration::from_secs_f64(self.health().latency_secs)
    }

    /// What the router goes by, for something that is wanted; what it has not, it does not give.
    pub(super) fn facts(&self, chain: &ChainName, wanted: Wanted) -> Facts {
        let health = self.health();
        let found = wanted.methods(self);
        let methods = || found.into_iter().flatten().copied();
        let (times_claimed, times_claimed_before) = self.key.times_claimed(chain, methods());
        Facts {
            is_resting: health.is_resting(clock::now()) || found.is_none(),
            failures: health.failures,
            is_behind: self.behind.load(Ordering::Relaxed) > BEHIND_MAX,
            latency_secs: health.latency_secs,
            free: self.key.gate().free(),
            inside: self.key.gate().inside(),
            cost: self.key.price(methods()),
            times_left: self.key.times_left(methods()),
            times_claimed,
            times_claimed_before,
            is_awaited: self.key.is_awaited(),
            part_left: self.key.part_left(),
        }
    }

    fn mended(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.mended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fields of a block that it gave had to be put right.
    pub fn has_mended(&self, fields: impl Iterator<Item = &'static str>) {
        for field in fields {
            metrics::mended(&self.name, field);
            if self.mended().insert(field) {
                tracing::warn!(
                    provider = self.name,
                    field,
                    "gives a field that does not follow from what is proved: it is put right"
                );
            }
        }
    }

    /// Calls made since the start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether batches work there, as far as is known.
    pub fn takes_batches(&self) -> bool {
        self.batch_max() > 1
    }

    /// Calls that go there in one request at most, as far as is known.
    pub fn batch_max(&self) -> usize {
        self.can.batch_max()
    }

    /// Whether `eth_getBlockReceipts` works there, as far as is known.
    pub fn has_block_receipts(&self) -> bool {
        self.can.block_receipts()
    }

    /// The method by which it gives traces, as far as is known, as a list.
    pub(super) fn trace_methods(&self) -> Option<&'static [&'static str]> {
        self.can.traces()
    }

    /// The method by which it gives traces, as far as is known; `None`: it has none.
    pub fn trace_method(&self) -> Option<&'static str> {
        self.can.traces()?.first().copied()
    }

    /// Remembers that it gives no traces by a method.
    pub fn lacks_trace_method(&self, method: &'static str) {
        self.can.lacks_trace_method(method);
    }

    /// Whether the `finalized` tag works there, as far as is known.
    pub fn has_finalized_tag(&self) -> bool {
        self.can.finalized_tag()
    }

    /// Remembers that `eth_getBlockReceipts` is missing.
    pub fn lacks_block_receipts(&self) {
        self.can.lacks_block_receipts();
    }

    /// Remembers that the `finalized` tag is not known.
    pub fn lacks_finalized_tag(&self) {
        self.can.lacks_finalized_tag();
    }

    /// Remembers that a batch of so many calls was refused.
    pub fn batch_refused(&self, calls: usize) {
        self.can.batch_refused(calls);
    }

    /// What the API shows.
    pub fn status(&self) -> EndpointStatus {
        let health = self.health();
        let named = *self.named.lock().unwrap_or_else(PoisonError::into_inner);
        EndpointStatus {
            name: self.name.clone(),
            provider: self.provider.clone(),
            key: self.key.name().to_owned(),
            use_of_key: self.key.status(),
            workers: self.key.gate().inside(),
            workers_max: self.key.gate().limit(),
            requests: self.requests.load(Ordering::Relaxed),
            takes_batches: self.takes_batches(),
            batch_max: self.batch_max(),
            has_block_receipts: self.has_block_receipts(),
            has_finalized_tag: self.has_finalized_tag(),
            trace_method: self.trace_method(),
            blocks_behind: self.behind.load(Ordering::Relaxed),
            head: named.last,
            head_problem: named.fault.map(|fault| fault.to_string()),
            is_resting: health.is_resting(clock::now()),
            latency_ms: (health.latency_secs * 1_000.0) as u64,
            last_error: self.last_failure().map(|(_, error)| error),
            mended_fields: self.mended().iter().copied().collect(),
        }
    }

    /// A failure of this endpoint; text that repeats the key is cleaned (INV-9), and bounded.
    pub fn error(&self, method: &'static str, cause: Cause, reason: &str) -> RpcError {
        let reason = self.redactor().excerpt(reason, REASON_CHARS_MAX);
        RpcError { provider: self.name.clone(), method, cause, reason }
    }

    /// What takes its secrets out of a text (INV-9); a key of a vault may be another tomorrow.
    pub(super) fn redactor(&self) -> Redactor {
        let urls = std::iter::once(&self.url).chain(&self.ws_url);
        let redactor = urls.fold(Redactor::default(), |redactor, url| {
            redactor.with_url(self.with_key(url).expose_secret())
        });
        match self.key.secret() {
            Some(key) => redactor.with_key(key.expose_secret()),
            None => redactor,
        }
    }

    /// Where it is asked, with the key.
    pub(super) fn full_url(&self) -> SecretString {
        self.with_key(&self.url)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Bytes that one answer may have.
    pub(super) fn answer_bytes_max(&self) -> usize {
        self.answer_bytes_max
    }

    /// The last failure, and when it was.
    pub(super) fn last_failure(&self) -> Option<(Instant, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a failure that is of one block only: it is asked for everything else as before.
    /// Whether it is another than the last.
    pub fn failed_once(&self, error: &RpcError) -> bool {
        let text = error.to_string();
        metrics::rpc_failure(&self.name, error.method, error.cause.as_str());
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref().is_none_or(|(_, last)| *last != text);
        *last = Some((clock::now(), text));
        is_new
    }

    /// Remembers a failure, so that others are asked first for a while; whether it is another
    /// than the last.
    pub fn failed(&self, error: &RpcError) -> bool {
        let mut cause = error.cause.clone();
        // It says so itself: until the reset that we know of, looked at every hour.
        if cause == (Cause::QuotaSpent { until: None }) && self.key.quota().is_some() {
            let until = Duration::from_secs(self.key.resets_in()).min(SPENT_LOOK);
            cause = Cause::QuotaSpent { until: Some(until) };
        }
        self.health.lock().unwrap_or_else(PoisonError::into_inner).failed(&cause, clock::now());
        if matches!(error.cause, Cause::Throttled { .. }) {
            self.key.gate().throttled();
        }
        if error.cause == Cause::Refused {
            self.key.refused();
        }
        self.failed_once(error)
    }

    /// Sends a body that holds `calls` and gives back the answer's bytes.
    async fn post(&self, calls: &[Call], body: String) -> Result<Bytes, RpcError> {
        let spent = self.spend(calls).await?;
        let started = clock::now();
        self.requests.fetch_add(calls.len() as u64, Ordering::Relaxed);
        for call in calls {
            metrics::rpc_request(&self.name, call.method);
        }
        let result = self.exchange(calls, body, spent).await;
        let outcome = match &result {
            Ok(_) => {
                let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
                health.succeeded(started.elapsed());
                drop(health);
                self.key.gate().succeeded();
                metrics::rpc_seconds(&self.name, started.elapsed());
                Outcome::Answered
            }
            Err(error) => Outcome::Failed(error.cause.as_str()),
        };
        for call in calls {
            self.key.count(call.method, outcome);
        }
        result
    }

    /// Counts calls before they are made, and waits for their pace.
    async fn spend(&self, calls: &[Call]) -> Result<u64, RpcError> {
        let spent = self.key.spend(calls.iter().map(|call| call.method)).await;
        spent.map_err(|error| {
            let cause = match &error {
                SpendError::Spent { rest } => Cause::QuotaSpent { until: Some(*rest) },
                SpendError::Ledger(_) => Cause::Other,
            };
            let method = calls.first().map_or("none", |call| call.method);
            self.error(method, cause, &error_text(&error))
        })
    }

    /// Makes one call.
    pub async fn single<T>(&self, call: &Call) -> Result<Option<T>, RpcError>
    where
        T: serde::de::DeserializeOwned,
    {
        let body = self.single_raw(call).await?;
        let reply = parse_single(self.text(call.method, &body)?);
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
}
