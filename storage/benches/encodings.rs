//! `cargo bench --workspace --bench encodings`: the bytes of each column of each table under each
//! encoding that fits its type, on recorded blocks, none of them twice; and all tables as they are
//! sealed against plain Parquet of the same rows. What was chosen and why:
//! `ops/decisions/0009-encodings.md`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a program for people"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use headwater_storage::model::{
    Block, BlockParts, EventHead, Lane, Linked, Lsn, Op, Origin, Receipt, Verified,
};
use headwater_storage::parquet::writer_properties;
use headwater_storage::tables::{StoredBlock, Table};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use rustix::time::{ClockId, clock_gettime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn main() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HEADWATER_CHAIN_DATA").map_or(data, PathBuf::from);
    let blocks = recorded(&data.join("rpc/ethereum"));
    if blocks.is_empty() {
        println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA");
        return;
    }
    let transactions: usize = blocks.iter().map(|stored| stored.block.transactions.len()).sum();
    println!("{} blocks, {transactions} transactions", blocks.len());
    let mut totals = Totals::default();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::ChainEvents) {
        columns(table, &blocks);
        totals.add(table, &blocks);
    }
    totals.print(blocks.len());
    calldata(&blocks);
}

/// The largest column by far, by itself: levels and sizes of its pages.
fn calldata(blocks: &[StoredBlock]) {
    let rows = Table::Transactions.rows(blocks);
    let at = rows.schema().index_of("input").expect("a column");
    let rows = rows.project(&[at]).expect("a column");
    println!("\ninput alone: bytes a row, CPU ms a block");
    for page in [256 << 10, 1 << 20, 8 << 20] {
        for level in [1, 3, 6, 9, 15] {
            let properties = plain(level)
                .set_dictionary_enabled(false)
                .set_data_page_size_limit(page)
                .set_data_page_row_count_limit(usize::MAX);
            let (footer, _, time) = write(std::slice::from_ref(&rows), properties.build());
            let bytes: i64 =
                footer.row_groups().iter().map(RowGroupMetaData::compressed_size).sum();
            println!(
                "pages of {:>5} KiB, zstd {level:>2}: {:>8.2} {:>8.3}",
                page >> 10,
                bytes as f64 / rows.num_rows() as f64,
                time.as_secs_f64() * 1_000.0 / blocks.len() as f64
            );
        }
    }
}

/// A way to write all columns of a table.
struct Way {
    name: &'static str,
    encoding: Option<Encoding>,
    level: i32,
}

/// Dictionaries of fixed-size binary values are written in version 2 only.
const V2: &str = "dict2 z1";

const WAYS: [Way; 8] = [
    Way { name: V2, encoding: None, level: 1 },
    Way { name: "dict z1", encoding: None, level: 1 },
    Way { name: "dict z3", encoding: None, level: 3 },
    Way { name: "plain z1", encoding: Some(Encoding::PLAIN), level: 1 },
    Way { name: "plain z3", encoding: Some(Encoding::PLAIN), level: 3 },
    Way { name: "delta z1", encoding: Some(Encoding::DELTA_BINARY_PACKED), level: 1 },
    Way { name: "bytes z1", encoding: Some(Encoding::DELTA_BYTE_ARRAY), level: 1 },
    Way { name: "split z1", encoding: Some(Encoding::BYTE_STREAM_SPLIT), level: 1 },
];

/// Whether an encoding is made for a type.
fn fits(encoding: Encoding, kind: &DataType) -> bool {
    let is_number = matches!(kind, DataType::Int64 | DataType::Timestamp(..));
    let is_fixed = matches!(kind, DataType::FixedSizeBinary(_));
    let is_bytes = matches!(kind, DataType::Binary | DataType::Utf8);
    match encoding {
        Encoding::DELTA_BINARY_PACKED => is_number,
        Encoding::DELTA_BYTE_ARRAY => is_fixed || is_bytes,
        Encoding::BYTE_STREAM_SPLIT => is_number || is_fixed,
        _ => true,
    }
}

fn plain(level: i32) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(level).expect("a level");
    WriterProperties::builder().set_compression(Compression::ZSTD(level))
}

