//! Filters that clients install and then ask what changed: `eth_newFilter`, `eth_newBlockFilter`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::model::{ChainName, Lane, Lsn};
use headwater_storage::store::Chain;
use tokio::sync::Mutex as AsyncMutex;

use crate::clock;

use super::answer::Facade;
use super::error::CallError;
use super::filter::Span;
use super::news::{Topic, logs_of};
use super::params::Params;
use super::read::{not_here, quantity};

/// Filters of a node.
const FILTERS_MAX: usize = 1_000;
/// Addresses and hashes that they name together.
const NAMED_MAX: usize = 100_000;
/// How long a filter stays that nobody asks for.
const UNUSED_MAX: Duration = Duration::from_mins(5);
/// Logs or hashes of blocks in one answer, and its bytes; the rest comes with the next.
const CHANGES_MAX: usize = 10_000;
const CHANGES_BYTES_MAX: usize = 64 << 20;
/// Records that one call looks at: a backfill writes many that are news to nobody.
const RECORDS_MAX: u64 = 100_000;

/// The filters of a node. Clones share the same.
#[derive(Clone, Default)]
pub(in crate::http) struct Filters(Arc<Mutex<BTreeMap<u128, Entry>>>);

struct Entry {
    installed: Arc<Installed>,
    used: Instant,
}

/// A filter.
struct Installed {
    chain: ChainName,
    topic: Topic,
    /// What `eth_getFilterLogs` asks for; none for a filter of blocks.
    span: Option<Span>,
    /// One call after the other moves it.
    cursor: AsyncMutex<Cursor>,
}

/// How far a client was told.
#[derive(Clone, Copy)]
struct Cursor {
    /// The last record that it was told all of.
    told: Lsn,
    /// Logs of the next record that it was told.
    given: usize,
}

/// One answer.
struct Page {
    text: String,
    count: usize,
}

impl Filters {
    /// All that are in use.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u128, Entry>> {
        let mut filters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|_, entry| entry.used.elapsed() < UNUSED_MAX);
        filters
    }

    fn install(&self, installed: Installed) -> Result<u128, CallError> {
        let mut filters = self.open();
        let named = filters.values().map(|entry| entry.installed.topic.len()).sum::<usize>();
        if filters.len() >= FILTERS_MAX || named + installed.topic.len() > NAMED_MAX {
            let (filters_max, named_max) = (FILTERS_MAX, NAMED_MAX);
            return Err(CallError::TooManyFilters { filters_max, named_max });
        }
        // Nobody is to find the filters of others by counting.
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(CallError::NoId)?;
        let id = u128::from_be_bytes(bytes);
        filters.insert(id, Entry { installed: Arc::new(installed), used: clock::now() });
        Ok(id)
    }

    fn find(&self, chain: &ChainName, id: u128) -> Result<Arc<Installed>, CallError> {
        let mut filters = self.open();
        let entry = filters.get_mut(&id).filter(|entry| entry.installed.chain == *chain);
        let entry = entry.ok_or(CallError::NoFilter)?;
        entry.used = clock::now();
        Ok(entry.installed.clone())
    }

    fn uninstall(&self, chain: &ChainName, id: u128) -> bool {
        let mut filters = self.open();
        let is_there = filters.get(&id).is_some_and(|entry| entry.installed.chain == *chain);
        is_there && filters.remove(&id).is_some()
    }
}

impl Facade {
    /// `eth_newFilter`, `eth_newBlockFilter`: told of from here on.
    pub(super) fn install(&self, method: &str, params: &Params) -> Result<String, CallError> {
        let (topic, span) = if method == "eth_newBlockFilter" {
            (Topic::Heads, None)
        } else {
            let object = params.required(0)?;
            (Topic::logs(0, Some(object))?, Some(Span::read(0, object)?))
        };
        let cursor = Cursor { told: self.chain.log().durable(), given: 0 };
        let (chain, cursor) = (self.chain.name().clone(), AsyncMutex::new(cursor));
        self.filters.install(Installed { chain, topic, span, cursor }).map(quantity)
    }

    /// `eth_uninstallFilter`: whether it was there.
    pub(super) fn uninstall(&self, params: &Params) -> Result<String, CallError> {
        let id = params.filter_id(0)?;
        Ok(self.filters.uninstall(self.chain.name(), id).to_string())
    }

    /// `eth_getFilterChanges`: what happened since the last call.
    pub(super) async fn filter_changes(&self, params: &Params) -> Result<String, CallError> {
        let installed = self.filters.find(self.chain.name(), params.filter_id(0)?)?;
        let mut cursor = installed.cursor.lock().await;
        let (chain, of, from) = (self.chain.clone(), installed.clone(), *cursor);
        // A client that goes away meanwhile was told nothing.
        let changes = move || changes(&chain, &of.topic, from);
        let (given, upto) = self.bounds.read(changes).await?;
        *cursor = upto;
        given
    }

