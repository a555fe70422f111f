//! Damage: what cannot be read is named, set aside, and counts as missing, so that capture
//! fetches it again (INV-3). Nothing that is damaged keeps the rest from being used.

use std::path::Path;
use std::sync::PoisonError;

use crate::clock;
use crate::disk::{Disk, DiskError, Mode};
use crate::ledger::{ChainFacts, Part, Quarantine};
use crate::model::{BlockRange, BlockRanges, EventHead, Lsn, Op};
use crate::parquet::PartError;
use crate::wal::{self, Hole};

use super::replay::replay;
use super::{Chain, DataDir, StoreError};

/// Where damaged files are kept, below the data folder.
pub(super) const FOLDER: &str = "quarantine";
/// Records behind a hole that are looked at for the numbers that it took.
const NEIGHBOURS_MAX: usize = 1_000;

impl Chain {
    /// Damaged places that were found, each with whether its blocks are back.
    pub fn damages(&self) -> Result<Vec<(Quarantine, bool)>, StoreError> {
        let found = self.ledger.quarantined(&self.name)?;
        Ok(self.with_state(|state| {
            let is_back = |place: &Quarantine| {
                let back = |number: u64| state.has(number) || state.forgotten().contains(number);
                place.blocks.iter().flat_map(BlockRange::numbers).all(back)
            };
            found.into_iter().map(|place| (is_back(&place), place)).map(|(b, p)| (p, b)).collect()
        }))
    }

    /// Writes down damage that was met while the log was read.
    pub fn note_holes(&self) -> Result<(), StoreError> {
        let holes = self.log.take_holes();
        if holes.is_empty() {
            return Ok(());
        }
        let known = self.ledger.quarantined(&self.name)?;
        for hole in holes {
            if known.iter().any(|place| place.first == hole.first && place.last == hole.last) {
                continue;
            }
            self.lose_records(&hole);
            let blocks = self.numbers_in(&hole)?;
            let place = Quarantine {
                first: hole.first,
                last: hole.last,
                file: self.below(&hole.segment),
                offset: hole.offset,
                damage: hole.damage.to_string(),
                block: None,
                blocks,
                found_at: clock::unix_seconds(),
            };
            self.quarantine(&place)?;
        }
        Ok(())
    }

    /// Records that were in the state when they became unreadable.
    fn lose_records(&self, hole: &Hole) {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let lost: Vec<EventHead> = self.with_state(|state| {
            let is_in = |head: &&EventHead| head.lsn >= hole.first && head.lsn <= hole.last;
            state.unsealed().filter(is_in).copied().collect()
        });
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for head in lost {
            state.lose(head.block.number, head.lsn);
            core.ahead.lose(head.block.number, head.lsn);
        }
    }

    /// The numbers that a hole took: both lanes go up, so they are those right below the next
    /// readable block, as many as records are lost, as far as they are missing. A hole at the end
    /// of the log took numbers that capture comes to anyway.
    fn numbers_in(&self, hole: &Hole) -> Result<Vec<BlockRange>, StoreError> {
        let above = (hole.last.next().0..=self.log.durable().0).take(NEIGHBOURS_MAX);
        let last = self.neighbour(above)?.and_then(|number| number.checked_sub(1));
        let Some(last) = last else { return Ok(Vec::new()) };
        let first = last.saturating_sub(hole.last.0 - hole.first.0);
        let range = BlockRange { first, last };
        Ok(self.with_state(|state| state.captured().missing(range)))
    }

