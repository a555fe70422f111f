//! librdkafka's callbacks: its words go to our log, its last complaint is remembered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_storage::foreign::start_of;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext, Statistics};

use crate::error::words_of;

/// Bytes of a complaint that are kept.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;
/// How long to wait for room in the producer's own queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

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

    /// What the client complained of last: a bad password or authority shows up nowhere else.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.context.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker took something: old complaints say nothing any more.
    pub(super) fn forget_complaint(&self) {
        *self.context.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Hands a record to the producer; waits while its queue is full.
    pub(super) async fn send(
        &self,
        mut record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<DeliveryFuture, KafkaError> {
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Ends the producer at once: what was not acknowledged comes again.
    pub(super) async fn end(self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        // Its last clone joins its thread.
        let _ended = blocking(move || {
            drop(self);
            Ok(())
        })
        .await;
    }
}

/// Whether a record was delivered.
pub(super) async fn delivered(delivery: DeliveryFuture) -> Result<Delivery, KafkaError> {
    match delivery.await {
        Ok(report) => report.map_err(|(error, _)| error),
        Err(_cancelled) => Err(KafkaError::Canceled),
    }
}

/// Runs a call of librdkafka that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(KafkaError::Canceled))
}

/// What a client complained of.
#[derive(Clone)]
pub(super) struct Complaint {
    pub(super) code: Option<RDKafkaErrorCode>,
    pub(super) text: String,
}

impl Complaint {
    /// Whether the broker refuses us, or we it. A missing client certificate comes as a broken
    /// connection, and only the text says why.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL))
            || (self.text.contains("ssl/tls alert") && self.text.contains("certificate"))
    }
}

/// Callbacks of one client; clones share the memory.
#[derive(Clone, Default)]
pub(super) struct Context {
    last: Arc<Mutex<Option<Complaint>>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = words_of(message);
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
        // Its kind is told by words that may stand far behind.
        let text = if reason.is_empty() { &error.to_string() } else { reason };
        let text = start_of(text, COMPLAINT_BYTES_MAX).to_owned();
        let complaint = Complaint { code: error.rdkafka_error_code(), text };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down follows every cause, and says less.
        if complaint.code != Some(RDKafkaErrorCode::AllBrokersDown) || last.is_none() {
            *last = Some(complaint);
        }
    }
}

impl ConsumerContext for Context {}
