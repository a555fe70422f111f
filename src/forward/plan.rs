//! Which run of sealed blocks goes into a lake next: a pure function of what is here, what the lake
//! holds, and what has waited long enough.

use std::collections::BTreeMap;

use headwater_exporters::parts::{Due, HeldDate};
use headwater_storage::model::{BlockRange, BlockRanges, Lsn};

/// Sealed blocks that are here in one part per table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// The blocks.
    pub(super) range: BlockRange,
    /// Their UTC date.
    pub(super) date: i32,
    /// The lowest record that they were made from.
    pub(super) first_lsn: Lsn,
    /// Bytes of the largest of their parts.
    pub(super) bytes: u64,
}

/// What goes by.
pub(super) struct Rules<'a> {
    /// Bytes that the largest file of a run should have.
    pub(super) target_bytes: u64,
    /// Lower blocks never go.
    pub(super) first_block: u64,
    /// Nothing can be added behind a block: the next one is sealed already.
    pub(super) is_closed: &'a dyn Fn(u64) -> bool,
    /// Blocks from this one on have waited long enough.
    pub(super) is_overdue: &'a dyn Fn(u64) -> bool,
}

/// A run that goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Its UTC date.
    pub(super) date: i32,
    /// Its blocks.
    pub(super) range: BlockRange,
    /// Files of it may be there.
    pub(super) due: Option<Due>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What goes now.
    pub(super) job: Option<Job>,
    /// First blocks of runs that wait to become larger.
    pub(super) waiting: Vec<u64>,
    /// All that is here and not held.
    pub(super) missing: BlockRanges,
    /// The lowest record of what is here and not held.
    pub(super) first_lsn: Option<Lsn>,
}

struct Group {
    range: BlockRange,
    date: i32,
    bytes: u64,
}

/// Plans over local parts in order of number, of dates that were looked up.
pub(super) fn plan(locals: &[Local], held: &BTreeMap<i32, HeldDate>, rules: &Rules<'_>) -> Plan {
    let mut plan = Plan::default();
    let covered: BTreeMap<i32, BlockRanges> = held
        .iter()
        .map(|(date, held)| (*date, held.runs.iter().map(|run| run.range).collect()))
        .collect();
    let mut group: Option<Group> = None;
    for local in locals {
        let Some(range) =
            BlockRange::new(rules.first_block.max(local.range.first), local.range.last)
        else {
            continue;
        };
        let nothing = BlockRanges::default();
        for range in covered.get(&local.date).unwrap_or(&nothing).missing(range) {
            plan.missing.insert(range);
            plan.first_lsn = plan.first_lsn.into_iter().chain([local.first_lsn]).min();
            let bytes = local.bytes * range.len() / local.range.len().max(1);
            let joined = group.as_mut().filter(|group| {
                let follows = group.date == local.date && group.range.last + 1 == range.first;
                follows && group.bytes + bytes <= rules.target_bytes
            });
            if let Some(group) = joined {
                group.range.last = range.last;
                group.bytes += bytes;
            } else {
                let before = group.replace(Group { range, date: local.date, bytes });
                plan.end(before.as_ref(), Some(range.first), rules);
            }
        }
    }
    plan.end(group.as_ref(), None, rules);
    let due = held.iter().flat_map(|(date, held)| held.due.iter().map(move |due| (*date, *due)));
    // What was begun goes first: nothing else of its date can.
    if let Some((date, due)) = due.min_by_key(|(date, due)| (*date, !due.is_begun)) {
        plan.job = Some(Job { date, range: due.range, due: Some(due) });
    }
    plan
}

