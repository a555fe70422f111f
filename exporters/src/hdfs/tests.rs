//! The lake on a file system that fails, cuts and sleeps at every call: nobody ever sees a cut
//! file, or a block twice, and in the end every block is there once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use headwater_storage::model::{B256, BlockRange, BlockRanges};
use headwater_storage::parquet::PartName;
use headwater_storage::tables::Table;
use tokio::sync::Notify;

use crate::parts::{HeldDate, PartExporter, PartFile, PartRun};
use crate::{Disposition, ExportError};

use super::files::{Body, Entry, Files, Renamed};
use super::lake::{Lake, Manner};
use super::manifest::{Manifest, folder_of};

const DATE: i32 = 20_000;
const TABLES: [Table; 2] = [Table::Blocks, Table::Logs];

/// A small generator: the seed tells the whole case.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }
}

/// Files of all processes.
#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Somebody spoilt a file by hand.
    is_spoilt: AtomicBool,
}

/// What happens at one of the next calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is not done, and fails.
    Before,
    /// It is done, and the answer is lost; a file is cut.
    After,
    /// It is done when somebody wakes it.
    Sleep,
}

/// One process's view of them.
#[derive(Clone)]
struct Process {
    shared: Arc<Shared>,
    calls_left: Arc<AtomicI64>,
    fault: Fault,
    asleep: Arc<Notify>,
    wake: Arc<Notify>,
}

/// A file of a run: its header says what it holds, its end that it is whole.
fn content(range: BlockRange, salt: u64) -> Vec<u8> {
    let pad = "x".repeat((salt % 7) as usize);
    format!("{}-{} {pad} end", range.first, range.last).into_bytes()
}

impl Shared {
    /// What every reader of the lake relies on, at any moment.
    fn check(files: &BTreeMap<String, Vec<u8>>) {
        let mut seen: BTreeMap<Table, BlockRanges> = BTreeMap::new();
        for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with('_')) {
            let name = PartName::parse(&format!("parts/{path}")).expect("a part");
            let text = String::from_utf8_lossy(bytes);
            let header = format!("{}-{} ", name.range.first, name.range.last);
            assert!(text.starts_with(&header) && text.ends_with("end"), "{path} is cut: {text}");
            let seen = seen.entry(name.table).or_default();
            let missing: u64 = seen.missing(name.range).iter().map(BlockRange::len).sum();
            assert_eq!(missing, name.range.len(), "{path}: blocks are there twice");
            seen.insert(name.range);
        }
    }
}

impl Process {
    fn new(shared: &Arc<Shared>, fault: Fault, calls_left: i64) -> Process {
        let (asleep, wake) = (Arc::default(), Arc::default());
        let calls_left = Arc::new(AtomicI64::new(calls_left));
        Process { shared: shared.clone(), calls_left, fault, asleep, wake }
    }

    fn lost() -> ExportError {
        let (sink, reason) = ("the test".to_owned(), "no answer".to_owned());
        ExportError::Unavailable { sink, reason }
    }

    /// A call; all calls after the one that fails do, too: a process that is gone.
    async fn call<T>(
        &self,
        work: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, bool) -> T,
    ) -> Result<T, ExportError> {
        let left = self.calls_left.fetch_sub(1, Ordering::AcqRel);
        let is_it = left == 0;
        if is_it && self.fault == Fault::Sleep {
            self.asleep.notify_one();
            self.wake.notified().await;
        } else if left < 0 && self.fault != Fault::Sleep || is_it && self.fault == Fault::Before {
            return Err(Process::lost());
        }
        let is_cut = is_it && self.fault == Fault::After;
        let mut files = self.shared.files.lock().unwrap();
        let value = work(&mut files, is_cut);
        if !self.shared.is_spoilt.load(Ordering::Acquire) {
            Shared::check(&files);
        }
        if is_cut { Err(Process::lost()) } else { Ok(value) }
    }
}

#[async_trait]
impl Files for Process {
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, ExportError> {
        let below = format!("{folder}/");
        self.call(|files, _| {
            let names = files.iter().filter_map(|(path, bytes)| {
                let name = path.strip_prefix(&below)?.split('/').next()?.to_owned();
                let (bytes, is_folder) =
                    (bytes.len() as u64, path.len() > below.len() + name.len());
                Some(Entry { name, bytes, is_folder, changed_ms: 0 })
            });
            names.collect()
        })
        .await
    }

