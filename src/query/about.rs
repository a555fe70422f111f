//! `chains` and `gaps`: what the node has, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use headwater_storage::model::BlockRange;
use headwater_storage::tables::Table;

use super::source::{Source, signed};
use super::wire::About;

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
        }))
    }

    pub(super) fn rows(self, sources: &[Source]) -> Result<RecordBatch, ArrowError> {
        match self {
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