impl Plan {
    /// A run goes when it is large enough, when nothing can be added, or when it has waited.
    fn end(&mut self, group: Option<&Group>, next: Option<u64>, rules: &Rules<'_>) {
        let Some(&Group { range, date, bytes }) = group else { return };
        let is_followed = next == Some(range.last + 1);
        let goes = is_followed
            || bytes >= rules.target_bytes
            || (rules.is_closed)(range.last)
            || (rules.is_overdue)(range.first);
        if !goes {
            self.waiting.push(range.first);
        } else if self.job.is_none() {
            self.job = Some(Job { date, range, due: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_exporters::parts::HeldRun;
    use headwater_storage::model::B256;

    fn range(first: u64, last: u64) -> BlockRange {
        BlockRange { first, last }
    }

    fn local(first: u64, last: u64, date: i32) -> Local {
        let bytes = range(first, last).len() * 10;
        Local { range: range(first, last), date, first_lsn: Lsn(first + 1), bytes }
    }

    fn held(date: i32, ranges: &[BlockRange], due: &[Due]) -> BTreeMap<i32, HeldDate> {
        let run = |range: &BlockRange| HeldRun {
            range: *range,
            first_hash: B256::ZERO,
            last_hash: B256::ZERO,
        };
        let runs = ranges.iter().map(run).collect();
        BTreeMap::from([(date, HeldDate { runs, due: due.to_vec() })])
    }

    fn rules<'a>(closed: &'a dyn Fn(u64) -> bool, overdue: &'a dyn Fn(u64) -> bool) -> Rules<'a> {
        Rules { target_bytes: 3000, first_block: 0, is_closed: closed, is_overdue: overdue }
    }

    fn goes(locals: &[Local], held: &BTreeMap<i32, HeldDate>, overdue: bool) -> Option<BlockRange> {
        // The day after is sealed from 1000 on.
        let (closed, overdue) = (|last: u64| last + 1 >= 1000, |_| overdue);
        plan(locals, held, &rules(&closed, &overdue)).job.map(|job| job.range)
    }

    #[test]
    fn small_parts_wait_for_each_other_until_the_date_ends_or_time_is_up() {
        let none = held(1, &[], &[]);
        let parts = |upto: u64| (0..upto).map(|at| local(at * 100, at * 100 + 99, 1));
        assert_eq!(goes(&parts(2).collect::<Vec<_>>(), &none, false), None);
        assert_eq!(goes(&parts(2).collect::<Vec<_>>(), &none, true), Some(range(0, 199)));
        assert_eq!(goes(&parts(3).collect::<Vec<_>>(), &none, false), Some(range(0, 299)));
        assert_eq!(goes(&parts(7).collect::<Vec<_>>(), &none, false), Some(range(0, 299)));
        let most = held(1, &[range(0, 799)], &[]);
        assert_eq!(goes(&parts(9).collect::<Vec<_>>(), &most, false), None, "100 of the last");
        assert_eq!(goes(&parts(10).collect::<Vec<_>>(), &most, false), Some(range(800, 999)));
        let all = held(1, &[range(0, 999)], &[]);
        assert_eq!(goes(&parts(10).collect::<Vec<_>>(), &all, true), None);
    }

    #[test]
    fn only_what_is_not_held_goes_however_the_parts_are_cut_here() {
        // What was merged here since has other borders than what the lake holds.
        let here = [local(0, 499, 1), local(500, 999, 1), local(1000, 1099, 2)];
        let there = held(1, &[range(0, 299), range(600, 699)], &[]);
        assert_eq!(goes(&here, &there, true), Some(range(300, 599)));
        let (closed, overdue) = (|_| false, |_| false);
        let planned = plan(&here, &there, &rules(&closed, &overdue));
        assert_eq!(planned.missing.iter().collect::<Vec<_>>(), [range(300, 599), range(700, 1099)]);
        assert_eq!(planned.first_lsn, Some(Lsn(1)), "of the part that holds it");
        assert_eq!(planned.waiting, [1000], "700 to 999 is large enough");
        let from = Rules { first_block: 750, ..rules(&closed, &overdue) };
        assert_eq!(plan(&here, &there, &from).missing.count(), 250 + 100);
    }

    #[test]
    fn what_was_begun_goes_first_and_with_the_same_blocks() {
        let due = |first, last, is_begun| Due { range: range(first, last), is_begun };
        let dues = [due(0, 99, false), due(100, 149, true)];
        let there = held(1, &[], &dues);
        let here = [local(0, 299, 1)];
        assert_eq!(goes(&here, &there, false), Some(range(100, 149)));
        let there = held(1, &[], &dues[..1]);
        assert_eq!(goes(&here, &there, false), Some(range(0, 99)));
    }
}
