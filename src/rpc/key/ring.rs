//! All keys of the process: the same key behind two chains is one key, with one quota.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use headwater_storage::ledger::{Ledger, LedgerError};
use headwater_storage::model::ChainName;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use crate::clock;
use crate::secrets::{SecretError, Secrets, is_of_vault};
use crate::supervisor::{Shutdown, on_cpu};

use super::super::config::{Limits, ProviderConfig};
use super::lease::Outcome;
use super::meter::Meter;
use super::pacer::Pacer;
use super::{CostTable, Gate, MeterStatus, Pass, Preset, SpendError, Window};

/// How often the ledger is told of what was called, besides leases.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// How often keys of a vault are looked at that are old or were refused.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// How long the ledger remembers what keys were used for.
const KEEP_SECS: u64 = 62 * 86_400;
/// Workers of a key without a name: an own node.
const WORKERS_MAX: usize = 64;

/// One key of a provider, or a provider that needs none.
pub struct Key {
    name: String,
    /// Another one, when the vault has another one.
    secret: RwLock<Option<SecretString>>,
    /// The provider refused it.
    is_refused: AtomicBool,
    terms: Terms,
    costs: CostTable,
    meter: Arc<Meter>,
    pacer: Pacer,
    gate: Arc<Gate>,
    /// Units a second that the heads of chains need of it.
    claims: Mutex<BTreeMap<ChainName, f64>>,
    /// Requests for heads that wait for a place, of all chains.
    heads_waiting: AtomicUsize,
}

/// What was configured of a key: the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    preset: Preset,
    limits: Limits,
    costs: BTreeMap<String, u64>,
    workers: usize,
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It cannot be read.
    #[error("its key cannot be read")]
    Secret(#[from] SecretError),
    /// Its use so far cannot be read.
    #[error("the use of its key cannot be read from the ledger")]
    Ledger(#[from] LedgerError),
    /// Two providers say different things of it.
    #[error(
        "key `{key}` has other limits here than at another provider that uses it: give both the \
         same `preset`, `limits`, `costs` and `workers`"
    )]
    Differs {
        /// The reference.
        key: String,
    },
    /// Two references to one key: each would have the whole quota.
    #[error("`{key}` and `{other}` hold the same key: give the same reference wherever it is used")]
    Same {
        /// The reference.
        key: String,
        /// The other.
        other: String,
    },
    /// There is nothing in it.
    #[error("key `{key}` is empty")]
    Empty {
        /// The reference.
        key: String,
    },
    /// Two quotas.
    #[error("`limits` has both per_day and per_month: give one of them")]
    TwoQuotas,
}

/// All keys of the process.
pub struct Keyring {
    ledger: Option<Arc<Ledger>>,
    secrets: Secrets,
    keys: Mutex<BTreeMap<String, Arc<Key>>>,
    freed: Arc<Notify>,
}

impl Keyring {
    /// Keys whose use is in a ledger; without one it is counted in memory alone.
    pub fn new(ledger: Option<Arc<Ledger>>, secrets: Secrets) -> Arc<Keyring> {
        Arc::new(Keyring { ledger, secrets, keys: Mutex::default(), freed: Arc::default() })
    }

