//! `traces`: one row per call, creation, self-destruct or reward.

use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::read::{ReadError, Row, extra_text};
use super::value::{Time, read_numbers};
use crate::model::{Block, Trace, TraceKind, trace_tree};

struct Item<'a> {
    block: &'a Block,
    at: usize,
    trace: &'a Trace,
    /// Calls that it made itself.
    subtraces: Option<u64>,
    /// Whether it had an effect: it and all around it came to a good end.
    is_good: bool,
}

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let mut items = Vec::new();
    for stored in blocks {
        let block = stored.block.as_ref();
        let tree = trace_tree(&block.traces);
        for (at, trace) in block.traces.iter().enumerate() {
            let node = tree.as_ref().and_then(|tree| tree.get(at));
            let subtraces = node.map(|(children, _)| *children);
            let is_good = node.map_or(trace.error.is_none(), |(_, is_good)| *is_good);
            items.push(Item { block, at, trace, subtraces, is_good });
        }
    }
    let each = || items.iter().map(|item| item.trace);
    let transaction = |item: &Item<'_>| {
        let at = usize::try_from(item.trace.transaction_index?).ok()?;
        item.block.transactions.get(at).map(|transaction| transaction.hash)
    };
    let text = |text: Option<&'static str>| text.map(str::to_owned);
    let mut columns = Columns::new(items.len());
    columns.add("block_number", items.iter().map(|i| i.block.header.number));
    columns.add("block_hash", items.iter().map(|i| i.block.header.hash));
    columns.add("block_timestamp", items.iter().map(|i| Time(i.block.header.timestamp)));
    columns.add("transaction_index", each().map(|t| t.transaction_index));
    columns.add("transaction_hash", items.iter().map(transaction));
    columns.add("trace_index", items.iter().map(|i| i.at as u64));
    columns.add("trace_address", each().map(|t| &t.trace_address));
    columns.add("subtraces", items.iter().map(|i| i.subtraces));
    columns.add("trace_type", each().map(|t| t.kind.trace_type()));
    columns.add("call_type", each().map(|t| text(t.kind.call_type())));
    columns.add("reward_type", each().map(|t| text(t.kind.reward_type())));
    columns.add("from_address", each().map(|t| t.from));
    columns.add("to_address", each().map(|t| t.to));
    columns.add("value", each().map(|t| t.value));
    columns.add("gas", each().map(|t| t.gas));
    columns.add("gas_used", each().map(|t| t.gas_used));
    columns.add("input", each().map(|t| &t.input));
    columns.add("output", each().map(|t| t.output.clone()));
    columns.add("error", each().map(|t| t.error.clone()));
    columns.add("status", items.iter().map(|i| u64::from(i.is_good)));
    columns.add("extra", each().map(|t| extra_text(&t.extra)));
    columns.batch()
}

pub(super) fn trace(row: &Row<'_>) -> Result<Trace, ReadError> {
    let words = |name| row.required::<Option<String>>(name);
    let name = words("trace_type")?.unwrap_or_default();
    let finer = words("call_type")?.or(words("reward_type")?);
    let kind = TraceKind::from_words(&name, finer.as_deref());
    let kind = kind.ok_or_else(|| row.missing("trace_type"))?;
    let address = row.with("trace_address", read_numbers)?;
    Ok(Trace {
        transaction_index: row.required("transaction_index")?,
        trace_address: address.ok_or_else(|| row.missing("trace_address"))?,
        kind,
        from: row.required("from_address")?,
        to: row.required("to_address")?,
        value: row.required("value")?,
        gas: row.required("gas")?,
        gas_used: row.required("gas_used")?,
        input: row.bytes("input")?,
        output: row.required("output")?,
        error: row.required("error")?,
        extra: row.kept("extra")?,
    })
}
