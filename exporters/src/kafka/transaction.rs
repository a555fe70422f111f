//! Rows and cursor in one transaction: a file of its own, as only `exactly_once` needs it.
//!
//! A session begins with a claim: a record in the topic of cursors, committed under the stable
//! transactional id. Reading up to that claim shows everything that was committed before, so the
//! cursor that is found is the last one, whatever other transactions are open.

use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureRecord, Producer};

use crate::{ExportError, Mark, failpoint};

use super::client::{Client, blocking, delivered};
use super::config::KafkaConfig;
use super::cursors::{self, Claim, Found};
use super::failure::{failure, is_fenced};
use super::message::Message;

/// Whose transactions they are.
#[derive(Clone)]
pub(super) struct Owner {
    /// The transactional id.
    pub(super) id: String,
    /// A random name of this process.
    pub(super) instance: String,
}

/// A producer that claimed its transactional id.
pub(super) struct Session {
    client: Client,
    owner: Owner,
    topic: String,
    sink: String,
    is_open: bool,
    deliveries: Vec<(Option<String>, DeliveryFuture)>,
    /// What the brokers hold.
    pub(super) held: Option<Mark>,
}

/// Why a session is over.
pub(super) struct Ended {
    pub(super) error: ExportError,
    /// Another producer may have taken the id.
    pub(super) is_fenced: bool,
}

impl Session {
    /// Takes the id, ends what was open under it, and reads the last cursor.
    pub(super) async fn begin(config: &KafkaConfig, owner: &Owner) -> Result<Session, ExportError> {
        let sink = config.sink();
        let client = Client::new(&config.transactional(&owner.id)).map_err(|error| {
            ExportError::Refused { sink: sink.clone(), reason: error.to_string() }
        })?;
        let (taking, timeout) = (client.clone(), config.delivery_timeout());
        let taken = blocking(move || taking.producer.init_transactions(timeout)).await;
        if let Err(error) = taken {
            let error = failure(&sink, &client, &error, None);
            client.end().await;
            return Err(error);
        }
        let mut session = Session {
            client,
            owner: owner.clone(),
            topic: cursors::topic(config),
            sink: sink.clone(),
            is_open: false,
            deliveries: Vec::new(),
            held: None,
        };
        let claimed = session.claim(false, config).await;
        let found = match claimed {
            Ok(()) => look(config, owner, Some(&owner.instance)).await,
            Err(ended) => Err(ended.error),
        };
        match found {
            Ok(found) => {
                session.held = found.cursor;
                Ok(session)
            }
            Err(error) => {
                session.end().await;
                Err(error)
            }
        }
    }

    /// Writes who exports, or that nobody does any more.
    pub(super) async fn claim(
        &mut self,
        is_released: bool,
        config: &KafkaConfig,
    ) -> Result<(), Ended> {
        let claim = Claim { instance: self.owner.instance.clone(), is_released };
        let value = serde_json::to_string(&claim).unwrap_or_default();
        self.note(&cursors::claim_key(&self.owner.id), &value).await?;
        self.commit(None, config).await
    }

    /// Sends a row in the open transaction.
    pub(super) async fn send(&mut self, message: &Message) -> Result<(), Ended> {
        self.open()?;
        let sent = self.client.send(message.record()).await;
        let delivery = sent.map_err(|error| self.ended(&error, Some(&message.event_id)))?;
        self.deliveries.push((Some(message.event_id.clone()), delivery));
        Ok(())
    }

    /// Commits what was sent, with the position behind it.
    pub(super) async fn commit(
        &mut self,
        upto: Option<&Mark>,
        config: &KafkaConfig,
    ) -> Result<(), Ended> {
        self.open()?;
        if let Some(mark) = upto {
            let value = serde_json::to_string(mark).unwrap_or_default();
            self.note(&cursors::cursor_key(&self.owner.id), &value).await?;
        }
        failpoint::reach("kafka.sent");
        for (row, delivery) in std::mem::take(&mut self.deliveries) {
            if let Err(error) = delivered(delivery).await {
                return Err(self.ended(&error, row.as_deref()));
            }
        }
        failpoint::reach("kafka.delivered");
        let (client, timeout) = (self.client.clone(), config.delivery_timeout());
        let committed = blocking(move || client.producer.commit_transaction(timeout)).await;
        committed.map_err(|error| self.ended(&error, None))?;
        failpoint::reach("kafka.committed");
        self.is_open = false;
        self.client.forget_complaint();
        if let Some(mark) = upto {
            self.held = Some(mark.clone());
        }
        Ok(())
    }

    /// Ends the producer. What is open is aborted by whoever begins next.
    pub(super) async fn end(self) {
        self.client.end().await;
    }

    fn open(&mut self) -> Result<(), Ended> {
        if !self.is_open {
            let begun = self.client.producer.begin_transaction();
            begun.map_err(|error| self.ended(&error, None))?;
            self.is_open = true;
        }
        Ok(())
    }

    async fn note(&mut self, key: &str, value: &str) -> Result<(), Ended> {
        self.open()?;
        let record = FutureRecord::to(&self.topic).partition(cursors::PARTITION);
        let sent = self.client.send(record.key(key.as_bytes()).payload(value.as_bytes())).await;
        let delivery = sent.map_err(|error| self.ended(&error, None))?;
        self.deliveries.push((None, delivery));
        Ok(())
    }

    fn ended(&self, error: &KafkaError, row: Option<&str>) -> Ended {
        let fatal = self.client.producer.client().fatal_error();
        Ended {
            error: failure(&self.sink, &self.client, error, row),
            is_fenced: fatal.is_some() || is_fenced(error),
        }
    }
}

impl From<ExportError> for Ended {
    fn from(error: ExportError) -> Ended {
        Ended { error, is_fenced: false }
    }
}

/// What is committed of an id: up to a claim, or to the end.
pub(super) async fn look(
    config: &KafkaConfig,
    owner: &Owner,
    upto: Option<&str>,
) -> Result<Found, ExportError> {
    let (config, id, upto) = (config.clone(), owner.id.clone(), upto.map(str::to_owned));
    let sink = config.sink();
    let found = blocking(move || cursors::read(&config, &id, upto.as_deref())).await;
    let unavailable = |reason| ExportError::Unavailable { sink, reason };
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(unavailable(
            "the topic of cursors does not show what was committed last: is a transaction open?"
                .to_owned(),
        )),
        Err(error) => Err(unavailable(format!("the topic of cursors cannot be read: {error}"))),
    }
}
