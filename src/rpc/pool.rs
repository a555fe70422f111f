//! A chain's endpoints, asked in the order that the router gives.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Jitter, Quota, RateLimiter};
use headwater_storage::model::ChainName;
use tokio::sync::Notify;

use crate::secrets;

use super::capabilities::Capabilities;
use super::connect::{check_url, client};
use super::key::{Keyring, KeyringError, Pass};
use super::router::{Choice, Facts, Needs, choose, may_hedge, split};
use super::{
    Call, Cause, Endpoint, EndpointStatus, ProviderConfig, Purpose, RpcError, Subscription, Wanted,
};

/// Second and later attempts a second, of a whole chain (INV-10).
const RETRIES_PER_SECOND: u32 = 20;
const RETRY_JITTER: Duration = Duration::from_millis(50);
/// How long is waited for a place before the endpoints are looked at again: rests end meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A chain's endpoints.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    chain: ChainName,
    endpoints: Vec<Arc<Endpoint>>,
    freed: Arc<Notify>,
    retries: DefaultDirectRateLimiter,
    /// Time between blocks, once a head is followed.
    block_time: Mutex<Option<Duration>>,
}

/// The endpoints that can be asked for one thing, one after the other.
pub struct Turn<'a> {
    pool: &'a Pool,
    purpose: Purpose,
    wanted: Wanted,
    tried: Vec<usize>,
    was_kept: bool,
}

/// However little is left, the head is asked for once in so long.
const POLL_MIN_MAX: Duration = Duration::from_secs(15);

/// An endpoint, and the right to use its key while this lives.
pub struct Asked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    _pass: Pass,
}

/// Who gives a block.
pub enum Place {
    /// One gives all of it.
    Whole(Asked),
    /// One gives the block, another its receipts.
    Parts([Asked; 2]),
}

