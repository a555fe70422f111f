//! Rows that were set aside: listed, tried again, let go.

use std::collections::BTreeSet;

use headwater_exporters::encode::Row;
use headwater_exporters::{Batch, Disposition};
use headwater_storage::model::{ChainName, EventHead, Lsn, Op, OwnedEvent};
use headwater_storage::store::{Chain, StoreError};

use crate::supervisor::on_cpu;

use super::Runner;
use super::order::Unparked;
use super::station::ForwardError;

/// The record in an event's identity, `<chain>[~<time>]:<lsn>:<table>:<row>`, of a chain.
pub(super) fn lsn_of(event_id: &str, chain: &ChainName) -> Option<Lsn> {
    let mut parts = event_id.split(':');
    let name = parts.next()?.split('~').next()?;
    let lsn = parts.next()?.parse().ok()?;
    (name == chain.as_str()).then_some(Lsn(lsn))
}

/// The row in an event's identity, without its record.
fn row_of(event_id: &str) -> Option<&str> {
    let (_, rest) = event_id.split_once(':')?;
    rest.split_once(':').map(|(_, row)| row)
}

/// Whether what an event says is still so: a row that comes late must not undo a reorg.
fn still_holds(chain: &Chain, event: &OwnedEvent) -> Result<bool, StoreError> {
    let block = event.head.block;
    let canonical = chain.block_by_number(block.number)?;
    let is_canonical = canonical.is_some_and(|known| known.head.block == block);
    Ok(match event.head.op {
        Op::Applied => is_canonical,
        Op::Reverted => !is_canonical,
        Op::Finalized => true,
    })
}

/// Retractions among rows of which the applied row is among them too: the sink has neither.
fn needless(chain: &Chain, rows: &BTreeSet<String>) -> BTreeSet<String> {
    let known: Vec<(&String, EventHead)> = rows
        .iter()
        .filter_map(|id| Some((id, chain.head(lsn_of(id, chain.name())?).ok()?)))
        .collect();
    let is_needless = |(id, head): &&(&String, EventHead)| {
        head.op == Op::Reverted
            && known.iter().any(|(other, applied)| {
                let is_same = applied.op == Op::Applied && applied.block == head.block;
                is_same && applied.lsn < head.lsn && row_of(other) == row_of(id)
            })
    };
    known.iter().filter(is_needless).map(|(id, _)| (*id).clone()).collect()
}

impl Runner {
    /// The rows of this chain that are set aside.
    pub(super) async fn parked(&self) -> Result<BTreeSet<String>, ForwardError> {
        let (ledger, name, chain) = (
            self.station.ledger.clone(),
            self.station.name.clone(),
            self.station.chain.name().clone(),
        );
        let rows = on_cpu(move || ledger.parked(&name)).await?.into_iter().map(|(id, _)| id);
        let rows: BTreeSet<String> = rows.filter(|id| lsn_of(id, &chain).is_some()).collect();
        self.station.status.parked(rows.len() as u64);
        Ok(rows)
    }

    async fn wanted(
        &self,
        ids: Option<BTreeSet<String>>,
    ) -> Result<BTreeSet<String>, ForwardError> {
        let mut rows = self.parked().await?;
        rows.retain(|id| ids.as_ref().is_none_or(|ids| ids.contains(id)));
        Ok(rows)
    }

    async fn unpark(&self, event_id: &str) -> Result<bool, ForwardError> {
        let (ledger, name, id) =
            (self.station.ledger.clone(), self.station.name.clone(), event_id.to_owned());
        Ok(on_cpu(move || ledger.unpark(&name, &id)).await?)
    }

    /// Lets rows go.
    pub(super) async fn let_go(
        &self,
        ids: Option<BTreeSet<String>>,
    ) -> Result<Vec<Unparked>, ForwardError> {
        let mut gone = Vec::new();
        for event_id in self.wanted(ids).await? {
            if self.unpark(&event_id).await? {
                gone.push(Unparked { event_id, outcome: "dropped".to_owned() });
            }
        }
        self.parked().await?;
        Ok(gone)
    }

    /// Tries rows again; one that the sink still refuses stays.
    pub(super) async fn replay(
        &self,
        ids: Option<BTreeSet<String>>,
    ) -> Result<Vec<Unparked>, ForwardError> {
        let (chain, all) = (self.station.chain.clone(), self.parked().await?);
        let needless = on_cpu(move || needless(&chain, &all)).await;
        let mut rows: Vec<String> = self.wanted(ids).await?.into_iter().collect();
        rows.sort_by_key(|id| lsn_of(id, self.station.chain.name()));
        let mut tried = Vec::new();
        for event_id in rows {
            let is_needless = needless.contains(&event_id);
            let again = if is_needless { Ok("obsolete") } else { self.try_again(&event_id).await };
            if again.is_ok() {
                self.unpark(&event_id).await?;
            }
            // A sink that is away would be waited for once a row.
            let is_last = again.as_ref().is_err_and(|stays| stays.is_of_sink);
            let outcome = again.map_or_else(|stays| stays.reason, str::to_owned);
            tried.push(Unparked { event_id, outcome });
            if is_last {
                break;
            }
        }
        self.parked().await?;
        Ok(tried)
    }

    /// What became of a row, or why it stays.
    async fn try_again(&self, event_id: &str) -> Result<&'static str, Stays> {
        let stays = |reason: String| Stays { reason, is_of_sink: false };
        let lsn = lsn_of(event_id, self.station.chain.name());
        let lsn = lsn.ok_or_else(|| stays("not a row of this chain".to_owned()))?;
        let chain = self.station.chain.clone();
        let read = on_cpu(move || match chain.read_if_there(lsn)? {
            Some(event) => Ok(Some((still_holds(&chain, &event)?, event))),
            None => Ok::<_, StoreError>(None),
        });
        let event = match read.await.map_err(|error| stays(error.to_string()))? {
            Some((true, event)) => event,
            Some((false, _)) => return Ok("obsolete"),
            None => return Err(stays("damage or retention took its record".to_owned())),
        };
        let mut batch = self.batch(vec![event], None);
        batch.parked = others(&batch, event_id);
        if batch.rows().next().is_none() {
            return Err(stays("its record has no such row".to_owned()));
        }
        match self.exporter.export(&batch).await {
            Ok(()) => Ok("sent"),
            Err(error) => {
                let is_of_sink = error.disposition() != Disposition::Park;
                Err(Stays { reason: error.to_string(), is_of_sink })
            }
        }
    }
}

/// Why a row stays aside.
struct Stays {
    reason: String,
    /// Others would not go either.
    is_of_sink: bool,
}

/// All rows of a batch but one.
fn others(batch: &Batch, event_id: &str) -> BTreeSet<String> {
    batch.rows().map(|row: Row| row.event_id).filter(|id| id != event_id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_says_its_record() {
        let chain: ChainName = "ethereum".parse().unwrap();
        assert_eq!(lsn_of("ethereum:17:logs:3", &chain), Some(Lsn(17)));
        assert_eq!(lsn_of("ethereum~1700000000:17:logs:3", &chain), Some(Lsn(17)));
        assert_eq!(lsn_of("base:17:logs:3", &chain), None);
        assert_eq!(lsn_of("ethereum", &chain), None);
        assert_eq!(row_of("ethereum~1700000000:17:logs:3"), Some("logs:3"));
    }
}
