//! A block's time. Ethereum counts seconds; Hardhat can count milliseconds, `GoQuorum` with Raft
//! counts nanoseconds. The header keeps the number as it is, since it is in the hash; all else
//! takes the time from here.
//!
//! The unit is the one in which the number lies between the years 2000 and 9999, or, for seconds,
//! 1970 and 9999; these ranges do not touch, so there is one at most, and none for what lies
//! between them.

use std::ops::RangeInclusive;

use super::exact::Exact;
use super::object::keep;
use super::{Block, Header, HeaderKey, LogKey};

/// 9999-12-31T23:59:59.
const SECONDS_MAX: u64 = 253_402_300_799;
/// 2000-01-01.
const SECONDS_2000: u64 = 946_684_800;
const MICROS_PER_SECOND: u64 = 1_000_000;

/// Times of a unit that has so many parts in a second.
const fn finer(parts: u64) -> RangeInclusive<u64> {
    SECONDS_2000 * parts..=(SECONDS_MAX.saturating_mul(parts)).saturating_add(parts - 1)
}

/// A block's time in microseconds since 1970-01-01 UTC, by the number in its header; `None` when
/// it fits no unit.
pub fn micros_of(timestamp: u64) -> Option<u64> {
    const MILLIS: RangeInclusive<u64> = finer(1_000);
    const MICROS: RangeInclusive<u64> = finer(1_000_000);
    const NANOS: RangeInclusive<u64> = finer(1_000_000_000);
    if timestamp <= SECONDS_MAX {
        return Some(timestamp * MICROS_PER_SECOND);
    }
    if MILLIS.contains(&timestamp) {
        return Some(timestamp * 1_000);
    }
    if MICROS.contains(&timestamp) {
        return Some(timestamp);
    }
    NANOS.contains(&timestamp).then_some(timestamp / 1_000)
}

/// The same in whole seconds; the end of the year 9999 for what fits no unit. Seconds stay what
/// they are.
pub fn seconds_of(timestamp: u64) -> u64 {
    micros_of(timestamp).map_or(SECONDS_MAX, |micros| micros / MICROS_PER_SECOND)
}

impl Header {
    /// When the block was made, in microseconds since 1970-01-01 UTC; `None` when its timestamp
    /// fits no unit: such a block is not taken.
    pub fn time_micros(&self) -> Option<u64> {
        micros_of(self.timestamp)
    }

    /// When the block was made, in whole seconds since 1970-01-01 UTC.
    pub fn time_seconds(&self) -> u64 {
        seconds_of(self.timestamp)
    }

    /// Keeps a number that is no seconds beside the columns, which could not give it back.
    pub(super) fn settle_time(&mut self) {
        if self.timestamp > SECONDS_MAX && self.has(HeaderKey::timestamp) {
            self.present &= !(1 << HeaderKey::timestamp as u8);
            let told = format!("{:#x}", self.timestamp);
            keep(&mut self.extra, "timestamp", Exact(told.into()));
        }
    }
}

impl Block {
    /// Keeps times that are no seconds beside the columns, which could not give them back: of the
    /// header, and of logs that repeat it.
    pub(crate) fn settle_times(&mut self) {
        self.header.settle_time();
        let timestamp = self.header.timestamp;
        if timestamp <= SECONDS_MAX {
            return;
        }
        for receipt in self.receipts.iter_mut().flatten() {
            for log in receipt.logs.list_mut().iter_mut() {
                if log.has(LogKey::block_timestamp) {
                    log.present &= !(1 << LogKey::block_timestamp as u8);
                    let told = format!("{timestamp:#x}");
                    keep(&mut log.extra, "blockTimestamp", Exact(told.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_one_in_which_the_time_is_a_block_s() {
        let at = 1_763_712_345_u64;
        let micros = at * 1_000_000 + 678_901;
        for (timestamp, expected) in [
            (0, 0),
            (1, 1_000_000),
            (at, at * 1_000_000),
            (253_402_300_799, 253_402_300_799_000_000),
            (946_684_800_000, 946_684_800_000_000),
            (at * 1_000 + 678, at * 1_000_000 + 678_000),
            (253_402_300_799_999, 253_402_300_799_999_000),
            (946_684_800_000_000, 946_684_800_000_000),
            (micros, micros),
            (253_402_300_799_999_999, 253_402_300_799_999_999),
            (946_684_800_000_000_000, 946_684_800_000_000),
            (micros * 1_000 + 234, micros),
            (u64::MAX, u64::MAX / 1_000),
        ] {
            assert_eq!(micros_of(timestamp), Some(expected), "{timestamp}");
            assert_eq!(seconds_of(timestamp), expected / 1_000_000, "{timestamp}");
            assert_eq!(seconds_of(seconds_of(timestamp)), seconds_of(timestamp));
        }
        for between in [
            253_402_300_800,
            946_684_799_999,
            253_402_300_800_000,
            946_684_799_999_999,
            253_402_300_800_000_000,
            946_684_799_999_999_999,
        ] {
            assert_eq!(micros_of(between), None, "{between}");
            assert_eq!(seconds_of(between), 253_402_300_799);
        }
    }
}
