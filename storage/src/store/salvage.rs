//! Salvage: a folder that does not open any more is made to open again. The log and the parts say
//! what they hold, so the ledger can be made again from them, but for the cursors; what cannot be
//! used is set aside, and nothing is deleted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::clock;
use crate::disk::{self, Disk, DiskError, Mode};
use crate::ledger::{self, Anchor, ChainFacts, Ledger, LedgerError, Part, Way};
use crate::model::{Block, BlockRange, BlockRanges, BlockRef, ChainName, Lane, Lsn, Verified};
use crate::parquet::{PartError, PartReader, integers_of, read_part_facts, texts_of};
use crate::tables::Table;
use crate::wal;

use super::damage::set_file_aside;
use super::data_dir::{self, DataDir};
use super::lost_records::note_lost_records;
use super::{OpenError, StoreError, error_text};

/// Blocks of a part that are read at a time.
const CHUNK_BLOCKS: u64 = 64;

/// What is salvaged, and how.
pub struct SalvageRequest<'a> {
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// The folder; nobody else uses it.
    pub path: &'a Path,
    /// A backup whose ledger has cursors that are older than none.
    pub backup: Option<&'a Path>,
    /// Whether nothing is changed.
    pub is_dry_run: bool,
}

/// What was found, and done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SalvageReport {
    /// A sentence for each thing that was wrong; none when nothing was.
    pub findings: Vec<String>,
    /// Whether the ledger was made again; then cursors are those of the backup, or none.
    pub is_ledger_new: bool,
}

/// Why a folder cannot be salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The new ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A chain's log or parts.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing of ours.
    #[error("{} holds no log, no parts and no ledger: there is nothing to repair", path.display())]
    Nothing {
        /// The folder.
        path: std::path::PathBuf,
    },
}

