//! Where each exporter stands, kept beside the rows: `cursors`.
//!
//! Servers sync their commit logs periodically: what was acknowledged last may be gone after a
//! crash. So a cursor has two marks, what was acknowledged and what is safe; and before each batch
//! it is compared with what was written: as the last write of each batch it is lost first.

use std::collections::VecDeque;
use std::time::Duration;

use headwater_storage::model::{ChainName, Lsn};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;

use crate::clock::unix_micros;
use crate::{Batch, Mark};

use super::failure::Failure;
use super::schema::Wanted;

const TABLE: &str = "cursors";
const COLUMNS: [(&str, &str); 8] = [
    ("chain", "text"),
    ("exporter", "text"),
    ("generation", "bigint"),
    ("lsn", "bigint"),
    ("event", "text"),
    ("safe_lsn", "bigint"),
    ("safe_event", "text"),
    ("instance", "text"),
];
/// Marks of the resend window are so far apart, that a fast drain holds few of them.
const MARKS_APART: Duration = Duration::from_secs(1);

/// The table.
pub(super) fn wanted(keyspace: &str) -> Wanted {
    let declared = COLUMNS.map(|(name, kind)| format!("{name} {kind}")).join(", ");
    Wanted {
        table: TABLE.to_owned(),
        columns: COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        key: 2,
        create: format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{TABLE} ({declared}, PRIMARY KEY ((chain), \
             exporter))"
        ),
        touch: format!(
            "DELETE FROM {keyspace}.{TABLE} USING TIMESTAMP 1 WHERE chain = '-' AND exporter = '-'"
        ),
    }
}

/// A cursor as the sink has it; its version is when it was written, microseconds since 1970-01-01
/// UTC.
pub(super) type Noted = crate::noted::Noted<i64>;

/// The statements.
#[derive(Clone)]
pub(super) struct Cursors {
    read: PreparedStatement,
    write: PreparedStatement,
    exporter: String,
}

type Row = (i64, i64, String, i64, String, String, i64);

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Cursors {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        exporter: &str,
    ) -> Result<Cursors, Failure> {
        let read = format!(
            "SELECT generation, lsn, event, safe_lsn, safe_event, instance, WRITETIME(lsn) \
             FROM {keyspace}.{TABLE} WHERE chain = ? AND exporter = ?"
        );
        let names = COLUMNS.map(|(name, _)| name).join(", ");
        let write = format!(
            "INSERT INTO {keyspace}.{TABLE} ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             USING TIMESTAMP ?"
        );
        let (mut read, mut write) = (session.prepare(read).await?, session.prepare(write).await?);
        read.set_is_idempotent(true);
        write.set_is_idempotent(true);
        Ok(Cursors { read, write, exporter: exporter.to_owned() })
    }

    /// The tables do not hold what the cursors say: they say that nothing is there. Written, not
    /// deleted: a tombstone would have the server's time, and hide what we write with ours.
    pub(super) async fn forget(
        &self,
        session: &Session,
        chains: &[ChainName],
    ) -> Result<(), Failure> {
        for chain in chains {
            let Some(noted) = self.read(session, chain).await? else { continue };
            let nothing = Mark { lsn: Lsn(0), event: String::new(), ..noted.mark };
            let version = unix_micros().max(noted.version.saturating_add(1));
            let instance = String::new();
            let noted = Noted { mark: nothing.clone(), safe: nothing, instance, version };
            self.write(session, chain, &noted).await?;
        }
        Ok(())
    }

    pub(super) async fn read(
        &self,
        session: &Session,
        chain: &ChainName,
    ) -> Result<Option<Noted>, Failure> {
        let key = (chain.as_str(), self.exporter.as_str());
        let rows = session.execute_unpaged(&self.read, key).await?;
        let unread = |error: &dyn std::fmt::Display| Failure::Invalid(error.to_string());
        let rows = rows.into_rows_result().map_err(|error| unread(&error))?;
        let row = rows.maybe_first_row::<Row>().map_err(|error| unread(&error))?;
        let noted = |(generation, lsn, event, safe_lsn, safe_event, instance, version)| {
            let mark =
                |lsn, event| Mark { lsn: Lsn(number(lsn)), generation: number(generation), event };
            Noted { mark: mark(lsn, event), safe: mark(safe_lsn, safe_event), instance, version }
        };
        Ok(row.map(noted))
    }

    pub(super) async fn write(
        &self,
        session: &Session,
        chain: &ChainName,
        noted: &Noted,
    ) -> Result<(), Failure> {
        let Noted { mark, safe, instance, version } = noted;
        let values = (
            chain.as_str(),
            self.exporter.as_str(),
            signed(mark.generation),
            signed(mark.lsn.0),
            mark.event.as_str(),
            signed(safe.lsn.0),
            safe.event.as_str(),
            instance.as_str(),
            *version,
        );
        session.execute_unpaged(&self.write, values).await?;
        Ok(())
    }
}

