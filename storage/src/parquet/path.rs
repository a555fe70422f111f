//! Where a part lies: the only place that makes and parses these names.

use crate::model::BlockRange;
use crate::tables::Table;

const SECONDS_PER_DAY: u64 = 86_400;

/// The UTC date of a block's time, in days since 1970-01-01.
pub fn date_of(timestamp: u64) -> i32 {
    i32::try_from(timestamp / SECONDS_PER_DAY).unwrap_or(i32::MAX)
}

/// `2026-11-22` (proleptic Gregorian; algorithm of Howard Hinnant's `civil_from_days`).
pub fn date_text(days: i32) -> String {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A part's name: table, chain, date and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartName {
    /// The table.
    pub table: Table,
    /// EIP-155 id.
    pub chain_id: u64,
    /// UTC date in days since 1970-01-01.
    pub date: i32,
    /// The blocks.
    pub range: BlockRange,
}

/// The folder of a table's parts for one chain and date, below the data folder.
pub fn folder_of(table: Table, chain_id: u64, date: i32) -> String {
    format!("parts/{}/chain_id={chain_id}/date={}", table.name(), date_text(date))
}

impl PartName {
    /// `parts/blocks/chain_id=1/date=2026-11-22/blocks-000000001000-000000001999.parquet`.
    pub fn path(&self) -> String {
        let folder = folder_of(self.table, self.chain_id, self.date);
        let BlockRange { first, last } = self.range;
        format!("{folder}/{}-{first:012}-{last:012}.parquet", self.table.name())
    }

    /// The name in a path below the data folder.
    pub fn parse(path: &str) -> Option<PartName> {
        let mut names = path.strip_prefix("parts/")?.split('/');
        let table = Table::from_name(names.next()?)?;
        let chain_id = names.next()?.strip_prefix("chain_id=")?.parse().ok()?;
        let date = parse_date(names.next()?.strip_prefix("date=")?)?;
        let stem = names.next()?.strip_suffix(".parquet")?.strip_prefix(table.name())?;
        let (first, last) = stem.strip_prefix('-')?.split_once('-')?;
        let range = BlockRange::new(first.parse().ok()?, last.parse().ok()?)?;
        Some(PartName { table, chain_id, date, range })
    }
}

/// Days of `YYYY-MM-DD` (`days_from_civil`).
fn parse_date(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}
