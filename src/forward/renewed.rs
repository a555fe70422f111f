//! A sink whose keys are secrets of a vault: it is made when they can be had, and anew when it is
//! refused and they have changed since.

use std::sync::Arc;

use async_trait::async_trait;
use headwater_exporters::{Batch, Disposition, ExportError, Exporter, Held, Scope, Sink};
use headwater_storage::ledger::KeyUsage;
use headwater_storage::model::ChainName;
use tokio::sync::Mutex;

use crate::secrets::{SecretError, Secrets};

/// A sink that is made when its secrets can be had.
pub(super) struct Renewed {
    name: String,
    kind: String,
    /// With references to secrets.
    settings: toml::Table,
    scope: Scope,
    secrets: Secrets,
    made: Mutex<Option<Made>>,
}

struct Made {
    /// With the secrets.
    settings: toml::Table,
    sink: Arc<dyn Exporter>,
}

impl Renewed {
    /// Asks for nothing yet.
    pub(super) fn new(
        (name, kind): (&str, &str),
        settings: toml::Table,
        scope: Scope,
        secrets: Secrets,
    ) -> Renewed {
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Renewed { name, kind, settings, scope, secrets, made: Mutex::default() }
    }

    fn failed(&self, error: &SecretError) -> ExportError {
        let (sink, reason) = (format!("the key vault for `{}`", self.name), error.to_string());
        if error.is_refused() {
            ExportError::Refused { sink, reason }
        } else {
            ExportError::Unavailable { sink, reason }
        }
    }

    /// The sink; with secrets that are asked for again where `is_renewed`.
    async fn sink(&self, is_renewed: bool) -> Result<Arc<dyn Exporter>, ExportError> {
        let mut made = self.made.lock().await;
        if let Some(Made { sink, .. }) = made.as_ref().filter(|_| !is_renewed) {
            return Ok(sink.clone());
        }
        let filled = self.secrets.fill(&self.settings, is_renewed).await;
        let settings = filled.map_err(|error| self.failed(&error))?;
        if let Some(Made { sink, .. }) = made.as_ref().filter(|made| made.settings == settings) {
            return Ok(sink.clone());
        }
        let built =
            headwater_exporters::build(&self.name, &self.kind, settings.clone(), &self.scope);
        let refused = |reason| ExportError::Refused { sink: format!("`{}`", self.name), reason };
        let sink = match built.map_err(|error| refused(error.to_string()))? {
            Sink::Events(sink) => sink,
            Sink::Parts(_) => return Err(refused(format!("`{}` takes no secrets", self.kind))),
        };
        if let Some(old) = made.take() {
            tracing::info!(exporter = self.name, "its secrets have changed");
            old.sink.close().await;
        }
        *made = Some(Made { settings, sink: sink.clone() });
        Ok(sink)
    }
}

#[async_trait]
impl Exporter for Renewed {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        self.sink(false).await?.missing().await
    }

    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value> {
        // Before its secrets are there nothing was sent either.
        let made = self.made.try_lock().ok();
        let sink = made.and_then(|made| made.as_ref().map(|made| made.sink.clone()));
        sink.map_or_else(Vec::new, |sink| sink.explain(batch))
    }

    async fn check(&self) -> Result<(), ExportError> {
        let sink = self.sink(false).await?;
        match sink.check().await {
            Err(error) if error.disposition() == Disposition::Stop => {
                // Perhaps the secrets are others by now; when they are not, or the vault is away,
                // what the sink said stands.
                match self.sink(true).await {
                    Ok(renewed) if !Arc::ptr_eq(&renewed, &sink) => renewed.check().await,
                    Ok(_) | Err(_) => Err(error),
                }
            }
            checked => checked,
        }
    }

    async fn resume(&self, chain: &ChainName) -> Result<Held, ExportError> {
        self.sink(false).await?.resume(chain).await
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        self.sink(false).await?.export(batch).await
    }

    fn has_place_for_usage(&self) -> bool {
        self.settings.contains_key("usage_keyspace")
    }

    async fn note_usage(&self, rows: &[KeyUsage]) -> Result<(), ExportError> {
        self.sink(false).await?.note_usage(rows).await
    }

    async fn close(&self) {
        if let Some(made) = self.made.lock().await.take() {
            made.sink.close().await;
        }
    }
}
