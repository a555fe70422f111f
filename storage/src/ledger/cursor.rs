//! How far an exporter has come.

use crate::model::Lsn;

/// An exporter's position in a chain's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The sink holds all records up to this one durably (INV-5).
    pub exported: Lsn,
    /// The batch that was being sent ends here; after a crash the same batch is sent (INV-7).
    pub intent: Option<Lsn>,
    /// Raised whenever it goes back on purpose: what a sink noted before then says nothing.
    #[serde(default)]
    pub generation: u64,
    /// Somebody stopped it, and it stays so over restarts.
    #[serde(default)]
    pub is_paused: bool,
}