    /// Told when a worker leaves a key.
    pub(in crate::rpc) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    /// The key of a provider that a reference names; without one, the provider itself.
    pub(in crate::rpc) fn key(
        &self,
        chain: &ChainName,
        provider: &ProviderConfig,
        reference: Option<&str>,
    ) -> Result<Arc<Key>, KeyringError> {
        let limits = provider.preset.limits(provider.limits);
        let default = if reference.is_some() { 1 } else { WORKERS_MAX };
        let terms = Terms {
            preset: provider.preset,
            limits,
            costs: provider.costs.clone(),
            workers: provider.workers.map_or(default, std::num::NonZeroUsize::get),
        };
        let name = reference.map_or_else(|| format!("{chain}/{}", provider.name), str::to_owned);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&name) {
            let is_same = key.terms == terms;
            return if is_same {
                Ok(key.clone())
            } else {
                Err(KeyringError::Differs { key: name })
            };
        }
        let (quota, window) = match (limits.per_day, limits.per_month) {
            (Some(_), Some(_)) => return Err(KeyringError::TwoQuotas),
            (None, Some(month)) => (Some(month), Window::Month),
            (day, None) => (day, limits.day),
        };
        let costs = CostTable::new(provider.preset, &provider.costs);
        let secret = reference.map(|text| self.secrets.resolve(text)).transpose()?;
        if let Some(value) = secret.as_ref().map(ExposeSecret::expose_secret) {
            if value.is_empty() {
                return Err(KeyringError::Empty { key: name });
            }
            let is_same = |key: &&Arc<Key>| {
                key.secret().is_some_and(|secret| secret.expose_secret() == value)
            };
            if let Some(other) = keys.values().find(is_same) {
                return Err(KeyringError::Same { key: name, other: other.name.clone() });
            }
        }
        let key = Arc::new(Key {
            secret: RwLock::new(secret),
            is_refused: AtomicBool::new(false),
            meter: Arc::new(Meter::new(name.clone(), &costs, quota, window, self.ledger.clone())?),
            pacer: match &self.ledger {
                Some(_) => Pacer::after_restart(limits.per_second),
                None => Pacer::new(limits.per_second),
            },
            gate: Arc::new(Gate::new(terms.workers, self.freed.clone())),
            name: name.clone(),
            terms,
            costs,
            claims: Mutex::default(),
            heads_waiting: AtomicUsize::new(0),
        });
        keys.insert(name, key.clone());
        Ok(key)
    }

    fn all(&self) -> Vec<Arc<Key>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.values().cloned().collect()
    }

    /// Keeps keys of a vault up to date until shutdown.
    pub async fn renew(self: Arc<Keyring>, mut shutdown: Shutdown) -> Result<(), std::io::Error> {
        while !shutdown.is_requested() {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = shutdown.requested() => return Ok(()),
            }
            for key in self.all() {
                tokio::select! {
                    () = key.renew(&self.secrets) => {}
                    () = shutdown.requested() => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Keeps the ledger up to date until shutdown, then gives back what was leased and not used.
    pub async fn run(self: Arc<Keyring>, mut shutdown: Shutdown) -> Result<(), std::io::Error> {
        if let Some(ledger) = self.ledger.clone() {
            let before = clock::unix_seconds().saturating_sub(KEEP_SECS);
            on_cpu(move || ledger.forget_usage(before)).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "old usage of keys is not forgotten");
            });
        }
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                () = tokio::time::sleep(FLUSH_EVERY) => {}
                () = shutdown.requested() => is_over = true,
            }
            for key in self.all() {
                let stored =
                    on_cpu(move || if is_over { key.meter.settle() } else { key.meter.flush() });
                if let Err(error) = stored.await {
                    tracing::warn!(%error, "usage of a key is not stored");
                }
            }
        }
        Ok(())
    }
}

impl Key {
    /// Its reference, or chain and provider: never its value.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value.
    pub(in crate::rpc) fn secret(&self) -> Option<SecretString> {
        self.secret.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The provider refuses it: the vault may have another one.
    pub(in crate::rpc) fn refused(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// Asks the vault again where the key is old, or was refused.
    async fn renew(&self, secrets: &Secrets) {
        let is_refused = self.is_refused.swap(false, Ordering::Relaxed);
        if !is_of_vault(&self.name) || !(is_refused || secrets.is_old(&self.name)) {
            return;
        }
        match secrets.fetch(&self.name, true).await {
            Ok(value) => {
                let is_same =
                    self.secret().is_some_and(|old| old.expose_secret() == value.expose_secret());
                if !is_same {
                    tracing::info!(key = self.name, "the key vault has another key");
                    let mut secret = self.secret.write().unwrap_or_else(PoisonError::into_inner);
                    *secret = Some(value);
                }
            }
            Err(error) if is_refused => {
                tracing::warn!(key = self.name, %error, "the key that was refused stays");
                self.refused();
            }
            Err(error) => tracing::debug!(key = self.name, %error, "the key stays as it is"),
        }
    }

    /// Counts calls before they are made, and waits until their pace allows them; gives the units.
    pub(in crate::rpc) async fn spend(
        &self,
        methods: impl Iterator<Item = &str>,
    ) -> Result<u64, SpendError> {
        let cost = self.costs.of_calls(methods);
        self.meter.spend(cost.quota).await?;
        self.pacer.wait(cost.throughput).await;
        Ok(cost.quota)
    }

    /// Counts how a call ended.
    pub(in crate::rpc) fn count(&self, method: &str, outcome: Outcome) {
        self.meter.count(method, outcome);
    }

    /// Gives back what the provider does not count of an answer with an HTTP status.
    pub(in crate::rpc) fn refund(&self, status: u16, spent: u64) {
        self.meter.refund(self.costs.refund(status, spent));
    }

    /// What a provider pushed: it is counted after it came.
    pub(in crate::rpc) async fn pushed(&self, method: &str) -> Result<(), SpendError> {
        self.meter.spend(self.costs.of_method(method).quota).await?;
        self.meter.count(method, Outcome::Answered);
        Ok(())
    }

    /// Seconds in which what is left of the quota, spread until its reset, comes to what calls
    /// take; 0 without a quota.
    pub(in crate::rpc) fn price<'a>(&self, methods: impl Iterator<Item = &'a str>) -> f64 {
        let Some(((_, window), left)) = self.quota().zip(self.meter.left()) else { return 0.0 };
        let units = self.costs.of_calls(methods).quota as f64;
        units * window.lasts(self.resets_in()) as f64 / left.max(1) as f64
    }

    /// How often calls can still be made before the quota resets; endless without a quota.
    pub(in crate::rpc) fn times_left<'a>(&self, methods: impl Iterator<Item = &'a str>) -> f64 {
        let cost = self.costs.of_calls(methods).quota.max(1);
        self.meter.left().map_or(f64::INFINITY, |left| (left / cost) as f64)
    }

