//! Sends a batch and waits for every delivery report, or for the commit of its transaction.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_storage::model::{ChainName, Lsn, OwnedEvent};
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, Producer};
use tokio::time::Instant;

use crate::{Batch, BuildError, ExportError, Exporter, Held, Mark, Scope};

use super::KafkaConfig;
use super::client::{Client, delivered};
use super::config::Layout;
use super::failure::failure;
use super::message::{Form, Message, in_json};
use super::topics::{self, Names};
use super::transaction::{Ended, Owner, Session, look};

/// A transaction ends at the event behind which it would be longer,
const TRANSACTION_BYTES_MAX: usize = 16 << 20;
/// and when it was sent to for so long: readers of what is committed wait for it.
const TRANSACTION_TIME_MAX: Duration = Duration::from_millis(500);

/// The Kafka sink.
pub struct Kafka {
    config: KafkaConfig,
    scope: Scope,
    form: Form,
    names: Names,
    /// Made anew after a fatal error.
    client: Mutex<Option<Client>>,
    /// Without the chain.
    owner: Owner,
    exact: tokio::sync::Mutex<Exact>,
}

/// With `exactly_once`.
#[derive(Default)]
struct Exact {
    session: Option<Session>,
    /// The last one ended as if another node had taken the transactional id.
    is_fenced: bool,
}

/// Where a position is, seen from a batch.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Nothing of the batch is there.
    Before,
    /// Its events up to this record are.
    Within(Lsn),
    /// All of it is.
    Behind,
    /// It is none that this batch could have left.
    Elsewhere(Lsn),
}

fn place(held: Option<&Mark>, batch: &Batch) -> Place {
    let (Some(held), Some(upto)) = (held, &batch.upto) else { return Place::Before };
    if held == upto {
        return Place::Behind;
    }
    if held.generation < upto.generation {
        return Place::Before;
    }
    let is_event = |event: &OwnedEvent| Mark::of(&event.head, upto.generation) == *held;
    if batch.events.iter().any(is_event) {
        return Place::Within(held.lsn);
    }
    // An empty batch moves the position alone.
    let first = batch.events.first().map_or(upto.lsn, |event| event.head.lsn);
    let is_before = held.lsn < first && held.generation == upto.generation;
    if is_before { Place::Before } else { Place::Elsewhere(held.lsn) }
}