    fn neighbour(&self, lsns: impl Iterator<Item = u64>) -> Result<Option<u64>, StoreError> {
        for lsn in lsns {
            match self.log.head(Lsn(lsn)) {
                Ok(head) if head.op == Op::Applied => return Ok(Some(head.block.number)),
                Ok(_) | Err(wal::Error::Lost { .. } | wal::Error::Damaged { .. }) => {}
                Err(wal::Error::Unknown { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// A record's payload cannot be read. What parts hold is not lost; other blocks are missing
    /// from now on.
    pub(super) fn found_damage(
        &self,
        head: &EventHead,
        error: wal::Error,
    ) -> Result<(), StoreError> {
        let (offset, damage) = match &error {
            wal::Error::Damaged { offset, damage, .. } => (*offset, damage.to_string()),
            wal::Error::Decode { .. } | wal::Error::Lost { .. } => (0, error.to_string()),
            wal::Error::Disk(_)
            | wal::Error::Version { .. }
            | wal::Error::ForeignChain { .. }
            | wal::Error::Unnamed { .. }
            | wal::Error::Unknown { .. } => return Err(error.into()),
        };
        let number = head.block.number;
        {
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.ahead.lose(number, head.lsn);
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.lose(number, head.lsn);
        }
        let file = match &error {
            wal::Error::Damaged { segment, .. } | wal::Error::Lost { segment, .. } => {
                self.below(segment)
            }
            wal::Error::Decode { .. }
            | wal::Error::Disk(_)
            | wal::Error::Version { .. }
            | wal::Error::ForeignChain { .. }
            | wal::Error::Unnamed { .. }
            | wal::Error::Unknown { .. } => String::new(),
        };
        self.quarantine(&Quarantine {
            first: head.lsn,
            last: head.lsn,
            file,
            offset,
            damage,
            block: Some(head.block),
            blocks: vec![BlockRange { first: number, last: number }],
            found_at: clock::unix_seconds(),
        })
    }

    /// A part cannot be read: its run is set aside, and sealed again from the log, or fetched
    /// again where the log has forgotten it.
    pub(super) fn found_damaged_part(
        &self,
        parts: &[Part],
        error: &PartError,
    ) -> Result<(), StoreError> {
        let path = match error {
            PartError::Parquet { path, .. } | PartError::Rows { path, .. } => Some(path.clone()),
            PartError::Disk(error) => Some(self.below(&error.path)),
            PartError::Log { .. } | PartError::NoBlock { .. } | PartError::ReadBack { .. } => None,
        };
        let part = parts.iter().find(|part| Some(&part.path) == path.as_ref()).or(parts.first());
        match part {
            Some(part) => self.set_part_aside(part, &crate::store::error_text(error)),
            None => Ok(()),
        }
    }

    /// Sets a damaged part aside with all of its run.
    pub fn set_part_aside(&self, part: &Part, damage: &str) -> Result<(), StoreError> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let (lost, kept): (Vec<Part>, Vec<Part>) = self.with_state(|state| {
            let overlaps = |other: &Part| {
                other.range.first <= part.range.last && part.range.first <= other.range.last
            };
            state.parts().iter().cloned().partition(overlaps)
        });
        // Somebody else saw it first, or it was replaced by another part meanwhile.
        if !lost.contains(part) {
            return Ok(());
        }
        let mut facts = self.with_state(|state| self.facts(state, Lsn::ZERO));
        let first = lost.iter().map(|part| part.first_lsn).min().unwrap_or(Lsn(1));
        facts.replay_from = facts.replay_from.min(first);
        self.ledger.change_parts(&facts, &lost, &[])?;
        for part in &lost {
            set_file_aside(self.disk.as_ref(), &self.data_dir, &part.path)?;
        }
        self.parts.forget();
        self.read_ahead.forget();
        let state = replay(&self.log, &self.ledger, &facts, kept)?;
        core.ahead = state.clone();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        drop(core);
        self.quarantine(&Quarantine {
            first: part.first_lsn,
            last: part.last_lsn,
            file: part.path.clone(),
            offset: 0,
            damage: damage.to_owned(),
            block: None,
            blocks: vec![part.range],
            found_at: clock::unix_seconds(),
        })
    }

    fn quarantine(&self, place: &Quarantine) -> Result<(), StoreError> {
        let blocks: BlockRanges = place.blocks.iter().copied().collect();
        if !self.ledger.quarantine(&self.name, place)? {
            return Ok(());
        }
        {
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.ahead.damage(&place.blocks);
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.damage(&place.blocks);
        }
        tracing::error!(
            chain = %self.name, file = place.file, offset = place.offset, first = place.first.0,
            last = place.last.0, blocks = blocks.count(), damage = place.damage,
            "damage is set aside; what is missing is fetched again"
        );
        Ok(())
    }

    /// A path as it is below the data folder.
    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.data_dir).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// Files of one name that are kept aside.
const COPIES_MAX: u32 = 9;

/// Moves a file into the folder for damaged ones; one that is missing is fine.
pub(super) fn set_file_aside(
    disk: &dyn Disk,
    data_dir: &Path,
    path: &str,
) -> Result<(), DiskError> {
    let aside = data_dir.join(FOLDER);
    disk.create_folder(&aside)?;
    let name = path.replace('/', "_");
    let taken = disk.list(&aside)?;
    // What was set aside before under the same name is kept; beyond the bound the last gives way.
    let copy = |number: u32| match number {
        0 => name.clone(),
        _ => format!("{name}.{number}"),
    };
    let free = (0..COPIES_MAX).map(copy).find(|name| !taken.contains(name));
    let to = aside.join(free.unwrap_or_else(|| copy(COPIES_MAX)));
    match disk.rename(&data_dir.join(path), &to) {
        Err(error) if !error.is_missing() => Err(error),
        Ok(()) | Err(_) => disk.sync_folder(&aside),
    }
}

/// Parts whose files are missing or of another length are set aside, with all of their run, and
/// the log is replayed from where they began: they are sealed again, or fetched again (INV-3).
pub(super) fn drop_lost_parts(
    data_dir: &DataDir,
    mut facts: ChainFacts,
) -> Result<ChainFacts, StoreError> {
    let parts = data_dir.ledger().parts(&facts.name)?;
    let mut lost_runs = BlockRanges::default();
    for part in &parts {
        let path = data_dir.path().join(&part.path);
        let size = match data_dir.disk().open(&path, Mode::Read) {
            Ok(file) => file.size()?,
            Err(error) if error.is_missing() => 0,
            Err(error) => return Err(error.into()),
        };
        if size != part.file_bytes {
            tracing::warn!(path = part.path, "a part is gone or cut: its run is made again");
            lost_runs.insert(part.range);
        }
    }
    let is_lost = |part: &Part| part.range.numbers().any(|number| lost_runs.contains(number));
    let lost: Vec<Part> = parts.into_iter().filter(is_lost).collect();
    if let Some(first) = lost.iter().map(|part| part.first_lsn).min() {
        facts.replay_from = facts.replay_from.min(first);
        data_dir.ledger().change_parts(&facts, &lost, &[])?;
        for part in &lost {
            set_file_aside(data_dir.disk().as_ref(), data_dir.path(), &part.path)?;
        }
    }
    Ok(facts)
}
