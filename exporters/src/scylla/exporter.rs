//! Writes a batch's rows, then the cursor behind them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headwater_storage::ledger::KeyUsage;
use headwater_storage::model::{ChainName, Lsn};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;

use crate::clock::unix_micros;
use crate::noted::{Seen, replaced};
use crate::width::Width;
use crate::{Batch, BuildError, ExportError, Exporter, Held, Scope, failpoint};

use super::ScyllaConfig;
use super::client::connect;
use super::cursors::{Cursors, Noted, Progress};
use super::encode::{self, Encoded, encode};
use super::failure::Failure;
use super::layout::{Layout, layouts};
use super::schema::{self, Space};
use super::tables::SOURCES;
use super::usage;
use super::write::{RowWriter, Unwritten};

/// The CQL sink.
pub struct Scylla {
    name: String,
    config: ScyllaConfig,
    layouts: Arc<Vec<Layout>>,
    width: Width,
    spaces: Vec<Space>,
    /// The chains that the exporter takes.
    chains_taken: Vec<ChainName>,
    /// A random name of this process.
    instance: String,
    /// Made anew after every error: then the schema is looked at again, too.
    connected: tokio::sync::Mutex<Option<Arc<Connected>>>,
    chains: Mutex<BTreeMap<ChainName, Progress>>,
}

struct Connected {
    session: Session,
    /// By layout.
    inserts: Vec<PreparedStatement>,
    cursors: Cursors,
    usage: Option<PreparedStatement>,
}

