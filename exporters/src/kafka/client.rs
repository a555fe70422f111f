//! librdkafka's callbacks: its words go to our log, its last complaint is remembered.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::{ClientConfig, ClientContext, Statistics};

/// A producer, and what it complained of.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) producer: FutureProducer<Context>,
    context: Context,
}

impl Client {
    pub(super) fn new(config: &ClientConfig) -> Result<Client, KafkaError> {
        let context = Context::default();
        let producer = config.create_with_context(context.clone())?;
        Ok(Client { producer, context })
    }

    /// An error in the broker's words, with the client's last complaint: a bad password or
    /// authority shows up nowhere else.
    pub(super) fn reason(&self, error: &dyn std::fmt::Display) -> String {
        match self.context.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(complaint) => format!("{error}; {complaint}"),
            None => error.to_string(),
        }
    }
}

/// Callbacks of one client; clones share the memory.
#[derive(Clone, Default)]
pub(super) struct Context {
    last: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(facility, message, "librdkafka");
            }
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let text = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}
