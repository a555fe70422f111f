//! A set of block numbers as ranges.

use std::collections::BTreeMap;

use super::BlockRange;

/// Numbers in as few ranges as possible.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "Vec<BlockRange>", from = "Vec<BlockRange>")]
pub struct BlockRanges {
    /// First number to last number; neighbours are joined.
    ranges: BTreeMap<u64, u64>,
}

impl BlockRanges {
    /// Adds the numbers of a range.
    pub fn insert(&mut self, range: BlockRange) {
        let BlockRange { mut first, mut last } = range;
        if let Some((start, end)) = self.ranges.range(..=first).next_back()
            && (*end >= first || end.checked_add(1) == Some(first))
        {
            (first, last) = (*start, last.max(*end));
        }
        while let Some((start, end)) = self.ranges.range(first..).next() {
            if *start > last.saturating_add(1) {
                break;
            }
            let (start, end) = (*start, *end);
            last = last.max(end);
            self.ranges.remove(&start);
        }
        self.ranges.insert(first, last);
    }

    /// Takes the numbers from `first` on out of the set.
    pub fn remove_from(&mut self, first: u64) {
        self.ranges.split_off(&first);
        if let Some((_, end)) = self.ranges.range_mut(..first).next_back() {
            *end = (*end).min(first.saturating_sub(1));
        }
    }

    /// Takes the numbers of a range out of the set.
    pub fn remove(&mut self, range: BlockRange) {
        let above = range.last.checked_add(1).and_then(|next| {
            let (_, end) = self.ranges.range(..next).next_back()?;
            BlockRange::new(next, *end)
        });
        let rest = range.last.checked_add(1).map(|next| self.ranges.split_off(&next));
        self.remove_from(range.first);
        self.ranges.extend(rest.unwrap_or_default());
        if let Some(above) = above {
            self.insert(above);
        }
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = BlockRange> {
        self.ranges.iter().map(|(first, last)| BlockRange { first: *first, last: *last })
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.len()).sum()
    }

    /// What of `range` is not in the set, in order.
    pub fn missing(&self, range: BlockRange) -> Vec<BlockRange> {
        let mut missing = Vec::new();
        let mut next = range.first;
        for have in self.iter().filter(|have| have.last >= range.first) {
            if have.first > range.last {
                break;
            }
            missing.extend(have.first.checked_sub(1).and_then(|last| BlockRange::new(next, last)));
            match have.last.checked_add(1) {
                Some(after) => next = after,
                None => return missing,
            }
        }
        missing.extend(BlockRange::new(next, range.last));
        missing
    }
}

impl From<Vec<BlockRange>> for BlockRanges {
    fn from(ranges: Vec<BlockRange>) -> BlockRanges {
        ranges.into_iter().collect()
    }
}

impl From<BlockRanges> for Vec<BlockRange> {
    fn from(ranges: BlockRanges) -> Vec<BlockRange> {
        ranges.iter().collect()
    }
}

impl FromIterator<BlockRange> for BlockRanges {
    fn from_iter<I: IntoIterator<Item = BlockRange>>(ranges: I) -> BlockRanges {
        let mut set = BlockRanges::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> BlockRange {
        BlockRange { first, last }
    }

    #[test]
    fn ranges_join_and_show_what_is_missing() {
        let mut set = BlockRanges::default();
        for part in [range(5, 9), range(20, 29), range(10, 12), range(40, 40), range(28, 35)] {
            set.insert(part);
        }
        let found: Vec<BlockRange> = set.iter().collect();
        assert_eq!(found, [range(5, 12), range(20, 35), range(40, 40)]);
        assert_eq!(
            set.missing(range(0, 50)),
            [range(0, 4), range(13, 19), range(36, 39), range(41, 50)]
        );
        assert_eq!(set.missing(range(6, 12)), []);
        assert_eq!(set.missing(range(36, 38)), [range(36, 38)]);
        assert_eq!(set.count(), 8 + 16 + 1);
        assert!(set.contains(5) && set.contains(40) && !set.contains(13) && !set.contains(4));
        let mut less = set.clone();
        less.remove(range(8, 22));
        less.remove(range(40, 41));
        assert_eq!(less.iter().collect::<Vec<_>>(), [range(5, 7), range(23, 35)]);
        less.remove(range(6, 6));
        assert_eq!(less.iter().collect::<Vec<_>>(), [range(5, 5), range(7, 7), range(23, 35)]);
        set.remove_from(22);
        assert_eq!(set.iter().collect::<Vec<_>>(), [range(5, 12), range(20, 21)]);
    }
}
