//! The forms of an answer.

/// The form of an answer.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object: `lsn`, `columns`, `rows`.
    #[default]
    Json,
    /// One object per line and row.
    Ndjson,
    /// A header line, then one line per row (RFC 4180).
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// Aligned columns.
    Table,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Table => "text/plain; charset=utf-8",
        }
    }

    /// The form that a media type asks for.
    pub fn from_accept(accept: &str) -> Option<Format> {
        let all = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow, Format::Table];
        let is_it = |format: &Format| {
            let kind = format.content_type().split(';').next().unwrap_or_default();
            accept.contains(kind)
        };
        all.into_iter().find(is_it)
    }
}