/// Makes a folder open again.
pub fn salvage(request: &SalvageRequest<'_>) -> Result<SalvageReport, SalvageError> {
    let disk = request.disk.as_ref();
    let names = disk.list(request.path)?;
    let is_ours = ["chains", "parts", ledger::FILE_NAME];
    if !names.iter().any(|name| is_ours.contains(&name.as_str())) {
        return Err(SalvageError::Nothing { path: request.path.to_owned() });
    }
    let mut report = SalvageReport::default();
    match data_dir::check_format(disk, request.path) {
        Ok(Some(_)) => {}
        Ok(None) | Err(OpenError::Foreign { .. }) => {
            report.findings.push("FORMAT is missing or damaged: it is written again".to_owned());
            if !request.is_dry_run {
                let path = request.path.join(data_dir::FORMAT_FILE);
                disk::write_file(disk, &path, data_dir::format_text().as_bytes())?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    salvage_ledger(request, &mut report)?;
    if !request.is_dry_run || report.findings.is_empty() {
        // Before the rest is put right there is nothing to open.
        note_lost_records(request, &mut report)?;
    }
    Ok(report)
}

/// Makes the ledger anew when not everything in it can be read.
pub fn salvage_ledger(
    request: &SalvageRequest<'_>,
    report: &mut SalvageReport,
) -> Result<(), SalvageError> {
    let ledger = check_ledger(request);
    let chains = chains_of(request, ledger.as_ref().ok(), report)?;
    if let Err(error) = ledger {
        let what = format!("the ledger is made again from the log and the parts: {error}");
        report.findings.push(what);
        report.is_ledger_new = true;
        if !request.is_dry_run {
            rebuild(request, &chains, report)?;
        }
    }
    Ok(())
}

/// The ids of chains by name, as the ledger has them.
type ChainIds = BTreeMap<ChainName, u64>;

/// The chains of a ledger in which everything can be read, or what is wrong with it.
fn check_ledger(request: &SalvageRequest<'_>) -> Result<ChainIds, String> {
    let path = request.path.join(ledger::FILE_NAME);
    if let Err(error) = request.disk.open(&path, Mode::Read) {
        return Err(error_text(&error));
    }
    let read = || {
        let chains = Ledger::open_whole(&request.disk, request.path)?.chains()?.into_iter();
        Ok::<_, LedgerError>(chains.map(|facts| (facts.name, facts.chain_id)).collect())
    };
    read().map_err(|error| error_text(&error))
}

/// The chains whose logs are there, with their ids; segments of other chains are set aside.
fn chains_of(
    request: &SalvageRequest<'_>,
    known: Option<&ChainIds>,
    report: &mut SalvageReport,
) -> Result<ChainIds, SalvageError> {
    let disk = request.disk.as_ref();
    let mut chains = ChainIds::new();
    for folder in disk.list(&request.path.join("chains"))? {
        let Ok(name) = folder.parse::<ChainName>() else {
            report.findings.push(format!("chains/{folder} is no chain's folder: it is left alone"));
            continue;
        };
        let wal = request.path.join("chains").join(&folder).join("wal");
        let segments = wal::chain_ids(disk, &wal)?;
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for id in segments.iter().filter_map(|(_, id)| *id) {
            *votes.entry(id).or_default() += 1;
        }
        let most = votes.iter().max_by_key(|(_, count)| **count).map(|(id, _)| *id);
        let Some(chain_id) = known.and_then(|known| known.get(&name).copied()).or(most) else {
            continue;
        };
        for (segment, found) in &segments {
            let Some(found) = found.filter(|found| *found != chain_id) else { continue };
            let path = format!("chains/{folder}/wal/{segment}");
            report.findings.push(format!(
                "{path} is of the chain with id {found}, not {chain_id}: it is set aside"
            ));
            if !request.is_dry_run {
                set_file_aside(disk, request.path, &path)?;
                disk.sync_folder(&wal)?;
            }
        }
        chains.insert(name, chain_id);
    }
    Ok(chains)
}

/// Makes a ledger of what the log and the parts say.
fn rebuild(
    request: &SalvageRequest<'_>,
    chains: &ChainIds,
    report: &mut SalvageReport,
) -> Result<(), SalvageError> {
    set_file_aside(request.disk.as_ref(), request.path, ledger::FILE_NAME)?;
    if let Some(backup) = request.backup {
        let from = backup.join(ledger::FILE_NAME);
        let bytes = disk::read_file(request.disk.as_ref(), &from)?;
        disk::write_file(request.disk.as_ref(), &request.path.join(ledger::FILE_NAME), &bytes)?;
        report.findings.push(format!(
            "cursors are those of {}: what was exported since is exported again",
            backup.display()
        ));
    } else {
        report
            .findings
            .push("no cursors are known: every exporter begins at the start of the log".to_owned());
    }
    let data_dir = DataDir::found(request.path, request.disk.clone())?;
    let mut ends = BTreeMap::new();
    for (name, chain_id) in chains {
        let before = data_dir.ledger().parts(name)?;
        let parts = whole_runs(request, *chain_id, report)?;
        let (facts, last) = chain_facts(&data_dir, name, *chain_id, &parts)?;
        data_dir.ledger().change_parts(&facts, &before, &parts)?;
        report.findings.push(format!(
            "chain {name}: {} parts, records {} to {last} in the log",
            parts.len(),
            facts.replay_from
        ));
        ends.insert(name.clone(), last);
    }
    let (from, at) = ("the log and the parts".to_owned(), clock::unix_seconds());
    data_dir.ledger().set_descent(Way::Repaired, from, at, ends)?;
    Ok(data_dir.ledger().set_home("")?)
}

/// What a ledger should know of a chain, and the last record of its log.
fn chain_facts(
    data_dir: &DataDir,
    name: &ChainName,
    chain_id: u64,
    parts: &[Part],
) -> Result<(ChainFacts, Lsn), SalvageError> {
    let sealed = parts.iter().map(|part| part.last_lsn).max().unwrap_or_default();
    let (folder, options) = (data_dir.wal_folder(name), wal::Options::default());
    let writer = wal::open(data_dir.disk(), &folder, chain_id, options, sealed);
    let log = writer.map_err(StoreError::from)?.log().clone();
    let reader = PartReader::new(data_dir.disk().clone(), data_dir.path().to_owned());
    let facts = ChainFacts {
        name: name.clone(),
        chain_id,
        replay_from: log.first(),
        sealed,
        anchor: anchor(&log, &reader, parts)?,
        forgotten: BlockRanges::default(),
        partial: BlockRanges::default(),
    };
    Ok((facts, log.durable()))
}

/// The parts of runs of which nothing is missing. What does not belong to one is set aside.
fn whole_runs(
    request: &SalvageRequest<'_>,
    chain_id: u64,
    report: &mut SalvageReport,
) -> Result<Vec<Part>, SalvageError> {
    let disk = request.disk.as_ref();
    let mut found = Vec::new();
    let mut unusable = Vec::new();
    for table in Table::ALL {
        let folder = format!("parts/{}/chain_id={chain_id}", table.name());
        for date in disk.list(&request.path.join(&folder))? {
            for file in disk.list(&request.path.join(&folder).join(&date))? {
                let path = format!("{folder}/{date}/{file}");
                match read_part_facts(disk, request.path, &path) {
                    Ok(Some(part)) => found.push(part),
                    Err(PartError::Disk(error)) if !error.is_unreadable() => {
                        return Err(error.into());
                    }
                    Ok(None) | Err(_) => unusable.push(path),
                }
            }
        }
    }
    let reader = PartReader::new(request.disk.clone(), request.path.to_owned());
    // A crash may have left a merged run and those that it was made of: the larger counts.
    let mut runs: Vec<&Part> = found.iter().filter(|part| part.table == Table::Blocks).collect();
    runs.sort_by_key(|part| (std::cmp::Reverse(part.range.len()), part.range.first));
    let (mut kept, mut taken) = (Vec::new(), BlockRanges::default());
    for run in runs {
        let of_run: Vec<&Part> = found.iter().filter(|part| part.range == run.range).collect();
        let is_free = !run.range.numbers().any(|number| taken.contains(number));
        if is_free && is_whole(&reader, &of_run)? {
            taken.insert(run.range);
            kept.extend(of_run.into_iter().cloned());
        }
    }
    unusable.extend(found.into_iter().filter(|part| !kept.contains(part)).map(|part| part.path));
    for path in unusable {
        report.findings.push(format!("{path} is no part of a whole run: it is set aside"));
        set_file_aside(disk, request.path, &path)?;
    }
    Ok(kept)
}

/// Whether a run has all of its rows, as far as the counts and blooms of its blocks say.
fn is_whole(reader: &PartReader, parts: &[&Part]) -> Result<bool, SalvageError> {
    let part_of = |table| parts.iter().find(|part| part.table == table).copied();
    let Some(blocks) = part_of(Table::Blocks) else { return Ok(false) };
    let rows_of = |table| part_of(table).map_or(0, |part| part.rows);
    let counts = |column| {
        let rows = reader.rows(blocks, blocks.range, Some(column))?;
        Ok::<_, PartError>(integers_of(&rows, column).into_iter().sum::<u64>())
    };
    let count = |column| readable(counts(column));
    if blocks.rows != blocks.range.len()
        || part_of(Table::ChainEvents).is_none()
        || count("transaction_count")? != Some(rows_of(Table::Transactions))
        || count("withdrawal_count")? != Some(rows_of(Table::Withdrawals))
    {
        return Ok(false);
    }
    for first in blocks.range.numbers().step_by(CHUNK_BLOCKS as usize) {
        let chunk = BlockRange { first, last: blocks.range.last.min(first + CHUNK_BLOCKS - 1) };
        let Some(found) = readable(reader.blocks(&part_of, chunk))? else { return Ok(false) };
        let has_logs = |block: &Block| block.header.logs_bloom.iter().any(|byte| *byte != 0);
        if part_of(Table::Logs).is_none() && found.iter().any(|(_, block)| has_logs(block)) {
            return Ok(false);
        }
        // Earlier formats kept no marks, and had no traces.
        let marks = match part_of(Table::Verification) {
            Some(part) => readable(reader.rows(part, chunk, Some("verified")))?,
            None => continue,
        };
        let Some(marks) = marks.map(|rows| texts_of(&rows, "verified")) else { return Ok(false) };
        let lacks_traces = |(mark, (_, block)): (&String, &(Lsn, Block))| {
            Verified::parse(mark).has(Verified::TRACES) && block.traces.is_empty()
        };
        if marks.iter().zip(&found).any(lacks_traces) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was read; `None` for a part that is damaged.
fn readable<T>(read: Result<T, PartError>) -> Result<Option<T>, SalvageError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(PartError::Disk(error)) if !error.is_unreadable() => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The highest final block of the live lane that is in parts.
fn anchor(
    log: &wal::Log,
    reader: &PartReader,
    parts: &[Part],
) -> Result<Option<Anchor>, SalvageError> {
    let mut runs: Vec<&Part> = parts.iter().filter(|part| part.table == Table::Blocks).collect();
    runs.sort_by_key(|part| std::cmp::Reverse(part.range.last));
    for run in runs {
        let last = BlockRange { first: run.range.last, last: run.range.last };
        let of_run =
            |table| parts.iter().find(|part| part.table == table && part.range == run.range);
        let found = reader.blocks(&of_run, last).map_err(StoreError::from)?;
        let Some((lsn, block)) = found.last() else { continue };
        // A record that the log has dropped was of the live lane, or nothing says otherwise.
        let is_live =
            log.head(*lsn).is_ok_and(|head| head.lane == Lane::Live) || *lsn < log.first();
        if is_live {
            return Ok(Some(Anchor {
                block: BlockRef { number: block.header.number, hash: block.header.hash },
                parent_hash: block.header.parent_hash,
                timestamp: block.header.time_seconds(),
                lsn: *lsn,
            }));
        }
    }
    Ok(None)
}
