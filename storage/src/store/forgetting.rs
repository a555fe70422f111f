//! Forgetting by rule: which payloads leave the log and which parts leave the disk are pure
//! functions; nothing is forgotten that somebody who is required has not passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use crate::ledger::Part;
use crate::model::Lsn;
use crate::parquet::PartName;
use crate::tables::Table;
use crate::wal::SegmentFacts;

use super::{Chain, StoreError};

/// How long things are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of the log whose payloads are kept although parts hold them.
    pub log_bytes: u64,
    /// How long parts are kept, by table; all others for ever.
    pub parts: BTreeMap<Table, Keep>,
}

/// How long the parts of a table are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// UTC dates, counted back from today, or from the newest block where that is older.
    pub days_max: Option<u32>,
    /// Bytes of all parts of the table.
    pub bytes_max: Option<u64>,
}

/// What stands against forgetting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The last record that every required exporter has passed.
    pub required: Lsn,
    /// The last record that every exporter has passed.
    pub all: Lsn,
}

/// Segments whose payloads go: closed, behind `before`, and not among the newest `keep_bytes`.
pub fn plan_trim(segments: &[SegmentFacts], keep_bytes: u64, before: Lsn) -> Vec<SegmentFacts> {
    let mut newer = 0;
    let mut plan = Vec::new();
    for facts in segments.iter().rev().filter(|facts| !facts.is_trimmed) {
        newer += facts.file_bytes;
        if newer > keep_bytes && facts.last.is_some_and(|last| last < before) {
            plan.push(*facts);
        }
    }
    plan.reverse();
    plan
}

/// Parts that go: beyond their table's age or size, oldest first, passed by those who are
/// required. Age counts from the newest date that is in parts: a clock that is wrong by a century
/// removes nothing.
pub fn plan_parts(parts: &[Part], retention: &Retention, today: i32, passed: Lsn) -> Vec<Part> {
    let mut plan = Vec::new();
    let newest = parts.iter().map(|part| part.date).max().unwrap_or(today);
    let today = today.min(newest);
    for (table, keep) in &retention.parts {
        let of_table = || parts.iter().filter(|part| part.table == *table);
        let mut bytes: u64 = of_table().map(|part| part.file_bytes).sum();
        let mut oldest: Vec<&Part> = of_table().collect();
        oldest.sort_by_key(|part| (part.date, part.range.first));
        for part in oldest {
            let days = i64::from(today) - i64::from(part.date);
            let is_old = keep.days_max.is_some_and(|max| days > i64::from(max));
            let is_much = keep.bytes_max.is_some_and(|max| bytes > max);
            if !(is_old || is_much) || part.last_lsn > passed {
                break;
            }
            bytes -= part.file_bytes;
            plan.push(part.clone());
        }
    }
    plan
}

impl Chain {
    /// Keeps all files of the log and all parts where they are, for who copies them; what is
    /// written meanwhile is added.
    pub fn hold_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what may be forgotten; gives the bytes that became free.
    pub fn forget(
        &self,
        retention: &Retention,
        today: i32,
        passed: Passed,
    ) -> Result<u64, StoreError> {
        let _held = self.hold_files();
        let mut freed = self.trim(retention.log_bytes)?;
        let parts = self.with_state(|state| state.parts().clone());
        let plan = plan_parts(&parts, retention, today, passed.required);
        if !plan.is_empty() {
            self.remove_parts(&plan)?;
            freed += plan.iter().map(|part| part.file_bytes).sum::<u64>();
        }
        freed += self.drop_log(passed.all)?;
        self.replaced.sweep(self.disk.as_ref(), &self.data_dir)?;
        Ok(freed)
    }

    /// Trims segments of which everything is sealed and indexed.
    fn trim(&self, keep_bytes: u64) -> Result<u64, StoreError> {
        let index = self.index();
        let indexed = match (&index, self.options.index.is_some()) {
            (Some(index), _) => index.indexed().next(),
            (None, true) => Lsn::ZERO,
            (None, false) => Lsn(u64::MAX),
        };
        let (replay_from, parts) =
            self.with_state(|state| (state.replay_from(), state.parts().clone()));
        let plan = plan_trim(&self.log.segments(), keep_bytes, replay_from.min(indexed));
        if let Some(index) = index.filter(|_| !plan.is_empty()) {
            // So that a crash does not make the index read all of that from parts.
            index.persist()?;
        }
        let mut freed = 0;
        for facts in plan {
            let last = facts.last.unwrap_or(facts.first);
            let overlaps = |part: &&Part| {
                let is_blocks = part.table == Table::Blocks;
                is_blocks && part.first_lsn <= last && facts.first <= part.last_lsn
            };
            let mut in_parts = BTreeSet::new();
            for part in parts.iter().filter(overlaps) {
                in_parts.extend(self.parts.lsns(part)?);
            }
            freed += self.log.trim(facts.first, |lsn| in_parts.contains(&lsn))?;
        }
        Ok(freed)
    }

