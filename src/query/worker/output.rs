//! An answer as JSON, NDJSON, CSV, Arrow IPC or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use headwater_exporters::encode::json;
use headwater_storage::tables::read_logs;

use crate::query::Format;
use crate::query::wire::{Form, Gap};

/// What a statement gave.
pub(super) struct Outcome<'a> {
    /// Names and types of the columns.
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    pub(super) row_count: usize,
    /// Each chain as of which record.
    pub(super) lsn: &'a BTreeMap<String, u64>,
    /// What is not captured of what was read.
    pub(super) gaps: &'a [Gap],
}

/// Writes an answer.
pub(super) fn write(outcome: &Outcome<'_>, form: Form, out: &mut impl Write) -> io::Result<()> {
    match form {
        Form::User(Format::Json) => as_json(outcome, out),
        Form::User(Format::Ndjson) => as_ndjson(outcome, out),
        Form::User(Format::Csv) => as_csv(outcome, out),
        Form::User(Format::Table) => as_table(outcome, out),
        Form::User(Format::Arrow) => as_arrow(outcome, out),
        Form::Logs => as_logs(outcome, out),
    }?;
    out.flush()
}

fn rows<'a>(outcome: &'a Outcome<'_>) -> impl Iterator<Item = (&'a RecordBatch, usize)> {
    outcome.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
}

fn as_json(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\"lsn\":{}", serde_json::to_string(outcome.lsn)?)?;
    if !outcome.gaps.is_empty() {
        write!(out, ",\"gaps\":{}", serde_json::to_string(outcome.gaps)?)?;
    }
    let mut text = String::from(",\"columns\":[");
    for (position, field) in outcome.schema.fields().iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str("{\"name\":");
        json::write_text(field.name(), &mut text);
        text.push_str(",\"type\":");
        json::write_text(&field.data_type().to_string(), &mut text);
        text.push('}');
    }
    write!(out, "{text}],\"row_count\":{},\"rows\":[", outcome.row_count)?;
    for (position, (batch, row)) in rows(outcome).enumerate() {
        text.clear();
        if position > 0 {
            text.push(',');
        }
        json::write_row(batch, row, &mut text);
        text.push('}');
        out.write_all(text.as_bytes())?;
    }
    out.write_all(b"]}\n")
}

fn as_ndjson(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut text = String::new();
    for (batch, row) in rows(outcome) {
        text.clear();
        json::write_row(batch, row, &mut text);
        text.push_str("}\n");
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn as_logs(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    let (mut text, mut is_first) = (String::from("["), true);
    for batch in &outcome.batches {
        for (links, log) in read_logs(batch).map_err(io::Error::other)? {
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            log.write_json(&links, &mut text);
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    text.push(']');
    out.write_all(text.as_bytes())
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

fn as_csv(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    let quoted = |text: &str| {
        if text.contains(['"', ',', '\n', '\r']) {
            return format!("\"{}\"", text.replace('"', "\"\""));
        }
        text.to_owned()
    };
    let header: Vec<String> = outcome.schema.fields().iter().map(|f| quoted(f.name())).collect();
    write!(out, "{}\r\n", header.join(","))?;
    for (batch, row) in rows(outcome) {
        let cells: Vec<String> =
            (0..batch.num_columns()).map(|column| quoted(&cell(batch, column, row))).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn as_table(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut widths: Vec<usize> =
        outcome.schema.fields().iter().map(|field| field.name().chars().count()).collect();
    for (batch, row) in rows(outcome) {
        for (column, width) in widths.iter_mut().enumerate() {
            *width = cell(batch, column, row).chars().count().max(*width);
        }
    }
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _infallible = write!(line, "{cell:width$}  ");
        }
        writeln!(out, "{}", line.trim_end())
    };
    line(&mut outcome.schema.fields().iter().map(|field| field.name().clone()))?;
    line(&mut widths.iter().map(|width| "-".repeat(*width)))?;
    for (batch, row) in rows(outcome) {
        line(&mut (0..batch.num_columns()).map(|column| cell(batch, column, row)))?;
    }
    let lsn: Vec<String> =
        outcome.lsn.iter().map(|(chain, lsn)| format!("{chain} {lsn}")).collect();
    writeln!(out, "({} rows, as of record {})", outcome.row_count, lsn.join(", "))?;
    for gap in outcome.gaps {
        writeln!(out, "not captured: {} {} to {}", gap.chain, gap.first, gap.last)?;
    }
    Ok(())
}

fn as_arrow(outcome: &Outcome<'_>, out: &mut impl Write) -> io::Result<()> {
    let failed = io::Error::other::<arrow::error::ArrowError>;
    let mut writer = StreamWriter::try_new(out, &outcome.schema).map_err(failed)?;
    for batch in &outcome.batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}
