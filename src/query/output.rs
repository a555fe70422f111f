//! An answer as JSON, NDJSON, CSV, Arrow IPC or a table for people.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use headwater_exporters::encode::json;

use super::Answer;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
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

/// Writes an answer.
pub fn render(answer: &Answer, format: Format) -> Result<Vec<u8>, ArrowError> {
    match format {
        Format::Json => Ok(as_json(answer).into_bytes()),
        Format::Ndjson => Ok(as_ndjson(answer).into_bytes()),
        Format::Csv => Ok(as_csv(answer).into_bytes()),
        Format::Table => Ok(as_table(answer).into_bytes()),
        Format::Arrow => as_arrow(answer),
    }
}

fn rows(answer: &Answer) -> impl Iterator<Item = (&RecordBatch, usize)> {
    answer.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
}

fn as_json(answer: &Answer) -> String {
    let mut out = String::from("{\"lsn\":");
    out.push_str(&serde_json::to_string(&answer.lsn).unwrap_or_default());
    out.push_str(",\"columns\":[");
    for (position, field) in answer.schema.fields().iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":");
        json::write_text(field.name(), &mut out);
        out.push_str(",\"type\":");
        json::write_text(&field.data_type().to_string(), &mut out);
        out.push('}');
    }
    let _infallible = write!(out, "],\"row_count\":{},\"rows\":[", answer.row_count());
    for (position, (batch, row)) in rows(answer).enumerate() {
        if position > 0 {
            out.push(',');
        }
        json::write_row(batch, row, &mut out);
        out.push('}');
    }
    out.push_str("]}\n");
    out
}

fn as_ndjson(answer: &Answer) -> String {
    let mut out = String::new();
    for (batch, row) in rows(answer) {
        json::write_row(batch, row, &mut out);
        out.push_str("}\n");
    }
    out
}

/// A value as plain text; null is empty.
fn cell(batch: &RecordBatch, column: usize, row: usize) -> String {
    let mut text = String::new();
    let array = batch.column(column);
    if array.is_null(row) {
        return text;
    }
    json::write_value(batch.schema_ref().field(column), array, row, &mut text);
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::String(plain)) => plain,
        Ok(_) | Err(_) => text,
    }
}

fn as_csv(answer: &Answer) -> String {
    let mut out = String::new();
    let quoted = |text: &str| {
        if text.contains(['"', ',', '\n', '\r']) {
            return format!("\"{}\"", text.replace('"', "\"\""));
        }
        text.to_owned()
    };
    let header: Vec<String> = answer.schema.fields().iter().map(|f| quoted(f.name())).collect();
    out.push_str(&header.join(","));
    out.push_str("\r\n");
    for (batch, row) in rows(answer) {
        let cells: Vec<String> =
            (0..batch.num_columns()).map(|column| quoted(&cell(batch, column, row))).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

fn as_table(answer: &Answer) -> String {
    let names: Vec<String> = answer.schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut lines = vec![names];
    for (batch, row) in rows(answer) {
        lines.push((0..batch.num_columns()).map(|column| cell(batch, column, row)).collect());
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..answer.schema.fields().len()).map(width).collect();
    let mut out = String::new();
    for (position, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _infallible = write!(out, "{cell:width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        if position == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            out.push_str(&rules.join("  "));
            out.push('\n');
        }
    }
    let lsn: Vec<String> = answer.lsn.iter().map(|(chain, lsn)| format!("{chain} {lsn}")).collect();
    let _infallible =
        writeln!(out, "({} rows, as of record {})", answer.row_count(), lsn.join(", "));
    out
}

fn as_arrow(answer: &Answer) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &answer.schema)?;
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(out)
}
