//! Why an export failed, and what to do about it.

use headwater_storage::foreign::{REASON_CHARS_MAX, WORDS_CHARS_MAX, excerpt};
use headwater_storage::model::Lsn;

/// Characters of an error with its causes.
const CHAIN_CHARS_MAX: usize = 500;

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
    #[error("{sink} is not available: {}", shown(reason))]
    Unavailable {
        /// Which sink, by address.
        sink: String,
        /// Its own words.
        reason: String,
    },
    /// The sink will never take this row.
    #[error("{sink} refuses the row {event_id}: {}", shown(reason))]
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
    #[error("{sink} lacks {}: {fix}", shown(what))]
    Missing {
        /// Which sink, by address.
        sink: String,
        /// What is missing.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The sink knows us and says no.
    #[error("{sink} refuses us: {}", shown(reason))]
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

/// A reason as it is shown: whatever the sink put into it is on one line, and ends.
fn shown(reason: &str) -> String {
    excerpt(reason, REASON_CHARS_MAX)
}

/// What a sink said, as it stands before or behind our own words.
pub(crate) fn words_of(text: &str) -> String {
    excerpt(text, WORDS_CHARS_MAX)
}

/// An error with its causes: the first sentence of an HTTP client says little.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    excerpt(&text, CHAIN_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sink_says_is_on_one_line_and_ends() {
        let reason = format!("\u{1b}[2J\0\r\n\u{202e}{}", "x".repeat(100_000_000));
        let text = ExportError::Refused { sink: "it".to_owned(), reason }.to_string();
        assert!(text.starts_with("it refuses us: \\u{1b}[2J\\u{0}\\r\\n\\u{202e}xx"), "{text:.99}");
        assert!(text.len() < 1_100 && text.ends_with("..."));
    }
}
