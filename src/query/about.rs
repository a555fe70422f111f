//! `chains` and `gaps`: what the node has, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use headwater_storage::model::BlockRange;
use headwater_storage::tables::Table;

use super::source::{Source, signed};
use super::wire::About;

/// How a provider of a chain stands.
#[derive(Clone, Debug)]
pub struct ProviderRow {
    /// The chain.
    pub chain: String,
    /// The provider's name, with its key's where it has several.
    pub name: String,
    /// Requests since the start.
    pub requests: u64,
    /// How long answers take, in milliseconds.
    pub latency_ms: u64,
    /// Blocks behind our head.
    pub blocks_behind: u64,
    /// Units of the quota that are used.
    pub used: u64,
    /// Units that are left.
    pub left: Option<u64>,
    /// What it said last when it failed.
    pub last_error: Option<String>,
}

impl About {
    pub(super) fn schema(self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        let number = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(match self {
            About::Chains => vec![
                text("chain"),
                number("chain_id"),
                number("first_block"),
                number("last_block"),
                number("final_block"),
                number("blocks"),
                number("sealed_blocks"),
                number("lsn"),
            ],
            About::Gaps => vec![
                text("chain"),
                number("chain_id"),
                number("first_block"),
                number("last_block"),
                number("blocks"),
            ],
            About::Providers => vec![
                text("chain"),
                text("provider"),
                number("requests"),
                number("latency_ms"),
                number("blocks_behind"),
                number("units_used"),
                number("units_left"),
                Field::new("last_error", DataType::Utf8, true),
            ],
        }))
    }

    pub(super) fn rows(
        self,
        sources: &[Source],
        providers: &[ProviderRow],
    ) -> Result<RecordBatch, ArrowError> {
        match self {
            About::Providers => self.providers(providers),
            About::Chains => self.chains(sources),
            About::Gaps => self.gaps(sources),
        }
    }

    fn chains(self, sources: &[Source]) -> Result<RecordBatch, ArrowError> {
        let rows: Vec<[Option<u64>; 7]> = sources
            .iter()
            .map(|source| {
                source.chain().with_state(|state| {
                    let captured = state.captured();
                    let sealed = state.parts().iter().filter(|part| part.table == Table::Blocks);
                    [
                        Some(source.snapshot().chain_id),
                        captured.iter().next().map(|range| range.first),
                        state.latest().map(|block| block.number),
                        state.latest_final().map(|block| block.number),
                        Some(captured.iter().map(|range| range.len()).sum()),
                        Some(sealed.map(|part| part.range.len()).sum()),
                        Some(source.snapshot().lsn.0),
                    ]
                })
            })
            .collect();
        let names = sources.iter().map(|source| source.snapshot().chain.as_str());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(names))];
        for at in 0..7 {
            let numbers = rows.iter().map(|row| row.get(at).copied().flatten().map(signed));
            columns.push(Arc::new(numbers.collect::<Int64Array>()));
        }
        RecordBatch::try_new(self.schema(), columns)
    }

    fn providers(self, rows: &[ProviderRow]) -> Result<RecordBatch, ArrowError> {
        let numbers = |number: fn(&ProviderRow) -> Option<u64>| -> ArrayRef {
            Arc::new(rows.iter().map(|row| number(row).map(signed)).collect::<Int64Array>())
        };
        let columns = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.chain))) as ArrayRef,
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.name))),
            numbers(|row| Some(row.requests)),
            numbers(|row| Some(row.latency_ms)),
            numbers(|row| Some(row.blocks_behind)),
            numbers(|row| Some(row.used)),
            numbers(|row| row.left),
            Arc::new(rows.iter().map(|row| row.last_error.as_deref()).collect::<StringArray>()),
        ];
        RecordBatch::try_new(self.schema(), columns)
    }

    fn gaps(self, sources: &[Source]) -> Result<RecordBatch, ArrowError> {
        let everything = BlockRange { first: 0, last: u64::MAX };
        let rows: Vec<_> = sources
            .iter()
            .flat_map(|source| {
                let id = source.snapshot().chain_id;
                source.gaps(everything).into_iter().map(move |gap| (id, gap))
            })
            .collect();
        let numbers = |number: fn(&(u64, super::wire::Gap)) -> u64| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(signed(number(row)))).collect::<Int64Array>())
        };
        let names = rows.iter().map(|(_, gap)| gap.chain.as_str());
        let columns = vec![
            Arc::new(StringArray::from_iter_values(names)) as ArrayRef,
            numbers(|(id, _)| *id),
            numbers(|(_, gap)| gap.first),
            numbers(|(_, gap)| gap.last),
            numbers(|(_, gap)| gap.last - gap.first + 1),
        ];
        RecordBatch::try_new(self.schema(), columns)
    }
}