impl Kafka {
    /// Checks the keys; connects to nothing yet.
    pub fn open(name: &str, config: KafkaConfig, scope: &Scope) -> Result<Kafka, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        if let Some(problem) = config.problem() {
            return Err(wrong(problem));
        }
        if config.layout == Layout::Legacy && scope.chains.len() > 1 {
            return Err(wrong(
                "`layout = \"legacy\"` has no chain in its topics: give each chain an exporter of \
                 its own with `chains = [..]` and a `prefix`"
                    .to_owned(),
            ));
        }
        let client = Client::new(&config.producer())
            .map_err(|error| wrong(format!("librdkafka refuses the settings: {error}")))?;
        let random = getrandom::u64().map_err(|error| wrong(error.to_string()))?;
        let id = config.transactional_id.clone().unwrap_or_else(|| format!("headwater-{name}"));
        let owner = Owner { id, instance: format!("{random:016x}") };
        let (client, exact) = (Mutex::new(Some(client)), tokio::sync::Mutex::default());
        let (form, names) = (Form::new(name, &config)?, Names::new(&config));
        Ok(Kafka { config, scope: scope.clone(), form, names, client, owner, exact })
    }

    fn client(&self) -> Result<Client, ExportError> {
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::new(&self.config.producer()).map_err(|error| {
            ExportError::Refused { sink: self.config.sink(), reason: error.to_string() }
        })?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// What went wrong. A producer that met a fatal error never works again.
    fn failed(&self, client: &Client, error: &KafkaError, row: &str) -> ExportError {
        if let Some((code, reason)) = client.producer.client().fatal_error() {
            tracing::warn!(%code, reason, "the producer met a fatal error: a new one is made");
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        failure(&self.config.sink(), client, error, Some(row))
    }

    /// The messages of an event, in order.
    async fn messages(
        &self,
        batch: &Batch,
        event: &OwnedEvent,
    ) -> Result<Vec<Message>, ExportError> {
        let messages = self.form.messages(&self.names, batch, event).await?.into_iter();
        Ok(messages.flat_map(|message| message.split(self.config.split_bytes)).collect())
    }

    async fn export_at_least_once(&self, batch: &Batch) -> Result<(), ExportError> {
        let client = self.client()?;
        let mut deliveries: Vec<(String, DeliveryFuture)> = Vec::new();
        for event in &batch.events {
            for message in self.messages(batch, event).await? {
                match client.send(message.record()).await {
                    Ok(delivery) => deliveries.push((message.event_id, delivery)),
                    Err(error) => return Err(self.failed(&client, &error, &message.event_id)),
                }
            }
        }
        // INV-5: the batch counts only after every delivery report.
        for (event_id, delivery) in deliveries {
            let report = delivered(delivery).await;
            report.map_err(|error| self.failed(&client, &error, &event_id))?;
        }
        client.forget_complaint();
        Ok(())
    }

    fn owner(&self, chain: &ChainName) -> Owner {
        Owner { id: format!("{}-{chain}", self.owner.id), ..self.owner.clone() }
    }

    /// Whether another node took the id: then it goes on, and this one does not fence it back.
    async fn look_who_exports(&self, owner: &Owner) -> Result<(), ExportError> {
        let found = look(&self.config, owner, None).await?;
        match found.claim {
            Some(claim) if claim.instance != owner.instance && !claim.is_released => {
                Err(ExportError::Refused {
                    sink: self.config.sink(),
                    reason: format!(
                        "another node took the transactional id `{}`: stop one of them, or give \
                         this exporter another `transactional_id` and start again",
                        owner.id
                    ),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The session that is there, or a new one.
    async fn session(&self, exact: &mut Exact, chain: &ChainName) -> Result<Session, ExportError> {
        if let Some(session) = exact.session.take() {
            return Ok(session);
        }
        let owner = self.owner(chain);
        if exact.is_fenced {
            self.look_who_exports(&owner).await?;
        }
        let session = Session::begin(&self.config, &owner).await?;
        exact.is_fenced = false;
        Ok(session)
    }

    async fn export_exactly_once(&self, batch: &Batch) -> Result<(), ExportError> {
        let mut exact = self.exact.lock().await;
        let mut session = self.session(&mut exact, &batch.chain).await?;
        // After any doubt there is a new session, and the brokers say what they hold. When this
        // is dropped half-way the session goes with it.
        match self.commit_in_pieces(&mut session, batch).await {
            Ok(()) => {
                exact.session = Some(session);
                Ok(())
            }
            Err(Ended { error: error @ ExportError::Moved { .. }, .. }) => {
                exact.session = Some(session);
                Err(error)
            }
            Err(ended) => {
                exact.is_fenced = ended.is_fenced;
                session.end().await;
                Err(ended.error)
            }
        }
    }

    async fn commit_in_pieces(&self, session: &mut Session, batch: &Batch) -> Result<(), Ended> {
        // Rows that are sent once more move nothing.
        let generation = batch.upto.as_ref().map(|upto| upto.generation);
        let held = match place(session.held.as_ref(), batch) {
            Place::Before => Lsn::default(),
            Place::Within(lsn) => lsn,
            Place::Behind => return Ok(()),
            Place::Elsewhere(lsn) => {
                return Err(ExportError::Moved { sink: self.config.sink(), lsn }.into());
            }
        };
        let (mut open, mut last, mut opened) = (0, None, Instant::now());
        for event in batch.events.iter().filter(|event| event.head.lsn > held) {
            let messages = self.messages(batch, event).await?;
            let bytes: usize = messages.iter().map(Message::bytes).sum();
            let is_long = open + bytes > TRANSACTION_BYTES_MAX;
            if open > 0 && (is_long || opened.elapsed() > TRANSACTION_TIME_MAX) {
                session.commit(last.as_ref(), &self.config).await?;
                (open, opened) = (0, Instant::now());
            }
            for message in &messages {
                session.send(message).await?;
            }
            open += bytes;
            last = generation.map(|generation| Mark::of(&event.head, generation));
        }
        session.commit(batch.upto.as_ref(), &self.config).await
    }
}

#[async_trait]
impl Exporter for Kafka {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        let missing = topics::missing(&self.config, &self.scope, &self.client()?).await?;
        let topics = missing.into_keys().map(|topic| format!("topic {topic}"));
        let subjects = self.form.missing(&self.names, &self.scope).await?;
        Ok(topics.chain(subjects).collect())
    }

    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value> {
        let explained = |message: Message| {
            serde_json::json!({
                "topic": message.topic,
                "key": String::from_utf8_lossy(&message.key),
                "headers": {
                    "event_id": message.event_id, "lsn": message.lsn, "op": message.op.as_str(),
                },
                "value": serde_json::from_slice::<serde_json::Value>(&message.value)
                    .unwrap_or_default(),
            })
        };
        let records = batch.events.iter().flat_map(|event| self.names.records(batch, event));
        records.flat_map(in_json).map(explained).collect()
    }

    async fn check(&self) -> Result<(), ExportError> {
        topics::ensure(&self.config, &self.scope, &self.client()?).await?;
        self.form.check(&self.names, &self.scope).await?;
        let exact = self.exact.lock().await;
        if exact.is_fenced {
            for chain in &self.scope.chains {
                self.look_who_exports(&self.owner(chain)).await?;
            }
        }
        Ok(())
    }

    async fn resume(&self, chain: &ChainName) -> Result<Held, ExportError> {
        if !self.config.exactly_once {
            return Ok(Held::Unknown);
        }
        let held = match &self.exact.lock().await.session {
            Some(session) => session.held.clone(),
            // Without taking the id: a node whose log is not this one must not stop the right one.
            None => look(&self.config, &self.owner(chain), None).await?.cursor,
        };
        // Without a cursor there: it may have taken batches at least once before.
        Ok(held.map_or(Held::Unknown, Held::Upto))
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        if self.config.exactly_once {
            return self.export_exactly_once(batch).await;
        }
        self.export_at_least_once(batch).await
    }

    async fn close(&self) {
        if let Some(mut session) = self.exact.lock().await.session.take() {
            // Another node may go on at once; when this fails it waits for the brokers' time.
            let _said = session.claim(true, &self.config).await;
            session.end().await;
        }
        let held = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(client) = held {
            client.end().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::sample_batch;

    #[test]
    fn a_position_is_before_within_behind_or_none_of_a_batch() {
        let batch = sample_batch(&"test".parse().unwrap(), Lsn(10));
        let mark = |at: usize| Mark::of(&batch.events[at].head, 0);
        let upto = batch.upto.clone().unwrap();
        let earlier = Mark { lsn: Lsn(9), ..mark(0) };
        assert_eq!(place(None, &batch), Place::Before);
        assert_eq!(place(Some(&earlier), &batch), Place::Before);
        assert_eq!(place(Some(&mark(1)), &batch), Place::Within(Lsn(11)));
        assert_eq!(place(Some(&upto), &batch), Place::Behind);
        let later = Mark { lsn: Lsn(20), ..upto.clone() };
        assert_eq!(place(Some(&later), &batch), Place::Elsewhere(Lsn(20)));
        let other = Mark { event: "applied 2 0x00".to_owned(), ..mark(1) };
        assert_eq!(place(Some(&other), &batch), Place::Elsewhere(Lsn(11)), "another log");
        let rewound = Mark { generation: 1, ..earlier };
        assert_eq!(place(Some(&rewound), &batch), Place::Elsewhere(Lsn(9)));
        let again = Batch { upto: Some(Mark { generation: 2, ..upto.clone() }), ..batch.clone() };
        assert_eq!(place(Some(&upto), &again), Place::Before, "it was rewound since");
    }
}