    /// The part of the quota that is left, of 1; all of it without a quota.
    pub(in crate::rpc) fn part_left(&self) -> f64 {
        let left = self.meter.left();
        self.quota().zip(left).map_or(1.0, |((quota, _), left)| left as f64 / quota.max(1) as f64)
    }

    /// The head of a chain needs so many units a second of it.
    pub(in crate::rpc) fn claim(&self, chain: &ChainName, units_per_second: f64) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.insert(chain.clone(), units_per_second);
    }

    /// How often calls could be made of what the heads of other chains need until the quota resets:
    /// of all of them, and of those that need less of it than this chain's.
    pub(in crate::rpc) fn times_claimed<'a>(
        &self,
        chain: &ChainName,
        methods: impl Iterator<Item = &'a str>,
    ) -> (f64, f64) {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // One that needs nothing of it has another provider.
        let own = claims.get(chain).map(|own| if *own > 0.0 { *own } else { f64::INFINITY });
        let others = || claims.iter().filter(|(of, _)| *of != chain).map(|(_, units)| *units);
        let less = others().filter(|units| own.is_some_and(|own| *units < own));
        let times = self.resets_in() as f64 / self.costs.of_calls(methods).quota.max(1) as f64;
        (others().sum::<f64>() * times, less.sum::<f64>() * times)
    }

    /// Whether a head, of any chain, waits for a place.
    pub(in crate::rpc) fn is_awaited(&self) -> bool {
        self.heads_waiting.load(Ordering::Acquire) > 0
    }

    /// A head waits for a place.
    pub(in crate::rpc) fn await_place(&self) {
        self.heads_waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// A head waits no longer.
    pub(in crate::rpc) fn has_place(&self) {
        self.heads_waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Units of a window.
    pub fn quota(&self) -> Option<(u64, Window)> {
        let limits = self.terms.limits;
        let day = limits.per_day.map(|units| (units, limits.day));
        day.or(limits.per_month.map(|units| (units, Window::Month)))
    }

    /// Units a second.
    pub(in crate::rpc) fn per_second(&self) -> Option<u32> {
        self.terms.limits.per_second.map(NonZeroU32::get)
    }

    /// Seconds until units come back.
    pub(in crate::rpc) fn resets_in(&self) -> u64 {
        self.meter.resets_in()
    }

    /// What calls cost there.
    pub fn costs(&self) -> &CostTable {
        &self.costs
    }

    /// Lets a worker in, if there is room.
    pub(in crate::rpc) fn enter(&self) -> Option<Pass> {
        self.gate.enter()
    }

    pub(in crate::rpc) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What the API shows of its use.
    pub fn status(&self) -> MeterStatus {
        self.meter.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_wherever_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, value: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, value).unwrap();
            format!("file:{}", path.display())
        };
        let (one, same, empty) = (file("one", "k1"), file("same", "k1\n"), file("empty", "\n"));
        let ring = Keyring::new(None, Secrets::default());
        let (ethereum, base): (ChainName, ChainName) =
            ("ethereum".parse().unwrap(), "base".parse().unwrap());
        let provider = ProviderConfig::plain("p", "http://127.0.0.1:1/{key}");
        let key = ring.key(&ethereum, &provider, Some(&one)).unwrap();
        assert!(Arc::ptr_eq(&key, &ring.key(&base, &provider, Some(&one)).unwrap()));
        let other = ProviderConfig {
            limits: Limits { per_day: Some(5), ..Limits::default() },
            ..provider.clone()
        };
        let error = |provider: &ProviderConfig, reference: &str| {
            ring.key(&base, provider, Some(reference)).err().unwrap().to_string()
        };
        assert!(error(&other, &one).contains("has other limits here"));
        let text = error(&provider, &same);
        assert!(text.contains("/same") && text.contains("/one") && !text.contains("k1"), "{text}");
        assert!(error(&provider, &empty).contains("is empty"));
        let limits = Limits { per_day: Some(5), per_month: Some(5), ..Limits::default() };
        let both = ProviderConfig { limits, ..provider };
        assert!(error(&both, &file("two", "k2")).contains("per_month"));
    }
}