    /// `eth_getFilterLogs`: the same as `eth_getLogs` with what the filter says.
    pub(super) async fn filter_logs(&self, params: &Params) -> Result<String, CallError> {
        let installed = self.filters.find(self.chain.name(), params.filter_id(0)?)?;
        match (&installed.topic, installed.span) {
            (Topic::Logs(filter, _), Some(span)) => self.logs_of(filter.clone(), span).await,
            (Topic::Logs(..), None) | (Topic::Heads, _) => Err(CallError::NoLogs),
        }
    }
}

/// What a client is told next, and how far it was told then.
fn changes(chain: &Chain, topic: &Topic, from: Cursor) -> (Result<String, CallError>, Cursor) {
    let mut page = Page { text: "[".to_owned(), count: 0 };
    let mut at = from;
    let upto = chain.log().durable().min(Lsn(from.told.0.saturating_add(RECORDS_MAX)));
    while at.told < upto && page.has_room() {
        let next = Cursor { told: at.told.next(), given: 0 };
        match page.add(chain, topic, at) {
            Ok(None) => at = next,
            Ok(Some(given)) => at.given = given,
            // It is said with the next call, and only once: what comes after it is told again.
            Err(_) if page.count > 0 => break,
            Err(error) => return (Err(error), next),
        }
    }
    page.text.push(']');
    (Ok(page.text), at)
}

impl Page {
    fn has_room(&self) -> bool {
        self.count < CHANGES_MAX && self.text.len() < CHANGES_BYTES_MAX
    }

    fn push(&mut self, text: &str) {
        if self.count > 0 {
            self.text.push(',');
        }
        self.text += text;
        self.count += 1;
    }

    /// Adds what the record after `at` is to a filter; how many of its logs are told now where
    /// there is no room for all.
    fn add(
        &mut self,
        chain: &Chain,
        topic: &Topic,
        at: Cursor,
    ) -> Result<Option<usize>, CallError> {
        let lsn = at.told.next();
        let head = chain.head(lsn)?;
        let number = head.block.number;
        if head.lane != Lane::Live || !topic.tells(head.op, number) {
            return Ok(None);
        }
        let Topic::Logs(filter, _) = topic else {
            self.push(&format!("\"{}\"", head.block.hash));
            return Ok(None);
        };
        let block = chain.read_if_there(lsn)?.and_then(|event| event.block);
        let block = block.ok_or_else(|| not_here(chain, format!("block {number} is")))?;
        Ok(self.take(logs_of(filter, head.op, &block), at.given))
    }

    /// Takes what there is room for of the logs after those that were given; how many are given
    /// then where some are left.
    fn take(&mut self, logs: impl Iterator<Item = String>, given: usize) -> Option<usize> {
        for (given, log) in logs.enumerate().skip(given) {
            if !self.has_room() {
                return Some(given);
            }
            self.push(&log);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page { text: "[".to_owned(), count: 0 }
    }

    #[test]
    fn what_has_no_room_comes_with_the_next_answer() {
        let logs = || (0..CHANGES_MAX + 5).map(|at| at.to_string());
        let (mut first, mut second) = (page(), page());
        assert_eq!(first.take(logs(), 0), Some(CHANGES_MAX));
        assert_eq!(first.take(logs(), 3), Some(3), "it is full");
        assert_eq!(second.take(logs(), CHANGES_MAX), None);
        assert_eq!(
            (first.count, second.text.as_str()),
            (CHANGES_MAX, "[10000,10001,10002,10003,10004")
        );
        let mut long = page();
        let megabytes = || (0..100).map(|_| "x".repeat(1 << 20));
        assert_eq!(long.take(megabytes(), 0), Some(64));
    }

    #[test]
    fn a_filter_ends_when_nobody_asks_for_it() {
        let name = |name: &str| name.parse::<ChainName>().unwrap();
        let installed = || Installed {
            chain: name("devnet"),
            topic: Topic::Heads,
            span: None,
            cursor: AsyncMutex::new(Cursor { told: Lsn(0), given: 0 }),
        };
        let filters = Filters::default();
        let (kept, left) =
            (filters.install(installed()).unwrap(), filters.install(installed()).unwrap());
        let long_ago = clock::now().checked_sub(UNUSED_MAX).unwrap();
        filters.0.lock().unwrap().get_mut(&left).unwrap().used = long_ago;
        assert!(filters.find(&name("devnet"), kept).is_ok());
        assert!(filters.find(&name("other"), kept).is_err());
        assert!(filters.find(&name("devnet"), left).is_err());
    }
}
