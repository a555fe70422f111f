//! The meter of one key: nothing is used that the ledger does not know of (INV-12).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_storage::ledger::{KeyUsage, Ledger, LedgerError};

use crate::clock;
use crate::supervisor::on_cpu;

use super::lease::{Account, Outcome, Taken};
use super::{CostTable, Unit, Window};

/// Counts what one key is used for.
pub(super) struct Meter {
    name: String,
    unit: Unit,
    ledger: Option<Arc<Ledger>>,
    account: Mutex<Account>,
}

/// Why a key cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(in crate::rpc) enum SpendError {
    /// Its quota is spent.
    #[error("its quota is spent for another {} s", rest.as_secs())]
    Spent {
        /// Until something comes back.
        rest: Duration,
    },
    /// The ledger cannot be told.
    #[error("the ledger cannot be told of its use")]
    Ledger(#[source] LedgerError),
}

/// What the API shows of a key's use.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MeterStatus {
    /// What is counted.
    pub unit: Unit,
    /// Units that one window allows, if it is limited.
    pub quota: Option<u64>,
    /// The window.
    pub window: Window,
    /// Units used in it.
    pub used: u64,
    /// Units left in it.
    pub left: Option<u64>,
    /// When units come back, seconds since 1970-01-01 UTC.
    pub resets_at: Option<u64>,
    /// When the quota ends at the rate of the last minutes, if it does before it resets.
    pub ends_at: Option<u64>,
    /// The last call, seconds since 1970-01-01 UTC.
    pub last_used_at: Option<u64>,
    /// Calls of this day or hour by method and outcome.
    pub calls: std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>,
}

impl Meter {
    pub(super) fn new(
        name: String,
        costs: &CostTable,
        quota: Option<u64>,
        window: Window,
        ledger: Option<Arc<Ledger>>,
    ) -> Result<Meter, LedgerError> {
        let mut account = Account::new(quota, window);
        if let Some(ledger) = &ledger {
            let now = clock::unix_seconds();
            for row in ledger.usage()?.iter().filter(|row| row.key == name) {
                if row.start >= window.start(now) {
                    account.load(row.start, &row.usage, now);
                }
            }
        }
        Ok(Meter { name, unit: costs.unit, ledger, account: Mutex::new(account) })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Account) -> T) -> T {
        act(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts units before they are used.
    pub(super) async fn spend(self: &Arc<Meter>, units: u64) -> Result<(), SpendError> {
        match self.take(units) {
            Taken::Yes => Ok(()),
            Taken::AfterLease(_) => {
                let meter = self.clone();
                on_cpu(move || meter.lease(units)).await
            }
            Taken::SpentUntil(at) => Err(spent(at)),
        }
    }

    fn take(&self, units: u64) -> Taken {
        let now = clock::unix_seconds();
        self.with(|account| account.take(units, now))
    }

    /// Tells the ledger of more than is needed, then takes it.
    fn lease(&self, units: u64) -> Result<(), SpendError> {
        let now = clock::unix_seconds();
        self.with(|account| match account.take(units, now) {
            Taken::Yes => Ok(()),
            Taken::SpentUntil(at) => Err(spent(at)),
            Taken::AfterLease(lease) => {
                self.store(account, Some(lease))?;
                account.leased(lease);
                match account.take(units, now) {
                    Taken::Yes => Ok(()),
                    Taken::SpentUntil(at) => Err(spent(at)),
                    Taken::AfterLease(_) => Err(spent(now + 1)),
                }
            }
        })
    }

    fn store(&self, account: &Account, leased: Option<u64>) -> Result<(), SpendError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let usage = account.usage(leased);
        if usage.calls.is_empty() && usage.units == 0 {
            return Ok(());
        }
        let row = KeyUsage { key: self.name.clone(), start: account.bucket, usage };
        ledger.set_usage(&row).map_err(SpendError::Ledger)
    }

    /// Stores what is counted, the lease as it stands.
    pub(super) fn flush(&self) -> Result<(), SpendError> {
        self.with(|account| self.store(account, Some(account.lease())))
    }

    /// Gives back what was leased and not used: nobody uses the key any more.
    pub(super) fn settle(&self) -> Result<(), SpendError> {
        self.with(|account| {
            self.store(account, None)?;
            account.settled();
            Ok(())
        })
    }

    pub(super) fn refund(&self, units: u64) {
        self.with(|account| account.refund(units));
    }

    pub(super) fn count(&self, method: &str, outcome: Outcome) {
        self.with(|account| account.count(method, outcome));
    }

    /// Units left; `None` without a quota.
    pub(super) fn left(&self) -> Option<u64> {
        let now = clock::unix_seconds();
        self.with(|account| account.left(now))
    }

    /// Seconds until units come back.
    pub(super) fn resets_in(&self) -> u64 {
        let now = clock::unix_seconds();
        self.with(|account| account.resets_at(now)).saturating_sub(now)
    }

    pub(super) fn status(&self) -> MeterStatus {
        let now = clock::unix_seconds();
        self.with(|account| {
            let left = account.left(now);
            let used = account.quota.zip(left).map_or(account.used, |(quota, left)| quota - left);
            let usage = account.usage(None);
            MeterStatus {
                unit: self.unit,
                quota: account.quota,
                window: account.window,
                used,
                left,
                resets_at: left.map(|_| account.resets_at(now)),
                ends_at: account.ends_at(now),
                last_used_at: (usage.last > 0).then_some(usage.last),
                calls: usage.calls,
            }
        })
    }
}

fn spent(until: u64) -> SpendError {
    let rest = until.saturating_sub(clock::unix_seconds()).max(1);
    SpendError::Spent { rest: Duration::from_secs(rest) }
}
