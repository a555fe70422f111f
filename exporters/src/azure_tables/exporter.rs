//! Writes a batch's entities, then the cursor behind them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headwater_storage::model::ChainName;

use crate::noted::{Seen, replaced};
use crate::width::Width;
use crate::{Batch, BuildError, ExportError, Exporter, Held, Mark, Scope, failpoint};

use super::AzureTablesConfig;
use super::client::{Client, Request};
use super::cursors::{Noted, Place};
use super::encode::{Entity, Partition, encode};
use super::failure::{Failure, failure};
use super::group::{BOUNDARY, Inner, body, pieces, read};
use super::tables::{CURSORS, SOURCES, Target, targets};

/// A partition that is busy is asked again so many times, 0.1 s doubling to 3 s apart: some 15 s.
const BUSY_TIMES_MAX: u32 = 9;
/// One connection that is cut does not cost the batch what the others wrote.
pub(super) const CUT_TIMES_MAX: u32 = 3;
const BUSY_FIRST: Duration = Duration::from_millis(100);
const BUSY_MAX: Duration = Duration::from_secs(3);

/// The Azure Tables sink.
pub struct AzureTables {
    name: String,
    config: AzureTablesConfig,
    targets: Vec<&'static Target>,
    client: Client,
    width: Width,
    /// The chains that the exporter takes.
    chains_taken: Vec<ChainName>,
    /// A random name of this process.
    instance: String,
    chains: Mutex<BTreeMap<ChainName, Progress>>,
}

/// How an exporter stands on one chain.
#[derive(Clone, Default)]
struct Progress {
    /// What we wrote last, or found at the start.
    noted: Option<Noted>,
    /// Another process exports in our name.
    is_fenced: bool,
}

/// What went wrong with a request, and with which row.
struct Unwritten {
    failure: Failure,
    event_id: Option<String>,
}

