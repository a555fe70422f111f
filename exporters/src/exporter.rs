//! The trait that every sink implements.

use async_trait::async_trait;
use headwater_storage::ledger::KeyUsage;
use headwater_storage::model::ChainName;

use crate::{Batch, ExportError, Mark};

/// Where a sink says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does not keep that.
    Unknown,
    /// It keeps that, and holds nothing of a chain.
    Nothing,
    /// It holds everything up to here.
    Upto(Mark),
}

/// A sink. Retry, parking, metrics and the ledger's cursor are the runner's.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// Connects, and says what is missing there and `check` would make.
    async fn missing(&self) -> Result<Vec<String>, ExportError>;

    /// Connects, makes what is missing where the configuration lets it, and proves rights and
    /// schema without writing rows.
    async fn check(&self) -> Result<(), ExportError>;

    /// The exact records that a batch becomes, without connecting.
    fn explain(&self, batch: &Batch) -> Vec<serde_json::Value>;

    /// Where the sink itself says that it is, before the first batch and when it was interrupted.
    /// A sink that stores this with the rows is right where the ledger's cursor is not. What it has
    /// beyond that, `export` finds.
    async fn resume(&self, chain: &ChainName) -> Result<Held, ExportError>;

    /// Returns when the sink holds every row of the batch durably (INV-5). The same batch may
    /// come again, identical; the sink must end up the same. It may be dropped at any await.
    async fn export(&self, batch: &Batch) -> Result<(), ExportError>;

    /// Whether it has a place for what the providers' keys were used for.
    fn has_place_for_usage(&self) -> bool {
        false
    }

    /// Takes what the providers' keys were used for, where it has a place for that.
    async fn note_usage(&self, _: &[KeyUsage]) -> Result<(), ExportError> {
        Ok(())
    }

    /// Lets go of connections; what was not acknowledged comes again.
    async fn close(&self);
}