    async fn look(&self, path: &str) -> Result<Option<Entry>, ExportError> {
        let entry = |bytes: &Vec<u8>| Entry {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            bytes: bytes.len() as u64,
            is_folder: false,
            changed_ms: 0,
        };
        self.call(|files, _| files.get(path).map(entry)).await
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ExportError> {
        self.call(|files, _| files.get(path).cloned()).await
    }

    async fn checksum(&self, path: &str) -> Result<(u64, u32), ExportError> {
        let found = self.call(|files, _| files.get(path).cloned()).await?;
        let bytes = found.ok_or_else(Process::lost)?;
        Ok((bytes.len() as u64, crc32c::crc32c(&bytes)))
    }

    async fn put(&self, path: &str, body: Body) -> Result<(u64, u32), ExportError> {
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(place) => std::fs::read(place).unwrap(),
        };
        self.call(|files, is_cut| {
            let whole = if is_cut { bytes.len() / 2 } else { bytes.len() };
            files.insert(path.to_owned(), bytes[..whole].to_vec());
        })
        .await?;
        Ok((bytes.len() as u64, crc32c::crc32c(&bytes)))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<Renamed, ExportError> {
        self.call(|files, _| {
            if files.contains_key(to) {
                return Ok(Renamed::IsThere);
            }
            let bytes = files.remove(from).ok_or_else(Process::lost)?;
            files.insert(to.to_owned(), bytes);
            Ok(Renamed::Done)
        })
        .await?
    }

    async fn remove(&self, path: &str) -> Result<(), ExportError> {
        let below = format!("{path}/");
        self.call(|files, _| files.retain(|known, _| known != path && !known.starts_with(&below)))
            .await
    }

    async fn folder(&self, _: &str) -> Result<(), ExportError> {
        self.call(|_, _| ()).await
    }

    async fn close(&self) {}
}

/// A process with its lake; others take over at once what it began.
fn lake(process: Process, instance: u64) -> Lake {
    patient(process, instance, Duration::ZERO)
}

/// A process that waits so long until it takes over.
fn patient(process: Process, instance: u64, takeover: Duration) -> Lake {
    let manner = Manner {
        sink: "the test".to_owned(),
        instance: format!("node-{instance}"),
        uploads: 2,
        is_read_back: instance.is_multiple_of(2),
        takeover,
    };
    Lake::new(Box::new(process), manner)
}

fn hash(number: u64) -> B256 {
    B256::with_last_byte(number as u8)
}

/// A run of one node, whose bytes are its own.
fn run_of(folder: &std::path::Path, range: BlockRange, salt: u64) -> PartRun {
    let files = TABLES.iter().map(|table| {
        let name = PartName { table: *table, chain_id: 1, date: DATE, range }.path();
        let bytes = content(range, salt);
        let place = folder.join(format!("{}-{range}-{salt}", table.name()));
        std::fs::write(&place, &bytes).unwrap();
        PartFile {
            table: *table,
            name: name.strip_prefix("parts/").unwrap().to_owned(),
            place,
            rows: range.len(),
            bytes: bytes.len() as u64,
            crc32c: crc32c::crc32c(&bytes),
        }
    });
    PartRun {
        chain: "ethereum".parse().unwrap(),
        chain_id: 1,
        date: DATE,
        range,
        parent_hash: hash(range.first),
        first_hash: hash(range.first + 1),
        last_hash: hash(range.last + 1),
        is_partial: false,
        files: files.collect(),
    }
}

/// What a runner does next: what is due, or some blocks that are not held.
fn next(held: &HeldDate, blocks: u64, random: &mut Random) -> Option<BlockRange> {
    if let Some(due) = held.due.first() {
        return Some(due.range);
    }
    let covered: BlockRanges = held.runs.iter().map(|run| run.range).collect();
    let all = BlockRange { first: 0, last: blocks - 1 };
    let free = covered.missing(all).into_iter().next()?;
    let last = free.first + random.below(free.len());
    Some(BlockRange { first: free.first, last })
}

/// One step; whether everything is held.
async fn step(
    lake: &Lake,
    folder: &std::path::Path,
    salt: u64,
    random: &mut Random,
) -> Result<bool, ExportError> {
    let held = lake.held(1, DATE).await?;
    let Some(range) = next(&held, 12, random) else { return Ok(true) };
    lake.export(&run_of(folder, range, salt)).await?;
    Ok(false)
}

/// Everything is there once, and the manifest says what the files are.
fn finished(shared: &Shared) {
    let files = shared.files.lock().unwrap();
    let newest = files.iter().rfind(|(path, _)| path.starts_with(&folder_of(1, DATE)));
    let manifest: Manifest = serde_json::from_slice(newest.unwrap().1).unwrap();
    assert_eq!(manifest.begun, None);
    let mut told = 0;
    for file in manifest.runs.iter().flat_map(|run| &run.files) {
        let bytes = &files[&file.path];
        assert_eq!((bytes.len() as u64, format!("{:08x}", crc32c::crc32c(bytes))), {
            (file.bytes, file.crc32c.clone())
        });
        told += file.rows;
    }
    let visible = files.keys().filter(|path| !path.starts_with('_')).count();
    assert_eq!(visible, manifest.runs.iter().map(|run| run.files.len()).sum::<usize>());
    assert_eq!(told, 12 * TABLES.len() as u64, "every block of every table");
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_whole_files_and_every_block_once() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..400 {
        let mut random = Random(seed);
        let shared = Arc::new(Shared::default());
        // Each life ends at some call, and two nodes take turns; the last one lives on.
        for life in 0..20_u64 {
            let fault = if random.below(2) == 0 { Fault::Before } else { Fault::After };
            let calls = if life == 19 { i64::MAX } else { random.below(60).cast_signed() };
            let lake = lake(Process::new(&shared, fault, calls), life);
            loop {
                match step(&lake, folder.path(), life % 2 * 3, &mut random).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        assert_eq!(error.disposition(), Disposition::Retry, "seed {seed}: {error}");
                        assert!(life < 19, "seed {seed}: nothing fails any more: {error}");
                        break;
                    }
                }
            }
        }
        finished(&shared);
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it has to be asleep while another one works")]
async fn a_process_that_slept_at_any_call_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for call in 0..120 {
        let shared = Arc::new(Shared::default());
        let sleeper = Process::new(&shared, Fault::Sleep, call);
        let (asleep, wake) = (sleeper.asleep.clone(), sleeper.wake.clone());
        let place = folder.path().to_owned();
        let slept = tokio::spawn(async move {
            let (lake, mut random) = (lake(sleeper, 1), Random(7));
            loop {
                match step(&lake, &place, 0, &mut random).await {
                    Ok(false) => {}
                    other => return other,
                }
            }
        });
        let mut slept = slept;
        let is_asleep = tokio::select! {
            () = asleep.notified() => true,
            done = &mut slept => { done.unwrap().unwrap(); false }
        };
        // Another node does all that is left, and the first wakes up in the middle of it.
        let (other, mut random) =
            (lake(Process::new(&shared, Fault::Sleep, i64::MAX), 2), Random(8));
        let mut steps = 0;
        while !step(&other, folder.path(), 3, &mut random).await.unwrap_or(false) {
            steps += 1;
            assert!(steps < 100, "call {call}");
        }
        if is_asleep {
            wake.notify_one();
            // It notices, or there was nothing left for it to spoil.
            let _end = slept.await.unwrap();
        }
        while !step(&other, folder.path(), 3, &mut random).await.unwrap() {}
        finished(&shared);
    }
}