/// How an exporter stands on one chain.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What we wrote last, or found at the start.
    pub(super) noted: Option<Noted>,
    /// What was acknowledged within the resend window, the oldest first.
    recent: VecDeque<(Instant, Mark)>,
    /// The cluster was away: what is in the window goes again.
    pub(super) is_interrupted: bool,
    /// Another process exports in our name.
    pub(super) is_fenced: bool,
}

impl Progress {
    /// Begins where the sink says that it is.
    pub(super) fn begin(&mut self, noted: Option<Noted>) {
        *self = Progress { noted, ..Progress::default() };
    }

    /// The cursor behind a batch that is acknowledged now, but for who writes it.
    pub(super) fn next(
        &mut self,
        batch: &Batch,
        upto: &Mark,
        window: Duration,
        (now, micros): (Instant, i64),
    ) -> Noted {
        let mut safe = match &self.noted {
            Some(noted) if noted.safe.generation == upto.generation => noted.safe.clone(),
            _ => {
                self.recent.clear();
                before(batch, upto)
            }
        };
        while let Some((_, mark)) =
            self.recent.pop_front_if(|(at, _)| now.duration_since(*at) >= window)
        {
            safe = mark;
        }
        if self.recent.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARKS_APART) {
            self.recent.push_back((now, upto.clone()));
        }
        if window.is_zero() {
            safe = upto.clone();
        }
        // Later than what is there, whatever the clock says.
        let last = self.noted.as_ref().map_or(0, |noted| noted.version);
        let version = micros.max(last.saturating_add(1));
        Noted { mark: upto.clone(), safe, instance: String::new(), version }
    }
}

/// What comes before a batch; an event without words is believed.
fn before(batch: &Batch, upto: &Mark) -> Mark {
    match batch.events.first() {
        Some(first) => {
            let lsn = Lsn(first.head.lsn.0.saturating_sub(1));
            Mark { lsn, event: String::new(), ..upto.clone() }
        }
        None => upto.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::sample_batch;

    #[test]
    fn what_is_safe_follows_at_the_distance_of_the_window() {
        let chain = "test".parse().unwrap();
        let (window, start) = (Duration::from_secs(20), Instant::now());
        let mut progress = Progress::default();
        let mut safe_after = |secs: u64, first: u64| {
            let batch = sample_batch(&chain, Lsn(first));
            let upto = batch.upto.clone().unwrap();
            let now = (start + Duration::from_secs(secs), 5);
            let noted = progress.next(&batch, &upto, window, now);
            progress.noted = Some(noted.clone());
            (noted.safe.lsn.0, noted.version)
        };
        assert_eq!(safe_after(0, 101), (100, 5), "what came before the first batch");
        assert_eq!(safe_after(10, 201), (100, 6), "the clock stands, the time of writing does not");
        assert_eq!(safe_after(19, 301), (100, 7));
        assert_eq!(safe_after(20, 401), (105, 8));
        assert_eq!(safe_after(39, 501), (305, 9));
    }

    #[test]
    fn a_rewind_begins_a_window_of_its_own() {
        let batch = sample_batch(&"test".parse().unwrap(), Lsn(11));
        let upto = batch.upto.clone().unwrap();
        let now = Instant::now();
        let mut progress = Progress::default();
        let first = progress.next(&batch, &upto, Duration::ZERO, (now, 1));
        assert_eq!(first.safe, upto, "without a window all is safe");
        progress.noted = Some(first);
        let again = Mark { generation: 1, ..upto };
        let noted = progress.next(&batch, &again, Duration::from_secs(20), (now, 1));
        assert_eq!((noted.safe.lsn.0, noted.safe.generation), (10, 1));
    }
}