impl AzureTables {
    /// Checks the keys; connects to nothing yet.
    pub fn open(
        name: &str,
        config: AzureTablesConfig,
        scope: &Scope,
    ) -> Result<AzureTables, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        if let Some(problem) = config.problem() {
            return Err(wrong(problem));
        }
        if name.contains(['/', '\\', '#', '?']) || name.chars().any(char::is_control) {
            return Err(wrong("its name is a key in a table: no / \\ # ? in it".to_owned()));
        }
        if let Some(table) = scope.tables.iter().find(|table| !SOURCES.contains(table)) {
            let names: Vec<&str> = SOURCES.iter().map(|table| table.name()).collect();
            return Err(wrong(format!(
                "`tables`: kind `azure_tables` has no place for {}; it takes {}",
                table.name(),
                names.join(", ")
            )));
        }
        let client = Client::new(&config).map_err(wrong)?;
        let random = getrandom::u64().map_err(|error| wrong(error.to_string()))?;
        Ok(AzureTables {
            name: name.to_owned(),
            targets: targets(&scope.tables),
            width: Width::new(config.requests),
            config,
            client,
            chains_taken: scope.chains.clone(),
            instance: format!("{random:016x}"),
            chains: Mutex::default(),
        })
    }

    fn sink(&self) -> String {
        format!("{}/{}*", self.config.endpoint(), self.config.prefix)
    }

    fn failed(&self, failure: Failure) -> ExportError {
        failure.into_error(self.sink())
    }

    fn table(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    fn tables(&self) -> impl Iterator<Item = String> {
        self.targets.iter().map(|target| target.name).chain([CURSORS]).map(|name| self.table(name))
    }

    fn cursors(&self) -> Place<'_> {
        Place { client: &self.client, table: self.table(CURSORS), exporter: &self.name }
    }

    fn with_progress<T>(&self, chain: &ChainName, look: impl FnOnce(&mut Progress) -> T) -> T {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        look(chains.entry(chain.clone()).or_default())
    }

    async fn cursor(&self, chain: &ChainName) -> Result<Option<Noted>, ExportError> {
        self.cursors().read(chain).await.map_err(|failure| self.failed(failure))
    }

    fn look_who_exports(&self, found: Option<&Noted>) -> Result<(), ExportError> {
        match found.filter(|noted| noted.is_foreign(&self.instance)) {
            Some(_) => Err(replaced(self.sink(), &self.name)),
            None => Ok(()),
        }
    }

    /// Compares what the sink says with what we wrote there last.
    fn compare(&self, chain: &ChainName, found: Option<Noted>) -> Result<(), ExportError> {
        self.with_progress(chain, |progress| {
            match Noted::look(progress.noted.as_ref(), found.as_ref(), &self.instance) {
                Seen::Foreign => {
                    progress.is_fenced = true;
                    Err(replaced(self.sink(), &self.name))
                }
                Seen::Other(lsn) => Err(ExportError::Moved { sink: self.sink(), lsn }),
                Seen::AsKnown => {
                    progress.noted = found;
                    Ok(())
                }
            }
        })
    }

    async fn send(&self, batch: &Batch) -> Result<(), ExportError> {
        let (targets, given) = (self.targets.clone(), batch.clone());
        let encoded = tokio::task::spawn_blocking(move || encode(&targets, &given)).await;
        // It was stopped with the runtime.
        let partitions = encoded.map_err(|error| ExportError::Unavailable {
            sink: self.sink(),
            reason: error.to_string(),
        })?;
        self.write_all(&partitions).await
    }

    /// Writes all entities, as many requests at once as the service takes.
    pub(super) async fn write_all(&self, partitions: &[Partition]) -> Result<(), ExportError> {
        let groups = partitions.iter().flat_map(|partition| {
            pieces(&partition.entities).into_iter().map(move |piece| (partition, piece))
        });
        let mut waiting = groups.collect::<Vec<_>>().into_iter();
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < self.width.now() {
                let Some((partition, piece)) = waiting.next() else { break };
                flying.push(self.write(partition, piece));
            }
            let Some(written) = flying.next().await else { return Ok(()) };
            let Err(Unwritten { failure, event_id }) = written else { continue };
            return Err(match (failure, event_id) {
                (Failure::Entity(_, reason) | Failure::TooLarge(reason), Some(event_id)) => {
                    ExportError::Row { sink: self.sink(), event_id, reason }
                }
                (failure, _) => self.failed(failure),
            });
        }
    }

    /// Writes entities of one partition; waits while that is busy.
    async fn write(&self, partition: &Partition, entities: &[Entity]) -> Result<(), Unwritten> {
        let (mut busy, mut cut) = (0, 0);
        loop {
            let round = self.width.sent();
            let failure = match self.write_once(partition, entities).await {
                Err(Failure::Busy(reason)) if busy < BUSY_TIMES_MAX => {
                    self.width.too_much(round, &self.sink(), &reason);
                    tokio::time::sleep(BUSY_FIRST.saturating_mul(1 << busy).min(BUSY_MAX)).await;
                    busy += 1;
                    continue;
                }
                Err(Failure::Cut(_)) if cut < CUT_TIMES_MAX => {
                    tokio::time::sleep(BUSY_FIRST.saturating_mul(1 << cut)).await;
                    cut += 1;
                    continue;
                }
                Err(failure) => failure,
                Ok(()) => {
                    self.width.took(round);
                    return Ok(());
                }
            };
            return match (&failure, entities) {
                (Failure::TooLarge(_), [_, _, ..]) => {
                    let (first, second) = entities.split_at(entities.len() / 2);
                    Box::pin(self.write(partition, first)).await?;
                    Box::pin(self.write(partition, second)).await
                }
                (Failure::Entity(place, _), _) => {
                    let guilty = entities.get(place.unwrap_or(0));
                    let is_known = place.is_some() || entities.len() == 1;
                    let event_id = guilty.filter(|_| is_known).map(|one| one.event_id.clone());
                    Err(Unwritten { failure, event_id })
                }
                (_, [one]) => {
                    let event_id = Some(one.event_id.clone());
                    Err(Unwritten { failure, event_id })
                }
                (_, _) => Err(Unwritten { failure, event_id: None }),
            };
        }
    }

    async fn write_once(&self, partition: &Partition, entities: &[Entity]) -> Result<(), Failure> {
        let table = self.client.table(&self.table(partition.table));
        let request = Request {
            content_type: &format!("multipart/mixed; boundary={BOUNDARY}"),
            body: body(&table, &partition.key, entities),
            ..Request::new("POST", "$batch")
        };
        let answer = self.client.ask(request).await?;
        match read(&answer.body) {
            Inner::Done(count) if count == entities.len() => Ok(()),
            Inner::Done(count) => {
                let wanted = entities.len();
                Err(Failure::Away(format!("its answer names {count} of {wanted} entities")))
            }
            Inner::Failed(status, code, words, place) => {
                let other = || Failure::Away(format!("{status} {code} {words}"));
                Err(failure(status, &code, &words, place).unwrap_or_else(other))
            }
        }
    }

    /// Moves the cursor, unless somebody else did.
    async fn note(&self, chain: &ChainName, mark: &Mark) -> Result<(), ExportError> {
        let known = self.with_progress(chain, |progress| progress.noted.clone());
        let version = known.as_ref().map(|noted| noted.version.as_str());
        let what = (mark, self.instance.as_str());
        match self.cursors().write(chain, what, version).await {
            Ok(version) => {
                let (mark, safe) = (mark.clone(), mark.clone());
                let noted = Noted { mark, safe, instance: self.instance.clone(), version };
                self.with_progress(chain, |progress| progress.noted = Some(noted));
                Ok(())
            }
            // It may be our own, of which the answer was lost.
            Err(Failure::Conflict | Failure::NoEntity(_)) => {
                let found = self.cursor(chain).await?;
                self.compare(chain, found)?;
                Err(ExportError::Moved { sink: self.sink(), lsn: mark.lsn })
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }
}

#[async_trait]
impl Exporter for AzureTables {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        let mut missing = Vec::new();
        for table in self.tables() {
            let path = format!("{table}(PartitionKey='-',RowKey='-')");
            match self.client.ask(Request::new("GET", &path)).await {
                Ok(_) | Err(Failure::NoEntity(_)) => {}
                Err(Failure::NoTable(_)) => missing.push(format!("table {table}")),
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        for chain in &self.chains_taken {
            // Refuses tables of another layout.
            match self.cursors().read(chain).await {
                Ok(_) | Err(Failure::NoTable(_)) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        Ok(missing)
    }

    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value> {
        let explained = |(partition, entity): (&Partition, &Entity)| {
            let fields: serde_json::Value = serde_json::from_str(&entity.json).unwrap_or_default();
            serde_json::json!({ "table": self.table(partition.table), "entity": fields })
        };
        let partitions = encode(&self.targets, batch);
        let all = partitions
            .iter()
            .flat_map(|partition| partition.entities.iter().map(move |entity| (partition, entity)));
        all.map(explained).collect()
    }

    async fn check(&self) -> Result<(), ExportError> {
        let mut is_new = false;
        for table in self.tables() {
            if self.config.create_tables {
                let body = serde_json::json!({ "TableName": table }).to_string();
                let request = Request { body, ..Request::new("POST", "Tables") };
                match self.client.ask(request).await {
                    Ok(_) => {
                        tracing::info!(table, "made a table");
                        is_new |= table != self.table(CURSORS);
                    }
                    Err(Failure::Conflict) => {}
                    Err(failure) => return Err(self.failed(failure)),
                }
            }
            // The right to write, without writing: what is deleted is not there.
            let path = format!("{table}(PartitionKey='-',RowKey='-')");
            let request = Request { if_match: Some("*"), ..Request::new("DELETE", &path) };
            match self.client.ask(request).await {
                Ok(_) | Err(Failure::NoEntity(_)) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        for chain in &self.chains_taken {
            // Refuses tables of another layout.
            self.cursor(chain).await?;
            // A table that was deleted, or that a new version fills, gets everything.
            if is_new {
                self.cursors().forget(chain).await.map_err(|failure| self.failed(failure))?;
            }
        }
        let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (chain, _) in chains.iter().filter(|(_, progress)| progress.is_fenced) {
            self.look_who_exports(self.cursor(chain).await?.as_ref())?;
        }
        Ok(())
    }

    async fn resume(&self, chain: &ChainName) -> Result<Held, ExportError> {
        let found = self.cursor(chain).await?;
        let held = found.as_ref().map_or(Held::Nothing, |noted| Held::Upto(noted.mark.clone()));
        self.with_progress(chain, |progress| {
            if progress.is_fenced {
                self.look_who_exports(found.as_ref())?;
            }
            *progress = Progress { noted: found, is_fenced: false };
            Ok(held)
        })
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        let Some(upto) = &batch.upto else { return self.send(batch).await };
        let found = self.cursor(&batch.chain).await?;
        self.compare(&batch.chain, found)?;
        self.send(batch).await?;
        failpoint::reach("azure_tables.sent");
        self.note(&batch.chain, upto).await?;
        failpoint::reach("azure_tables.noted");
        Ok(())
    }

    async fn close(&self) {
        let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (chain, progress) in chains {
            let Some(noted) = progress.noted.filter(|noted| noted.instance == self.instance) else {
                continue;
            };
            let version = Some(noted.version.as_str());
            // When this fails, a second node that was fenced waits for its own start.
            if let Ok(version) = self.cursors().write(&chain, (&noted.mark, ""), version).await {
                let released = Noted { instance: String::new(), version, ..noted };
                self.with_progress(&chain, |progress| progress.noted = Some(released));
            }
        }
    }
}