#[tokio::test]
async fn what_is_lost_foreign_or_unfinished_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::default());
    let one = lake(Process::new(&shared, Fault::Before, i64::MAX), 2);
    let range = BlockRange { first: 0, last: 11 };
    one.export(&run_of(folder.path(), range, 1)).await.unwrap();
    let held = one.held(1, DATE).await.unwrap();
    assert_eq!((held.runs.len(), held.due.len()), (1, 0));
    // A file is removed, another cut: the same run goes again.
    let run = run_of(folder.path(), range, 1);
    let names: Vec<String> = run.files.into_iter().map(|file| file.name).collect();
    shared.is_spoilt.store(true, Ordering::Release);
    shared.files.lock().unwrap().remove(&names[0]);
    shared.files.lock().unwrap().get_mut(&names[1]).unwrap().truncate(3);
    let held = one.held(1, DATE).await.unwrap();
    assert_eq!((held.runs.len(), held.due.len()), (0, 1));
    assert_eq!((held.due[0].range, held.due[0].is_begun), (range, false));
    one.export(&run_of(folder.path(), range, 2)).await.unwrap();
    shared.is_spoilt.store(false, Ordering::Release);
    finished(&shared);
    // A part that no manifest names would be counted twice.
    let elsewhere = BlockRange { first: 20, last: 25 };
    let stray = run_of(folder.path(), elsewhere, 0).files[0].name.clone();
    shared.files.lock().unwrap().insert(stray.clone(), content(elsewhere, 0));
    let error = one.held(1, DATE).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop);
    assert!(error.to_string().contains(&stray), "{error}");
    shared.files.lock().unwrap().remove(&stray);
    // A manifest of a later version, or of another chain.
    let manifests = format!("{}/0000000099.json", folder_of(1, DATE));
    let newest = shared.files.lock().unwrap().values().next().unwrap().clone();
    let later = String::from_utf8(newest).unwrap().replace("\"format\": 1", "\"format\": 9");
    shared.files.lock().unwrap().insert(manifests, later.into_bytes());
    let error = one.held(1, DATE).await.unwrap_err();
    assert!(error.to_string().contains("format 9"), "{error}");
}

