//! `cargo bench -p headwater-storage`: the log against the disk it is on, opening a long log,
//! what a long backlog costs, lookups from the log and from parts, the cost of sealing, and the
//! bytes of a block.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for people"
)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, keccak256};
use headwater_storage::disk::{Disk, Mode, RealDisk};
use headwater_storage::ledger::ChainFacts;
use headwater_storage::model::{
    Block, BlockParts, BlockRanges, ChainEvent, ChainName, Lane, Linked, Lsn, Origin, Receipt,
    Verified,
};
use headwater_storage::store::{Chain, ChainOptions, DataDir, Passed, Retention};
use headwater_storage::tables::Table;
use headwater_storage::wal::{self, Record};
use rustix::time::{ClockId, clock_gettime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Blocks of a run: two cells of the grid.
const BLOCKS: u64 = 2_000;
const LOOKUPS: u64 = 500;
const SEGMENTS: usize = 1_600;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// CPU time of this thread: the index's engine goes on in its own meanwhile.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn main() {
    let folder = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into()))
        .expect("a folder");
    append(folder.path());
    backlog(&folder.path().join("backlog"));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HEADWATER_CHAIN_DATA").map_or(data, PathBuf::from);
    match recorded(&data.join("rpc/ethereum")) {
        blocks if blocks.is_empty() => {
            println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA");
        }
        blocks => store(&folder.path().join("store"), &blocks),
    }
}

/// Groups of frames through the log, and the same bytes written to a reserved file and synced by
/// themselves; making the next file counts for the log alone.
fn append(folder: &Path) {
    println!("append, one sync a group     log MB/s   disk MB/s   ratio   p50 ms   p99 ms");
    for (bytes, frames) in [(1 << 10, 1), (64 << 10, 1), (64 << 10, 16), (1 << 20, 1), (1 << 20, 8)]
    {
        let groups = ((256 << 20) / (bytes * frames)).clamp(20, 400);
        let records: Vec<Record> = (0..frames).map(|at| record(bytes, at as u64)).collect();
        let wal = folder.join(format!("wal-{bytes}-{frames}"));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let options = wal::Options::default();
        let mut writer = wal::open(&disk, &wal, 1, options, Lsn::ZERO).expect("a log");
        let group: u64 = records.iter().map(Record::frame_bytes).sum();
        let noise = vec![0xa5; usize::try_from(group).expect("small")];
        let fresh = || {
            let file = disk.open(&folder.join("raw"), Mode::Create).expect("a file");
            file.resize(64 << 20).expect("reserved");
            file.sync().expect("synced");
            file
        };
        let mut file = fresh();
        let (mut ours, mut theirs, mut at) = (Vec::new(), Duration::ZERO, 0);
        for _ in 0..groups {
            let started = now();
            writer.append(&records).expect("appended");
            ours.push(started.elapsed());
            // Turn by turn, so that both meet the same disk.
            if at + group > 64 << 20 {
                (file, at) = (fresh(), 0);
            }
            let started = now();
            file.write_at(&noise, at).expect("written");
            file.sync().expect("synced");
            theirs += started.elapsed();
            at += group;
        }
        let total: Duration = ours.iter().sum();
        ours.sort_unstable();
        let rate = |time: Duration| (group * groups as u64) as f64 / time.as_secs_f64() / 1e6;
        println!(
            "{:>8} bytes x {frames:<2}           {:>8.1}    {:>8.1}   {:>5.2}   {:>10.3}   {:>6.3}",
            bytes,
            rate(total),
            rate(theirs),
            rate(total) / rate(theirs),
            millis(percentile(&ours, 50)),
            millis(percentile(&ours, 99)),
        );
        fs::remove_dir_all(&wal).expect("removed");
    }
}

/// A log of 100 GiB, whose files are holes but for small blocks: 1,600 segments of 400 records.
/// What a start needs when all is sealed but the end, when nothing is, and when an exporter reads
/// on.
fn backlog(path: &Path) {
    fs::create_dir_all(path).expect("a folder");
    let data_dir = DataDir::open(path).expect("a data folder");
    let name: ChainName = "bench".parse().expect("a name");
    let folder = data_dir.wal_folder(&name);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = wal::Options { segment_bytes: 100_000 };
    let mut writer = wal::open(&disk, &folder, 1, options, Lsn::ZERO).expect("a log");
    let (mut parent, mut number) = (B256::ZERO, 0);
    while writer.log().segments().len() <= SEGMENTS {
        let records: Vec<Record> = (0..400)
            .map(|_| {
                let mut block = Block::default();
                (block.header.number, block.header.parent_hash) = (number, parent);
                block.header.hash = keccak256([parent.as_slice(), &number.to_be_bytes()].concat());
                (number, parent) = (number + 1, block.header.hash);
                Record::new(&applied(Arc::new(block)))
            })
            .collect();
        writer.append(&records).expect("appended");
    }
    drop(writer);
    let mut bytes = 0_u64;
    for file in fs::read_dir(&folder).expect("a folder").flatten() {
        let file = fs::OpenOptions::new().write(true).open(file.path()).expect("a file");
        file.set_len(64 << 20).expect("a hole");
        bytes += 64 << 20;
    }
    for (what, replay_from) in [("all sealed but 1,000", number - 1_000), ("none sealed", 1)] {
        let facts = ChainFacts {
            name: name.clone(),
            chain_id: 1,
            replay_from: Lsn(replay_from),
            sealed: Lsn(replay_from - 1),
            anchor: None,
            forgotten: BlockRanges::default(),
            partial: BlockRanges::default(),
        };
        data_dir.ledger().set_chain(&facts).expect("stored");
        let options = ChainOptions { index: None, ..ChainOptions::default() };
        let (before, started) = (resident_bytes(), now());
        let chain = Chain::open(&data_dir, &name, 1, options).expect("a chain");
        let (time, after) = (millis(started.elapsed()), resident_bytes());
        for lsn in (1..number).step_by(997) {
            chain.log().head(Lsn(lsn)).expect("a record");
        }
        println!(
            "opening {} GiB of log, {number} records, {what}: {time:.0} ms, {} MiB more; reading \
             all over it: {} MiB more",
            bytes >> 30,
            after.saturating_sub(before) >> 20,
            resident_bytes().saturating_sub(before) >> 20
        );
    }
}

fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4_096
}

/// A block whose bytes do not compress.
fn record(bytes: usize, salt: u64) -> Record {
    let mut block = Block::default();
    let mut noise = Vec::with_capacity(bytes);
    let mut seed = keccak256(salt.to_be_bytes());
    while noise.len() < bytes {
        noise.extend_from_slice(seed.as_slice());
        seed = keccak256(seed);
    }
    block.header.extra_data = noise.into();
    Record::new(&applied(Arc::new(block)))
}

fn applied(block: Arc<Block>) -> ChainEvent {
    let (verified, origin) = (Verified::HEADER, Origin::default());
    ChainEvent::Applied { block, lane: Lane::Backfill, verified, origin }
}

fn recorded(folder: &Path) -> Vec<Block> {
    let read = |path: PathBuf| {
        let mut text = String::new();
        let file = fs::File::open(path).ok()?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let parse = |folder: PathBuf| {
        let parts: BlockParts = serde_json::from_str(&read(folder.join("block.json.gz"))?).ok()?;
        let receipts: Vec<Linked<Receipt>> =
            serde_json::from_str(&read(folder.join("receipts.json.gz"))?).ok()?;
        parts.join(Some(receipts)).ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    folders.into_iter().filter_map(parse).filter(|b| b.transactions.len() > 20).collect()
}

fn store(path: &Path, recorded: &[Block]) {
    fs::create_dir_all(path).expect("a folder");
    let data_dir = DataDir::open(path).expect("a data folder");
    let name = "bench".parse().expect("a name");
    let open = || Chain::open(&data_dir, &name, 1, ChainOptions::default()).expect("a chain");
    let chain = open();
    chain.open_index().expect("an index");
    let mut parent = B256::ZERO;
    let mut hashes = Vec::new();
    for first in (0..BLOCKS).step_by(16) {
        let mut events = Vec::new();
        for number in first..(first + 16).min(BLOCKS) {
            // The same blocks again and again, each a block and transactions of its own.
            let mut block = recorded[number as usize % recorded.len()].clone();
            block.header.number = number;
            block.header.parent_hash = parent;
            block.header.timestamp = 1_700_000_000 + number;
            block.header.hash = keccak256([parent.as_slice(), &number.to_be_bytes()].concat());
            for transaction in &mut block.transactions {
                transaction.hash = keccak256([transaction.hash, block.header.hash].concat());
                hashes.push(transaction.hash);
            }
            parent = block.header.hash;
            events.push(applied(Arc::new(block)));
        }
        chain.append(&events).expect("appended");
    }
    while chain.index_some(128).expect("indexed") {}
    let log = chain.log().file_bytes();
    let newest = hashes.get(hashes.len() - 5_000..).expect("many");
    lookups("transaction of the newest blocks, in memory", &chain, newest);
    lookups("transaction, from the log", &chain, &hashes);
    let started = cpu();
    while let Some(sealable) = chain.next_sealable(true) {
        chain.seal(&sealable).expect("sealed");
    }
    println!(
        "sealing: {:.3} ms of CPU a block",
        millis(cpu().saturating_sub(started)) / BLOCKS as f64
    );
    let bytes = |table| -> u64 {
        chain.with_state(|s| {
            s.parts().iter().filter(|p| p.table == table).map(|p| p.file_bytes).sum()
        })
    };
    for table in Table::ALL {
        println!("parts: {:>12} {:>8} bytes a block", table.name(), bytes(table) / BLOCKS);
    }
    drop(chain);
    let started = now();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let folder = data_dir.wal_folder(&name);
    drop(wal::open(&disk, &folder, 1, wal::Options::default(), Lsn::ZERO).expect("a log"));
    println!("opening the log alone: {:.1} ms", millis(started.elapsed()));
    let started = now();
    let chain = open();
    println!("opening {} MB of log, all sealed: {:.1} ms", log >> 20, millis(started.elapsed()));
    let started = now();
    chain.open_index().expect("an index");
    println!("opening the index, beside capture: {:.1} ms", millis(started.elapsed()));
    let passed = Passed { required: Lsn(u64::MAX - 1), all: Lsn::ZERO };
    let started = cpu();
    let freed = chain.forget(&Retention::default(), 0, passed).expect("trimmed");
    let used = millis(cpu().saturating_sub(started));
    println!("trimming: {} MB free for {used:.0} ms of CPU", freed >> 20);
    lookups("transaction, from parts", &chain, &hashes);
    let started = now();
    for lsn in 1..=500 {
        chain.read(Lsn(lsn)).expect("read");
    }
    println!("reading on in parts: {:.2} ms a block", millis(started.elapsed()) / 500.0);
}

fn lookups(what: &str, chain: &Chain, hashes: &[B256]) {
    let mut times = Vec::new();
    for at in 0..LOOKUPS {
        let hash = hashes[(at as usize * 7_919) % hashes.len()];
        let started = now();
        assert!(chain.transaction(hash).expect("read").is_some(), "{hash}");
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms",
        millis(percentile(&times, 50)),
        millis(percentile(&times, 99))
    );
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
