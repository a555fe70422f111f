//! Each piece's work on the same recorded blocks, timed; the sum of some is the floor.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater::capture::verify::{Depth, Prover};
use headwater::clock;
use headwater::devnet::Recorded;
use headwater_storage::index::{self, Index};
use headwater_storage::model::{
    Block, BlockParts, BlockRef, ChainEvent, Lane, Linked, Lsn, Origin, Receipt, Verified,
};
use headwater_storage::tables::{StoredBlock, Table};
use headwater_storage::wal;

/// Times that each piece is measured; the median counts.
const ROUNDS: usize = 5;
/// Blocks of a measurement at most.
const BLOCKS_MAX: usize = 128;

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Measures every piece on blocks of a folder, prints them, and gives the floor: the time that
/// parsing, proving, encoding and compressing take together.
pub(crate) fn measure(folder: &Path) -> Duration {
    let blocks = load(folder);
    let mut floor = Duration::ZERO;
    let mut piece = |name: &str, is_floor: bool, work: &mut dyn FnMut()| {
        let round = |_| {
            let started = clock::now();
            work();
            started.elapsed()
        };
        let mut rounds: Vec<Duration> = (0..ROUNDS).map(round).collect();
        rounds.sort_unstable();
        let median = rounds.get(ROUNDS / 2).copied().unwrap_or_default();
        let per_block = median / blocks.len() as u32;
        println!("{:>7.3} ms  {}{name}", millis(per_block), if is_floor { "" } else { "beside: " });
        floor += if is_floor { per_block } else { Duration::ZERO };
    };
    let texts: Vec<(String, String)> = blocks.iter().map(|block| json(block)).collect();
    piece("JSON to borrowed structs, joined", true, &mut || {
        for (block, receipts) in &texts {
            let parts: BlockParts = serde_json::from_str(block).expect("block");
            let list: Vec<Linked<Receipt>> = serde_json::from_str(receipts).expect("receipts");
            black_box(parts.join(Some(list)).expect("joined"));
        }
    });
    let prover = Prover::new(0, Depth::Roots);
    let mut owned: Vec<Block> = blocks.iter().map(|block| Block::clone(block)).collect();
    piece("header hash, transactions' hashes and root", true, &mut || {
        for block in &mut owned {
            black_box(prover.prove_body(block, None).expect("proved"));
        }
    });
    piece("receipts root, and what follows from it", true, &mut || {
        for block in &mut owned {
            let body = Verified::HEADER.with(Verified::TRANSACTIONS);
            black_box(prover.prove_receipts(block, body, None).expect("proved"));
        }
    });
    piece("binary form and zstd -1", true, &mut || {
        for block in &blocks {
            black_box(wal::Record::new(&applied(block)));
        }
    });
    piece("index (fjall)", false, &mut || index(&blocks));
    let stored: Vec<StoredBlock> = blocks.iter().map(stored).collect();
    for table in Table::ALL {
        piece(&format!("rows of {} (Arrow)", table.name()), false, &mut || {
            black_box(table.rows(&stored));
        });
    }
    println!("{:>7.3} ms  the floor", millis(floor));
    floor
}

/// Blocks from the whole of the recorded history.
fn load(folder: &Path) -> Vec<Arc<Block>> {
    let recorded = Recorded::load(folder).expect("recorded blocks");
    let step = recorded.blocks().len().div_ceil(BLOCKS_MAX);
    let blocks: Vec<Arc<Block>> =
        recorded.blocks().iter().step_by(step).cloned().map(Arc::new).collect();
    let mean = |of: fn(&Block) -> usize| {
        blocks.iter().map(|block| of(block)).sum::<usize>() / blocks.len()
    };
    println!(
        "{} recorded blocks: mean {} transactions, {} logs, {} bytes of JSON",
        blocks.len(),
        mean(|block| block.transactions.len()),
        mean(|block| block.receipts.iter().flatten().map(|r| r.logs.len()).sum()),
        mean(|block| json(block).0.len() + json(block).1.len()),
    );
    blocks
}

fn json(block: &Block) -> (String, String) {
    (block.to_json(), block.receipts_to_json().expect("receipts"))
}

fn applied(block: &Arc<Block>) -> ChainEvent {
    let verified = Verified::default();
    let (block, origin) = (block.clone(), Origin::default());
    ChainEvent::Applied { block, lane: Lane::Backfill, verified, origin }
}

fn stored(block: &Arc<Block>) -> StoredBlock {
    let BlockRef { number, .. } = block.block_ref();
    let (verified, origin) = (Verified::default(), Origin::default());
    StoredBlock { lsn: Lsn(number), verified, origin, block: block.clone() }
}

fn index(blocks: &[Arc<Block>]) {
    let folder = tempfile::tempdir().expect("a folder");
    let index = Index::open(folder.path(), index::Options::default()).expect("an index");
    let numbered: Vec<(Lsn, &Block)> =
        (1..).map(Lsn).zip(blocks.iter().map(AsRef::as_ref)).collect();
    for chunk in numbered.chunks(16) {
        let last = chunk.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        index.insert(chunk, last).expect("inserted");
    }
}