    fn remove_parts(&self, plan: &[Part]) -> Result<(), StoreError> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = self.with_state(Clone::clone);
        after.forget_parts(plan);
        self.ledger.change_parts(&self.facts(&after, Lsn::ZERO), plan, &[])?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = after;
        core.ahead.forget_parts(plan);
        drop(core);
        self.replaced.doom(plan);
        Ok(())
    }

    /// Drops segments of which nothing is needed: no part was made from them, and everybody has
    /// passed them.
    fn drop_log(&self, passed: Lsn) -> Result<u64, StoreError> {
        let needed = self.with_state(|state| {
            let parts = state.parts().iter().map(|part| part.first_lsn);
            parts.min().unwrap_or(Lsn(u64::MAX)).min(state.replay_from())
        });
        Ok(self.log.drop_before(needed.min(passed.next()))?)
    }

    /// Removes parts that the manifest does not name, and temporary files: what a crash left
    /// behind. Files of others are left alone. Nobody reads yet.
    pub fn sweep_parts(&self) -> Result<(), StoreError> {
        let parts = self.with_state(|state| state.parts().clone());
        let named: BTreeSet<&str> = parts.iter().map(|part| part.path.as_str()).collect();
        for table in Table::ALL {
            let folder = format!("parts/{}/chain_id={}", table.name(), self.chain_id);
            for date in self.disk.list(&self.data_dir.join(&folder))? {
                for file in self.disk.list(&self.data_dir.join(&folder).join(&date))? {
                    let path = format!("{folder}/{date}/{file}");
                    let is_ours = PartName::parse(path.strip_suffix(".tmp").unwrap_or(&path));
                    if is_ours.is_some() && !named.contains(path.as_str()) {
                        self.disk.remove(&self.data_dir.join(&path))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlockRange;

    fn segment(first: u64, last: Option<u64>, file_bytes: u64, is_trimmed: bool) -> SegmentFacts {
        SegmentFacts { first: Lsn(first), last: last.map(Lsn), file_bytes, is_trimmed }
    }

    #[test]
    fn the_log_keeps_its_newest_bytes_and_what_is_not_sealed() {
        let segments = [
            segment(1, Some(9), 5, true),
            segment(10, Some(19), 100, false),
            segment(20, Some(29), 100, false),
            segment(30, Some(39), 100, false),
            segment(40, None, 100, false),
        ];
        let firsts = |keep, before| -> Vec<u64> {
            let plan = plan_trim(&segments, keep, Lsn(before));
            plan.iter().map(|facts| facts.first.0).collect()
        };
        assert_eq!(firsts(0, 100), [10, 20, 30]);
        assert_eq!(firsts(200, 100), [10, 20]);
        assert_eq!(firsts(0, 29), [10], "a segment goes when all of it is sealed");
        assert_eq!(firsts(1_000, 100), [0_u64; 0]);
    }

    #[test]
    fn parts_go_by_age_and_size_and_never_before_they_were_passed() {
        let part = |table: Table, date: i32| Part {
            path: format!("{}-{date}", table.name()),
            table,
            range: BlockRange { first: date as u64, last: date as u64 },
            date,
            rows: 1,
            file_bytes: 10,
            crc32c: 0,
            parent_hash: alloy_primitives::B256::ZERO,
            first_hash: alloy_primitives::B256::ZERO,
            last_hash: alloy_primitives::B256::ZERO,
            first_lsn: Lsn(date as u64),
            last_lsn: Lsn(date as u64),
        };
        let parts: Vec<Part> =
            (0..10).flat_map(|date| [part(Table::Blocks, date), part(Table::Logs, date)]).collect();
        let gone = |table, keep, passed| -> Vec<i32> {
            let rules = BTreeMap::from([(table, keep)]);
            let retention = Retention { log_bytes: 0, parts: rules };
            let plan = plan_parts(&parts, &retention, 9, Lsn(passed));
            assert!(plan.iter().all(|part| part.table == table));
            plan.iter().map(|part| part.date).collect()
        };
        let days = |days| Keep { days_max: Some(days), bytes_max: None };
        let bytes = |bytes| Keep { days_max: None, bytes_max: Some(bytes) };
        assert_eq!(gone(Table::Logs, days(7), 100), [0, 1]);
        assert_eq!(gone(Table::Blocks, days(30), 100), [0_i32; 0]);
        assert_eq!(gone(Table::Logs, bytes(75), 100), [0, 1, 2]);
        assert_eq!(gone(Table::Logs, bytes(75), 1), [0, 1], "who is required has not passed it");
        assert_eq!(gone(Table::Logs, Keep::default(), 100), [0_i32; 0]);
        for clock in [30_000, -30_000] {
            let retention =
                Retention { log_bytes: 0, parts: BTreeMap::from([(Table::Logs, days(20))]) };
            assert_eq!(plan_parts(&parts, &retention, clock, Lsn(100)), [], "a wrong clock");
        }
    }
}