impl Scylla {
    /// Checks the keys; connects to nothing yet.
    pub fn open(name: &str, config: ScyllaConfig, scope: &Scope) -> Result<Scylla, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        if let Some(problem) = config.problem() {
            return Err(wrong(problem));
        }
        if let Some(table) = scope.tables.iter().find(|table| !SOURCES.contains(table)) {
            let names: Vec<&str> = SOURCES.iter().map(|table| table.name()).collect();
            return Err(wrong(format!(
                "`tables`: kind `scylla` has no place for {}; it takes {}",
                table.name(),
                names.join(", ")
            )));
        }
        let random = getrandom::u64().map_err(|error| wrong(error.to_string()))?;
        let layouts = layouts(&scope.tables);
        let tables = schema::wanted(&config.keyspace, &layouts);
        let mut spaces = vec![Space { keyspace: config.keyspace.clone(), tables }];
        if let Some(keyspace) = &config.usage_keyspace {
            let tables = vec![usage::wanted(keyspace)];
            spaces.push(Space { keyspace: keyspace.clone(), tables });
        }
        Ok(Scylla {
            name: name.to_owned(),
            width: Width::new(config.requests),
            config,
            layouts: Arc::new(layouts),
            spaces,
            chains_taken: scope.chains.clone(),
            instance: format!("{random:016x}"),
            connected: tokio::sync::Mutex::default(),
            chains: Mutex::default(),
        })
    }

    fn failed(&self, failure: Failure) -> ExportError {
        failure.into_error(&self.config.sink())
    }

    async fn connect(&self) -> Result<Connected, ExportError> {
        let session = connect(&self.config).await.map_err(|failure| self.failed(failure))?;
        let made = schema::ensure(&session, &self.config, &self.spaces).await?;
        let connected = self.prepare(session).await.map_err(|failure| self.failed(failure))?;
        // A table that was dropped, or that a new version fills, gets everything.
        let of_rows = format!(" {}.", self.config.keyspace);
        if made.iter().any(|statement| statement.contains(&of_rows)) {
            let forgotten = connected.cursors.forget(&connected.session, &self.chains_taken).await;
            forgotten.map_err(|failure| self.failed(failure))?;
        }
        Ok(connected)
    }

    async fn prepare(&self, session: Session) -> Result<Connected, Failure> {
        let keyspace = &self.config.keyspace;
        let mut inserts = Vec::with_capacity(self.layouts.len());
        for layout in self.layouts.iter() {
            let mut insert = session.prepare(layout.insert(keyspace)).await?;
            insert.set_is_idempotent(true);
            inserts.push(insert);
        }
        let cursors = Cursors::prepare(&session, keyspace, &self.name).await?;
        let usage = match &self.config.usage_keyspace {
            Some(keyspace) => Some(usage::prepare(&session, keyspace).await?),
            None => None,
        };
        Ok(Connected { session, inserts, cursors, usage })
    }

    /// The session that is there, or a new one.
    async fn connected(&self) -> Result<Arc<Connected>, ExportError> {
        let mut held = self.connected.lock().await;
        if let Some(connected) = held.as_ref() {
            return Ok(connected.clone());
        }
        let connected = Arc::new(self.connect().await?);
        *held = Some(connected.clone());
        Ok(connected)
    }

    async fn disconnect(&self) {
        *self.connected.lock().await = None;
    }

    fn with_progress<T>(&self, chain: &ChainName, look: impl FnOnce(&mut Progress) -> T) -> T {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        look(chains.entry(chain.clone()).or_default())
    }

    async fn cursor(
        &self,
        connected: &Connected,
        chain: &ChainName,
    ) -> Result<Option<Noted>, ExportError> {
        let read = connected.cursors.read(&connected.session, chain).await;
        read.map_err(|failure| self.failed(failure))
    }

    /// Whether another process exports in our name: then this one does not take it back.
    fn look_who_exports(&self, found: Option<&Noted>) -> Result<(), ExportError> {
        match found.filter(|noted| noted.is_foreign(&self.instance)) {
            Some(_) => Err(replaced(self.config.sink(), &self.name)),
            None => Ok(()),
        }
    }

    /// Compares what the sink says with what we wrote there last.
    fn compare(&self, batch: &Batch, found: Option<Noted>) -> Result<(), ExportError> {
        self.with_progress(&batch.chain, |progress| {
            let known = progress.noted.as_ref();
            let moved = |lsn| Err(ExportError::Moved { sink: self.config.sink(), lsn });
            match Noted::look(known, found.as_ref(), &self.instance) {
                Seen::Foreign => {
                    progress.is_fenced = true;
                    Err(replaced(self.config.sink(), &self.name))
                }
                Seen::Other(lsn) => moved(lsn),
                Seen::AsKnown if progress.is_interrupted => {
                    moved(known.map(|noted| noted.safe.lsn).unwrap_or_default())
                }
                Seen::AsKnown => {
                    if known.is_none() {
                        progress.begin(found);
                    }
                    Ok(())
                }
            }
        })
    }

    async fn send(&self, connected: &Connected, batch: &Batch) -> Result<(), ExportError> {
        let (layouts, given, ttl) =
            (self.layouts.clone(), batch.clone(), self.config.fork_ttl_secs);
        let encoded = tokio::task::spawn_blocking(move || encode(&layouts, &given, ttl)).await;
        // It was stopped with the runtime.
        let Encoded { rows, event_ids } = encoded.map_err(|error| ExportError::Unavailable {
            sink: self.config.sink(),
            reason: error.to_string(),
        })?;
        let Connected { session, inserts, .. } = connected;
        let name = self.config.sink();
        let writer = RowWriter { session, inserts, width: &self.width, name: &name };
        let Err(Unwritten { failure, row }) = writer.write(&rows).await else { return Ok(()) };
        let event_id = row.and_then(|row| event_ids.get(row));
        let (Failure::Invalid(reason), Some(event_id)) = (&failure, event_id) else {
            return Err(self.failed(failure));
        };
        // The row, or the table that it goes to?
        if schema::missing(session, &self.config, &self.spaces).await?.is_empty() {
            let (sink, event_id) = (self.config.sink(), event_id.clone());
            return Err(ExportError::Row { sink, event_id, reason: reason.clone() });
        }
        Err(self.failed(failure))
    }

    async fn export_with(&self, connected: &Connected, batch: &Batch) -> Result<(), ExportError> {
        let Some(upto) = &batch.upto else { return self.send(connected, batch).await };
        self.compare(batch, self.cursor(connected, &batch.chain).await?)?;
        self.send(connected, batch).await?;
        failpoint::reach("scylla.sent");
        let (now, window) = ((Instant::now(), unix_micros()), self.config.resend_window());
        let next = |progress: &mut Progress| progress.next(batch, upto, window, now);
        let noted = self.with_progress(&batch.chain, next);
        let noted = Noted { instance: self.instance.clone(), ..noted };
        let written = connected.cursors.write(&connected.session, &batch.chain, &noted).await;
        written.map_err(|failure| self.failed(failure))?;
        failpoint::reach("scylla.noted");
        self.with_progress(&batch.chain, |progress| progress.noted = Some(noted));
        Ok(())
    }
}