/// Why a pool cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A key cannot be had.
    #[error("provider `{provider}` of chain `{chain}`")]
    Key {
        /// The chain.
        chain: ChainName,
        /// The provider.
        provider: String,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// The URL is no URL, or lacks its key.
    #[error("provider `{provider}` of chain `{chain}`: {reason}")]
    Url {
        /// The chain.
        chain: ChainName,
        /// The provider.
        provider: String,
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Pool {
    /// A pool of a chain's providers, one endpoint per key.
    pub fn new(
        chain: &ChainName,
        providers: &[ProviderConfig],
        keyring: &Keyring,
    ) -> Result<Pool, PoolError> {
        let mut endpoints = Vec::new();
        for provider in providers {
            check_url(chain, provider)?;
            let client = client(provider).map_err(PoolError::Client)?;
            let failed = |source| PoolError::Key {
                chain: chain.clone(),
                provider: provider.name.clone(),
                source,
            };
            let can = Arc::new(Capabilities::new(&provider.name, provider.preset));
            let mut add = |reference: Option<&str>, name: String| {
                let key = keyring.key(chain, provider, reference).map_err(failed)?;
                let endpoint = Endpoint::new(provider, name, key, can.clone(), client.clone());
                endpoints.push(Arc::new(endpoint));
                Ok(())
            };
            if provider.keys.is_empty() {
                add(None, provider.name.clone())?;
            }
            for reference in provider.keys.iter().flat_map(|text| secrets::expand(text)) {
                let name = format!("{}/{}", provider.name, secrets::label(&reference));
                add(Some(&reference), name)?;
            }
        }
        let retries = NonZeroU32::new(RETRIES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let inner = Inner {
            chain: chain.clone(),
            endpoints,
            freed: keyring.freed(),
            retries: RateLimiter::direct(Quota::per_second(retries)),
            block_time: Mutex::default(),
        };
        Ok(Pool { inner: Arc::new(inner) })
    }

    /// The chain.
    pub fn chain(&self) -> &ChainName {
        &self.inner.chain
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.inner.endpoints
    }

    /// What the API shows.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.inner.endpoints.iter().map(|endpoint| endpoint.status()).collect()
    }

    /// Calls made since the start.
    pub fn requests(&self) -> u64 {
        self.inner.endpoints.iter().map(|endpoint| endpoint.requests()).sum()
    }

    /// The subscription to new heads, at the providers that have a `ws_url`.
    pub fn subscription(&self) -> Subscription {
        let announcers = self.inner.endpoints.iter().filter_map(|e| e.announcer()).collect();
        Subscription::new(self.inner.chain.clone(), announcers)
    }

    /// A head is followed: what it needs at this time between blocks is kept for it.
    pub fn follow(&self, block_time: Duration) {
        let mut known = self.inner.block_time.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(block_time);
        // Others that use the same keys leave it to us, where no provider is without a quota.
        let metered = self.inner.endpoints.iter().filter(|e| e.key().quota().is_some());
        let (count, all) = (metered.clone().count(), self.inner.endpoints.len());
        for endpoint in metered {
            let methods = Wanted::Block.methods(endpoint).into_iter().flatten().copied();
            let units = endpoint.key().costs().of_calls(methods).quota as f64;
            let share = units / block_time.as_secs_f64().max(0.05) / count as f64;
            endpoint.key().claim(&self.inner.chain, if count == all { share } else { 0.0 });
        }
    }

    /// Time between blocks, once a head is followed.
    pub fn block_time(&self) -> Option<Duration> {
        *self.inner.block_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs(&self) -> Needs {
        let known = *self.inner.block_time.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.inner.endpoints.iter().map(|endpoint| endpoint.key());
        let reset = keys.filter(|key| key.quota().is_some()).map(|key| key.resets_in()).max();
        let seconds = |time: Duration| time.as_secs_f64().max(0.05);
        Needs {
            is_following: known.is_some(),
            blocks: known.zip(reset).map_or(0.0, |(time, reset)| reset as f64 / seconds(time)),
        }
    }

    /// How long to wait between questions of one kind, so that what is left beside the blocks that
    /// are due lasts until the quotas reset.
    pub fn poll_min(&self, question: Wanted) -> Duration {
        let endpoints = &self.inner.endpoints;
        let times = |wanted| {
            let left = endpoints.iter().map(|e| e.facts(self.chain(), wanted).times_left);
            left.sum::<f64>()
        };
        let (questions, blocks) = (times(question), times(Wanted::Block));
        let keys = endpoints.iter().map(|endpoint| endpoint.key());
        let reset = keys.filter(|key| key.quota().is_some()).map(|key| key.resets_in()).max();
        let Some(reset) = reset.filter(|_| questions.is_finite()) else { return Duration::ZERO };
        // Half of what is not for blocks may go for questions.
        let spare = questions * (1.0 - self.needs().blocks / blocks.max(1.0)) / 2.0;
        Duration::from_secs_f64((reset as f64 / spare.max(1.0)).min(POLL_MIN_MAX.as_secs_f64()))
    }

    /// Those who can be asked for something.
    pub fn turn(&self, purpose: Purpose, wanted: Wanted) -> Turn<'_> {
        Turn { pool: self, purpose, wanted, tried: Vec::new(), was_kept: false }
    }

    /// Asks one endpoint after the other until one answers.
    pub async fn ask<T>(&self, call: &Call) -> Result<Option<T>, RpcError>
    where
        T: serde::de::DeserializeOwned,
    {
        let mut turn = self.turn(Purpose::Head, Wanted::Calls(call.methods()));
        let mut last = None;
        while let Some(asked) = turn.next().await {
            match asked.endpoint.single(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    asked.endpoint.failed(&error);
                    turn.failed(&error);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| turn.nobody()))
    }

    /// The error when nobody could be asked, or gave anything: the last failure of a provider, in
    /// its words.
    pub fn nobody(&self, method: &'static str) -> RpcError {
        self.nobody_for(method, |endpoint| endpoint.key().times_left(std::iter::once(method)))
    }

    fn nobody_for(&self, method: &'static str, times_left: impl Fn(&Endpoint) -> f64) -> RpcError {
        let endpoints = &self.inner.endpoints;
        let last = endpoints.iter().filter_map(|e| e.last_failure()).max_by_key(|(at, _)| *at);
        let reason = match last {
            _ if endpoints.iter().all(|endpoint| times_left(endpoint) < 1.0) => {
                "no provider has quota left".to_owned()
            }
            Some((_, error)) => format!("every provider rests; the last error was: {error}"),
            None => "every provider answers `null`".to_owned(),
        };
        RpcError { provider: self.inner.chain.to_string(), method, cause: Cause::Resting, reason }
    }
}

impl Turn<'_> {
    /// The next to ask; waits for a place where all are in use. `None`: nobody is left.
    pub async fn next(&mut self) -> Option<Asked> {
        self.wait_for(|turn| turn.look(None)).await
    }

    /// The same, for a block of which history may take the receipts from another.
    pub async fn place(&mut self) -> Option<Place> {
        let find = |turn: &mut Turn<'_>| match turn.split() {
            Some(parts) => Ok(Place::Parts(parts)),
            None => turn.look(None).map(Place::Whole),
        };
        self.wait_for(find).await
    }

    async fn wait_for<T>(&mut self, find: impl Fn(&mut Self) -> Result<T, Choice>) -> Option<T> {
        if !self.tried.is_empty() {
            let jitter = Jitter::up_to(RETRY_JITTER);
            self.pool.inner.retries.until_ready_with_jitter(jitter).await;
        }
        let _waiting = (self.purpose == Purpose::Head).then(|| Waiting::new(&self.pool.inner));
        loop {
            let mut freed = std::pin::pin!(self.pool.inner.freed.notified());
            freed.as_mut().enable();
            match find(self) {
                Ok(found) => return Some(found),
                Err(Choice::Wait | Choice::Ask(_)) => {}
                Err(choice @ (Choice::Nobody | Choice::Kept)) => {
                    self.was_kept = choice == Choice::Kept;
                    return None;
                }
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Another one beside those that were asked already, if that costs nobody's quota.
    pub fn hedge(&mut self) -> Option<Asked> {
        let needs = self.pool.needs();
        match self.purpose {
            Purpose::Head => self.look(Some(needs)).ok(),
            // It is in no hurry.
            Purpose::History => None,
        }
    }

    /// One for the block and another for its receipts, where history gets them cheaper so.
    fn split(&self) -> Option<[Asked; 2]> {
        let endpoints = &self.pool.inner.endpoints;
        let is_first = self.tried.is_empty() && self.wanted == Wanted::Block;
        if self.purpose == Purpose::Head || endpoints.len() < 2 || !is_first {
            return None;
        }
        let facts = |wanted| -> Vec<Facts> {
            endpoints.iter().map(|endpoint| endpoint.facts(self.pool.chain(), wanted)).collect()
        };
        let [whole, body, receipts] = [Wanted::Block, Wanted::Body, Wanted::Receipts].map(facts);
        let [body, receipts] = split(self.pool.needs(), &whole, &body, &receipts)?;
        let enter = |at: usize| {
            let endpoint = endpoints.get(at)?.clone();
            Some(Asked { _pass: endpoint.key().enter()?, endpoint })
        };
        let receipts = enter(receipts).filter(|asked| asked.endpoint.has_block_receipts())?;
        Some([enter(body)?, receipts])
    }

    /// Something else is wanted from now on.
    pub fn wants(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// Takes a place at the best of those that were not asked yet.
    fn look(&mut self, hedging: Option<Needs>) -> Result<Asked, Choice> {
        let endpoints = &self.pool.inner.endpoints;
        let facts = |at: usize, endpoint: &Endpoint| {
            let facts = endpoint.facts(self.pool.chain(), self.wanted);
            let is_out =
                self.tried.contains(&at) || hedging.is_some_and(|needs| !may_hedge(&facts, needs));
            Facts { is_resting: facts.is_resting || is_out, ..facts }
        };
        let facts: Vec<Facts> =
            endpoints.iter().enumerate().map(|(at, endpoint)| facts(at, endpoint)).collect();
        let choice = choose(self.purpose, self.pool.needs(), &facts);
        let Choice::Ask(at) = choice else { return Err(choice) };
        let endpoint = endpoints.get(at).ok_or(Choice::Nobody)?;
        let pass = endpoint.key().enter().ok_or(Choice::Wait)?;
        self.tried.push(at);
        Ok(Asked { endpoint: endpoint.clone(), _pass: pass })
    }

    /// Leaves out the other keys of a provider that has answered.
    pub fn answered(&mut self, provider: &str) {
        let endpoints = self.pool.inner.endpoints.iter().enumerate();
        let same = endpoints.filter(|(_, endpoint)| endpoint.provider() == provider);
        self.tried.extend(same.map(|(at, _)| at));
    }

    /// Leaves out who failed, and its provider's other keys when the failure was not the key's.
    pub fn failed(&mut self, error: &RpcError) {
        let is_of_key = match &error.cause {
            Cause::Throttled { .. }
            | Cause::QuotaSpent { .. }
            | Cause::Refused
            | Cause::Unavailable
            | Cause::Resting
            | Cause::Malformed
            | Cause::Other => true,
            Cause::MethodMissing
            | Cause::InvalidParams
            | Cause::BatchRefused
            | Cause::RangeTooWide { .. }
            | Cause::TooBig
            | Cause::BlockMissing
            | Cause::Pruned
            | Cause::Moved
            | Cause::Wrong => false,
        };
        let mut endpoints = self.pool.inner.endpoints.iter();
        let failed = endpoints.position(|endpoint| endpoint.name() == error.provider);
        self.tried.extend(failed);
        let endpoint = failed.and_then(|at| self.pool.inner.endpoints.get(at));
        if let Some(endpoint) = endpoint.filter(|_| !is_of_key) {
            self.answered(endpoint.provider());
        }
    }

    /// The error when nobody could be asked.
    pub fn nobody(&self) -> RpcError {
        let (chain, wanted) = (self.pool.chain(), self.wanted);
        let times_left = |endpoint: &Endpoint| endpoint.facts(chain, wanted).times_left;
        let mut error = self.pool.nobody_for(wanted.name(), times_left);
        if self.was_kept {
            let whose = match self.purpose {
                Purpose::Head => "heads of other chains, which need less",
                Purpose::History => "the head",
            };
            error.reason = format!("what is left of the quotas is kept for {whose}");
        }
        error
    }
}

/// A request for the head that waits.
struct Waiting<'a>(&'a Inner);

impl Waiting<'_> {
    fn new(inner: &Inner) -> Waiting<'_> {
        inner.endpoints.iter().for_each(|endpoint| endpoint.key().await_place());
        Waiting(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.endpoints.iter().for_each(|endpoint| endpoint.key().has_place());
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Limits;
    use crate::rpc::key::Window;
    use crate::secrets::Secrets;

    #[tokio::test]
    async fn the_heads_of_all_chains_that_share_a_key_go_before_their_histories() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "k1").unwrap();
        let limits = Limits { per_day: Some(400), day: Window::RollingDay, ..Limits::default() };
        let provider = ProviderConfig {
            keys: vec![format!("file:{}", file.display())],
            limits,
            ..ProviderConfig::plain("p", "http://127.0.0.1:1/{key}")
        };
        let keyring = Keyring::new(None, Secrets::default());
        let pool = |name: &str| {
            Pool::new(&name.parse().unwrap(), std::slice::from_ref(&provider), &keyring).unwrap()
        };
        let (old, new) = (pool("old"), pool("new"));
        let ask = |pool: &Pool, purpose| pool.turn(purpose, Wanted::Block).look(None).map(drop);
        assert_eq!(ask(&old, Purpose::History), Ok(()));

        // A place that a head of another chain waits for is not for history.
        let held = old.turn(Purpose::Head, Wanted::Block).look(None).ok().unwrap();
        let mut turn = new.turn(Purpose::Head, Wanted::Block);
        let mut waits = std::pin::pin!(turn.next());
        assert!(futures::poll!(waits.as_mut()).is_pending());
        drop(held);
        assert_eq!(ask(&old, Purpose::History), Err(Choice::Wait));
        drop(waits.await.unwrap());
        assert_eq!(ask(&old, Purpose::History), Ok(()));

        // Two calls a second until the quota is whole again are more than it has.
        new.follow(Duration::from_secs(1));
        assert_eq!(ask(&old, Purpose::History), Err(Choice::Kept));
        assert_eq!(ask(&old, Purpose::Head), Ok(()));
        new.follow(Duration::from_secs(100_000));
        assert_eq!(ask(&old, Purpose::History), Ok(()));

        // A head every second takes nothing of what one every 1,000 s needs for a day.
        old.follow(Duration::from_secs(1));
        new.follow(Duration::from_secs(1_000));
        assert_eq!(ask(&old, Purpose::Head), Ok(()));
        let calls = std::iter::repeat_n("eth_blockNumber", 230);
        old.endpoints()[0].key().spend(calls).await.unwrap();
        assert_eq!(ask(&old, Purpose::Head), Err(Choice::Kept));
        assert_eq!(ask(&new, Purpose::Head), Ok(()));
    }
}
