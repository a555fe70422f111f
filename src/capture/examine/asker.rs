//! Calls to one key, timed, and made again where the key was only asked too fast.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock;
use crate::rpc::{Call, Cause, Endpoint, RpcError};

use super::plain;

/// How often one call is made.
const TRIES_MAX: u32 = 4;
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Calls that fail one after the other, in a way that says nothing of the call, before no more are
/// made.
const FAILURES_MAX: u32 = 3;

/// Asks one key; nobody else uses its endpoint meanwhile.
pub(super) struct Asker {
    pub(super) endpoint: Arc<Endpoint>,
    times: Vec<Duration>,
    failures: u32,
    ended: Option<RpcError>,
}

/// One answer of a batch.
#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Value,
}

impl Asker {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Asker {
        Asker { endpoint, times: Vec::new(), failures: 0, ended: None }
    }

    /// Why no more calls are made, where that is so.
    pub(super) fn ended(&self) -> Option<String> {
        self.ended.as_ref().map(|error| plain(&error.to_string()))
    }

    /// The median and the longest time of an answer, in milliseconds.
    pub(super) fn latency(&self) -> Option<(u64, u64)> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some((times.get(times.len() / 2).map(millis)?, times.last().map(millis)?))
    }

    /// The result of a call as JSON text; `None` for `null`.
    pub(super) async fn ask(&mut self, call: &Call) -> Result<Option<Box<RawValue>>, RpcError> {
        let endpoint = self.endpoint.clone();
        let mut tries = 0;
        loop {
            self.may_go_on()?;
            let result = self.timed(endpoint.single(call)).await;
            let Some(pause) = self.note(result.as_ref().err(), &mut tries) else { return result };
            tokio::time::sleep(pause).await;
        }
    }

    /// The same, read; what cannot be read is an error in words, and so is `null`.
    pub(super) async fn read<T>(&mut self, call: &Call) -> Result<T, String>
    where
        T: serde::de::DeserializeOwned,
    {
        match self.ask(call).await {
            Ok(Some(text)) => {
                serde_json::from_str(text.get()).map_err(|error| plain(&error.to_string()))
            }
            Ok(None) => Err("null".to_owned()),
            Err(error) => Err(words(&error)),
        }
    }

    /// The results of calls in one request, in their order; an error in words where one of them
    /// is missing.
    pub(super) async fn batch(&mut self, calls: &[Call]) -> Result<Vec<Box<RawValue>>, String> {
        let endpoint = self.endpoint.clone();
        let mut tries = 0;
        let body = loop {
            self.may_go_on().map_err(|error| words(&error))?;
            let result = self.timed(endpoint.batch_raw(calls)).await;
            match self.note(result.as_ref().err(), &mut tries) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break result.map_err(|error| words(&error))?,
            }
        };
        read_batch(calls.len(), &body)
    }

    fn may_go_on(&self) -> Result<(), RpcError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Waits for an answer; what the key's pace takes before the call goes out is no latency.
    async fn timed<T>(&mut self, ask: impl Future<Output = T>) -> T {
        let endpoint = &self.endpoint;
        let before = endpoint.requests();
        let mut sent: Option<Instant> = None;
        let mut ask = pin!(ask);
        let answer = poll_fn(|context| {
            let polled = ask.as_mut().poll(context);
            if sent.is_none() && endpoint.requests() > before {
                sent = Some(clock::now());
            }
            polled
        });
        let answer = answer.await;
        self.times.extend(sent.map(|sent| sent.elapsed()));
        answer
    }

    /// How long to wait before the same call is made again; `None`: it is not.
    fn note(&mut self, error: Option<&RpcError>, tries: &mut u32) -> Option<Duration> {
        let Some(error) = error else {
            self.failures = 0;
            return None;
        };
        *tries += 1;
        let doubled = Duration::from_millis(500).saturating_mul(1 << (*tries).min(5));
        let pause = match &error.cause {
            Cause::Throttled { after } => {
                self.endpoint.failed(error);
                after.unwrap_or(doubled).min(PAUSE_MAX)
            }
            // It may be a timeout, which takes long enough.
            Cause::Unavailable if *tries < 2 => doubled,
            Cause::QuotaSpent { .. } => {
                self.ended = Some(error.clone());
                return None;
            }
            Cause::Unavailable | Cause::Refused => Duration::ZERO,
            Cause::MethodMissing
            | Cause::InvalidParams
            | Cause::BatchRefused
            | Cause::RangeTooWide { .. }
            | Cause::TooBig
            | Cause::BlockMissing
            | Cause::Pruned
            | Cause::Moved
            | Cause::Malformed
            | Cause::Wrong
            | Cause::Resting
            | Cause::Other => {
                self.failures = 0;
                return None;
            }
        };
        if *tries < TRIES_MAX && !pause.is_zero() {
            return Some(pause);
        }
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.ended = Some(error.clone());
        }
        None
    }
}

/// What a provider said, without who and how it was asked.
pub(super) fn words(error: &RpcError) -> String {
    plain(&format!("{}: {}", error.cause.as_str(), error.reason))
}

fn read_batch(calls: usize, body: &Bytes) -> Result<Vec<Box<RawValue>>, String> {
    let answers: Vec<Answer> = serde_json::from_slice(body).map_err(|_| {
        let start = body.get(..body.len().min(200)).unwrap_or_default();
        format!("no list of answers: {}", plain(&String::from_utf8_lossy(start)))
    })?;
    let mut sorted: Vec<Option<Box<RawValue>>> = (0..calls).map(|_| None).collect();
    let mut refusal = None;
    for answer in answers {
        let id = answer.id.as_u64().or_else(|| answer.id.as_str()?.parse().ok());
        let place = id.and_then(|id| sorted.get_mut(usize::try_from(id).ok()?));
        match (place, answer.result) {
            (Some(place), Some(result)) => *place = Some(result),
            (_, _) if !answer.error.is_null() => refusal = Some(plain(&answer.error.to_string())),
            (_, _) => {}
        }
    }
    let answered = sorted.iter().flatten().count();
    if answered == calls {
        return Ok(sorted.into_iter().flatten().collect());
    }
    let refusal = refusal.unwrap_or_else(|| "the others are missing".to_owned());
    Err(format!("{answered} of {calls} were answered: {refusal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_batch_are_sorted_and_each_must_be_there() {
        let read = |text: &'static str| {
            let answers = read_batch(2, &Bytes::from_static(text.as_bytes()))?;
            Ok::<_, String>(answers.iter().map(|answer| answer.get().to_owned()).collect())
        };
        let whole = r#"[{"id":"1","result":"b"},{"id":0,"result":"a"}]"#;
        assert_eq!(read(whole), Ok::<Vec<_>, _>(vec!["\"a\"".to_owned(), "\"b\"".to_owned()]));
        let half = r#"[{"id":0,"result":1},{"id":1,"error":{"code":-32003}}]"#;
        assert_eq!(read(half), Err("1 of 2 were answered: {\"code\":-32003}".to_owned()));
        let twice = r#"[{"id":0,"result":1},{"id":0,"result":2},{"id":9,"result":3}]"#;
        assert_eq!(read(twice), Err("1 of 2 were answered: the others are missing".to_owned()));
        let error = read("{\"error\":\"no\u{202e} batches\"}").unwrap_err();
        assert_eq!(error, "no list of answers: {\"error\":\"no\\u{202e} batches\"}");
    }
}