#[async_trait]
impl Exporter for Scylla {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        let session = connect(&self.config).await.map_err(|failure| self.failed(failure))?;
        schema::missing(&session, &self.config, &self.spaces).await
    }

    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value> {
        let encoded = encode(&self.layouts, batch, self.config.fork_ttl_secs);
        let explained = |row: &encode::BoundRow| {
            let layout = self.layouts.get(row.layout)?;
            Some(encode::explain(layout, row, &self.config.keyspace))
        };
        encoded.rows.iter().filter_map(explained).collect()
    }

    async fn check(&self) -> Result<(), ExportError> {
        // Anew: rights, and what others did to the tables, show only then.
        self.disconnect().await;
        let connected = self.connected().await?;
        let fenced: Vec<ChainName> = {
            let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
            let fenced = chains.iter().filter(|(_, progress)| progress.is_fenced);
            fenced.map(|(chain, _)| chain.clone()).collect()
        };
        for chain in fenced {
            self.look_who_exports(self.cursor(&connected, &chain).await?.as_ref())?;
        }
        Ok(())
    }

    async fn resume(&self, chain: &ChainName) -> Result<Held, ExportError> {
        let connected = self.connected().await?;
        let found = self.cursor(&connected, chain).await?;
        let is_start = self.with_progress(chain, |progress| progress.noted.is_none());
        let held = match &found {
            Some(noted) if noted.mark.lsn == Lsn(0) => Held::Nothing,
            // Before a window is over its beginning names no event, and would let in any log.
            Some(noted) if is_start && noted.safe.event.is_empty() => {
                Held::Upto(noted.mark.clone())
            }
            Some(noted) => Held::Upto(noted.safe.clone()),
            None => Held::Nothing,
        };
        self.with_progress(chain, |progress| {
            let is_fenced = progress.is_fenced;
            if is_fenced {
                self.look_who_exports(found.as_ref())?;
            }
            progress.begin(found);
            Ok(held)
        })
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        let exported = match self.connected().await {
            Ok(connected) => self.export_with(&connected, batch).await,
            Err(error) => Err(error),
        };
        match &exported {
            Ok(()) | Err(ExportError::Row { .. } | ExportError::Moved { .. }) => {}
            Err(error) => {
                let is_away = matches!(error, ExportError::Unavailable { .. });
                self.with_progress(&batch.chain, |progress| {
                    progress.is_interrupted |= is_away && progress.noted.is_some();
                });
                self.disconnect().await;
            }
        }
        exported
    }

    fn has_place_for_usage(&self) -> bool {
        self.config.usage_keyspace.is_some()
    }

    async fn note_usage(&self, rows: &[KeyUsage]) -> Result<(), ExportError> {
        let connected = self.connected().await?;
        let Some(insert) = &connected.usage else { return Ok(()) };
        let written = usage::write(&connected.session, insert, rows).await;
        written.map_err(|failure| self.failed(failure))
    }

    async fn close(&self) {
        let Some(connected) = self.connected.lock().await.take() else { return };
        let ours: Vec<(ChainName, Noted)> = {
            let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
            let noted = |(chain, progress): (&ChainName, &Progress)| {
                let noted = progress.noted.clone()?;
                (noted.instance == self.instance && !progress.is_fenced)
                    .then(|| (chain.clone(), noted))
            };
            chains.iter().filter_map(noted).collect()
        };
        for (chain, noted) in ours {
            let version = unix_micros().max(noted.version.saturating_add(1));
            let released = Noted { instance: String::new(), version, ..noted };
            // When this fails, a second node that was fenced waits for its own start.
            if connected.cursors.write(&connected.session, &chain, &released).await.is_ok() {
                self.with_progress(&chain, |progress| progress.noted = Some(released));
            }
        }
    }
}