fn columns(table: Table, blocks: &[StoredBlock]) {
    let rows = table.rows(blocks);
    println!("\n{} ({} rows): bytes a row", table.name(), rows.num_rows());
    print!("{:<28}", "");
    for way in &WAYS {
        print!("{:>10}", way.name);
    }
    println!();
    let mut found: BTreeMap<usize, Vec<Option<i64>>> = BTreeMap::new();
    for way in &WAYS {
        let mut properties = plain(way.level);
        if way.name == V2 {
            properties = properties.set_writer_version(WriterVersion::PARQUET_2_0);
        }
        if let Some(encoding) = way.encoding {
            properties = properties.set_dictionary_enabled(false);
            for field in rows.schema().fields() {
                if fits(encoding, field.data_type()) {
                    let name = field.name().as_str().into();
                    properties = properties.set_column_encoding(name, encoding);
                }
            }
        }
        let (footer, _, _) = write(std::slice::from_ref(&rows), properties.build());
        for (at, field) in rows.schema().fields().iter().enumerate() {
            let is_made = way.encoding.is_none_or(|encoding| fits(encoding, field.data_type()));
            let of_field = |column: &&ColumnChunkMetaData| {
                column.column_path().parts().first() == Some(field.name())
            };
            let bytes = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
            let bytes: i64 = bytes.filter(of_field).map(ColumnChunkMetaData::compressed_size).sum();
            found.entry(at).or_default().push(is_made.then_some(bytes));
        }
    }
    for (at, field) in rows.schema().fields().iter().enumerate() {
        print!("{:<28}", field.name());
        for bytes in &found[&at] {
            match bytes {
                Some(bytes) => print!("{:>10.2}", *bytes as f64 / rows.num_rows() as f64),
                None => print!("{:>10}", "-"),
            }
        }
        println!();
    }
}

/// Writes rows: the footer, bytes of the file, CPU.
fn write(
    batches: &[RecordBatch],
    properties: WriterProperties,
) -> (ParquetMetaData, u64, Duration) {
    let started = cpu();
    let schema = batches.first().expect("rows").schema();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema, Some(properties)).expect("a writer");
    for rows in batches {
        writer.write(rows).expect("written");
    }
    let footer = writer.close().expect("closed");
    (footer, file.len() as u64, cpu().saturating_sub(started))
}

/// All tables, sealed and plain.
#[derive(Default)]
struct Totals {
    lines: Vec<(&'static str, [(u64, Duration); 2])>,
    rows: Duration,
}

impl Totals {
    fn add(&mut self, table: Table, blocks: &[StoredBlock]) {
        let started = cpu();
        let batches: Vec<RecordBatch> =
            blocks.chunks(32).map(|blocks| table.rows(blocks)).collect();
        self.rows += cpu().saturating_sub(started);
        let (_, sealed, sealed_cpu) = write(&batches, writer_properties(table).build());
        let (_, plain, plain_cpu) = write(&batches, plain(3).build());
        self.lines.push((table.name(), [(sealed, sealed_cpu), (plain, plain_cpu)]));
    }

    fn print(&self, blocks: usize) {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0 / blocks as f64;
        println!(
            "\n{:<14} sealed B/block  plain zstd-3   ratio  sealed ms/block  plain ms/block",
            ""
        );
        let mut sum = [(0, Duration::ZERO), (0, Duration::ZERO)];
        for (name, [sealed, plain]) in &self.lines {
            print_line(name, *sealed, *plain, blocks);
            for (sum, found) in sum.iter_mut().zip([sealed, plain]) {
                *sum = (sum.0 + found.0, sum.1 + found.1);
            }
        }
        let [sealed, plain] = sum;
        print_line("all", sealed, plain, blocks);
        println!("making the rows: {:.3} ms a block", millis(self.rows));
    }
}

fn print_line(name: &str, sealed: (u64, Duration), plain: (u64, Duration), blocks: usize) {
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0 / blocks as f64;
    println!(
        "{name:<14} {:>14} {:>13} {:>7.3} {:>16.3} {:>15.3}",
        sealed.0 / blocks as u64,
        plain.0 / blocks as u64,
        sealed.0 as f64 / plain.0 as f64,
        millis(sealed.1),
        millis(plain.1)
    );
}

fn recorded(folder: &Path) -> Vec<StoredBlock> {
    let read = |path: PathBuf| {
        let mut text = String::new();
        let file = fs::File::open(path).ok()?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let parse = |folder: PathBuf| -> Option<Block> {
        let parts: BlockParts = serde_json::from_str(&read(folder.join("block.json.gz"))?).ok()?;
        let receipts: Vec<Linked<Receipt>> =
            serde_json::from_str(&read(folder.join("receipts.json.gz"))?).ok()?;
        parts.join(Some(receipts)).ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let blocks = entries.filter_map(|entry| parse(entry.path()));
    let mut blocks: Vec<Block> = blocks.filter(|block| block.transactions.len() > 20).collect();
    blocks.sort_by_key(|block| block.header.number);
    let stored = |(lsn, block): (u64, Block)| {
        let head = EventHead {
            lsn: Lsn(lsn),
            op: Op::Applied,
            lane: Lane::Live,
            block: block.block_ref(),
            parent_hash: block.header.parent_hash,
            timestamp: block.header.timestamp,
            verified: Verified::HEADER,
            origin: Origin::default(),
        };
        StoredBlock::new(&head, Arc::new(block))
    };
    (1..).zip(blocks).map(stored).collect()
}
