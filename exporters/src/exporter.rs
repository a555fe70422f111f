//! The trait that every sink implements.

use async_trait::async_trait;

use crate::{Batch, ExportError};

/// A sink. It never sees cursors; retry, parking and metrics are the runner's.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// Connects, and proves rights and schema without writing rows.
    async fn check(&self) -> Result<(), ExportError>;

    /// Returns when the sink holds every row of the batch durably (INV-5). The same batch may
    /// come again, identical; the sink must end up the same.
    async fn export(&self, batch: &Batch) -> Result<(), ExportError>;

    /// Lets go of connections; what was not acknowledged comes again.
    async fn close(&self);
}
