//! Why an export failed, and what to do about it.

use headwater_storage::model::Lsn;

/// What the runner does after an error. There is no "drop".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The same batch again, for ever, 1 s to 30 s apart.
    Retry,
    /// This row can never go: it is set aside with its reason, the rest of the batch goes on.
    Park,
    /// The sink is elsewhere than was believed: it is asked again where, and the log compared.
    Resume,
    /// Nothing will go until somebody mends something: the exporter is blocked with the reason,
    /// and looks again by itself.
    Stop,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The sink is away, slow or full.
    #[error("{sink} is not available: {reason}")]
    Unavailable {
        /// Which sink, by address.
        sink: String,
        /// Its own words.
        reason: String,
    },
    /// The sink will never take this row.
    #[error("{sink} refuses the row {event_id}: {reason}")]
    Row {
        /// Which sink, by address.
        sink: String,
        /// The row.
        event_id: String,
        /// Its own words.
        reason: String,
    },
    /// The sink notes a position that is none of this batch: an earlier life of this node, or
    /// another node, put it there.
    #[error("{sink} is at record {lsn} already")]
    Moved {
        /// Which sink, by address.
        sink: String,
        /// Its position.
        lsn: Lsn,
    },
    /// A topic, table or container is missing, or has the wrong shape.
    #[error("{sink} lacks {what}: {fix}")]
    Missing {
        /// Which sink, by address.
        sink: String,
        /// What is missing.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The sink knows us and says no.
    #[error("{sink} refuses us: {reason}")]
    Refused {
        /// Which sink, by address.
        sink: String,
        /// Its own words.
        reason: String,
    },
}

impl ExportError {
    /// What the runner does.
    pub fn disposition(&self) -> Disposition {
        match self {
            ExportError::Unavailable { .. } => Disposition::Retry,
            ExportError::Row { .. } => Disposition::Park,
            ExportError::Moved { .. } => Disposition::Resume,
            ExportError::Missing { .. } | ExportError::Refused { .. } => Disposition::Stop,
        }
    }

    /// The row to park.
    pub fn event_id(&self) -> Option<&str> {
        match self {
            ExportError::Row { event_id, .. } => Some(event_id),
            ExportError::Unavailable { .. }
            | ExportError::Moved { .. }
            | ExportError::Missing { .. }
            | ExportError::Refused { .. } => None,
        }
    }
}

/// An error with its causes: the first sentence of an HTTP client says little.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