#[tokio::test]
async fn what_was_begun_and_is_lost_here_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::default());
    let range = BlockRange { first: 0, last: 11 };
    // It ends after the first file got its name.
    for calls in 0..40 {
        let process = Process::new(&shared, Fault::Before, calls);
        let _ended = lake(process, 1).export(&run_of(folder.path(), range, 1)).await;
        let visible = shared.files.lock().unwrap().keys().filter(|p| !p.starts_with('_')).count();
        if visible == 1 {
            break;
        }
        shared.files.lock().unwrap().clear();
    }
    let two = lake(Process::new(&shared, Fault::Before, i64::MAX), 2);
    let held = two.held(1, DATE).await.unwrap();
    assert!(held.due[0].is_begun);
    two.abandon(1, DATE, held.due[0].range).await.unwrap();
    assert_eq!(two.held(1, DATE).await.unwrap(), HeldDate::default());
    assert!(shared.files.lock().unwrap().keys().all(|path| path.starts_with('_')));
}

#[tokio::test]
async fn a_process_that_ends_well_makes_nobody_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (range, hour) = (BlockRange { first: 0, last: 11 }, Duration::from_hours(1));
    for ends_well in [true, false] {
        let shared = Arc::new(Shared::default());
        let one = patient(Process::new(&shared, Fault::Sleep, 14), 1, hour);
        // It is dropped half-way, as the runner drops it.
        let run = run_of(folder.path(), range, 1);
        let export = tokio::time::timeout(Duration::from_millis(20), one.export(&run));
        assert!(export.await.is_err(), "it sleeps");
        if ends_well {
            one.release().await.unwrap();
        }
        let two = patient(Process::new(&shared, Fault::Before, i64::MAX), 2, hour);
        let held = two.held(1, DATE).await;
        assert_eq!(held.is_ok(), ends_well, "{held:?}");
        if let Ok(held) = held {
            assert_eq!((held.due[0].range, held.due[0].is_begun), (range, true));
            two.export(&run).await.unwrap();
            finished(&shared);
        }
    }
}

#[tokio::test]
async fn a_lake_lies_in_a_folder_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("lake").display().to_string();
    let config = toml::from_str(&format!("url = \"{url}\"\nuploads = 2")).unwrap();
    let hdfs = super::Hdfs::open("test", config).unwrap();
    assert_eq!(hdfs.missing().await.unwrap(), [format!("the folder {url}")]);
    hdfs.check().await.unwrap();
    assert_eq!(hdfs.missing().await.unwrap(), [""; 0]);
    let run = run_of(folder.path(), BlockRange { first: 0, last: 11 }, 1);
    hdfs.export(&run).await.unwrap();
    hdfs.export(&run).await.unwrap();
    let held = hdfs.held(1, DATE).await.unwrap();
    assert_eq!((held.runs.len(), held.due.len()), (1, 0));
    for file in &run.files {
        let there = std::fs::read(folder.path().join("lake").join(&file.name)).unwrap();
        assert_eq!(crc32c::crc32c(&there), file.crc32c);
    }
    // What is under a name is never replaced, and a file in the way of the lake is told.
    let mut other = run_of(folder.path(), BlockRange { first: 12, last: 12 }, 2);
    other.files[0].name.clone_from(&run.files[0].name);
    hdfs.export(&other).await.unwrap();
    let there = std::fs::read(folder.path().join("lake").join(&run.files[0].name)).unwrap();
    assert_eq!(crc32c::crc32c(&there), run.files[0].crc32c);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let url = format!("url = \"{}\"", folder.path().join("file").display());
    let hdfs = super::Hdfs::open("test", toml::from_str(&url).unwrap()).unwrap();
    let error = hdfs.check().await.unwrap_err();
    assert!(error.to_string().contains("is a file where the lake wants a folder"), "{error}");
    hdfs.close().await;
}
