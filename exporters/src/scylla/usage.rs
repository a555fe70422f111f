//! What the providers' keys were used for, in the table that the operators of the replaced platform
//! ask: `api_keys_node_providers`, with its columns and types.

use std::collections::BTreeMap;

use headwater_storage::ledger::KeyUsage;
use headwater_storage::model::date_text;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use super::failure::Failure;
use super::schema::Wanted;

const TABLE: &str = "api_keys_node_providers";
const COLUMNS: [(&str, &str); 5] = [
    ("name", "text"),
    ("start", "text"),
    ("end", "text"),
    ("num_req_1d", "int"),
    ("last_req", "text"),
];
const DAY_SECS: u64 = 86_400;

/// The table.
pub(super) fn wanted(keyspace: &str) -> Wanted {
    let declared = COLUMNS.map(|(name, kind)| format!("{name} {kind}")).join(", ");
    Wanted {
        table: TABLE.to_owned(),
        columns: COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        key: 1,
        create: format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{TABLE} ({declared}, PRIMARY KEY (name))"
        ),
        touch: format!("DELETE FROM {keyspace}.{TABLE} USING TIMESTAMP 1 WHERE name = '-'"),
    }
}

/// One key over its last day.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Day {
    name: String,
    start: u64,
    requests: u64,
    last: u64,
}

/// The last day of each key: from midnight UTC, or the last 24 hours where hours are counted.
fn last_days(rows: &[KeyUsage]) -> Vec<Day> {
    let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        let start = latest.entry(&row.key).or_default();
        *start = row.start.max(*start);
    }
    let day = |(name, latest): (&str, u64)| {
        let is_recent = |row: &&KeyUsage| row.key == name && row.start + DAY_SECS > latest;
        let recent: Vec<&KeyUsage> = rows.iter().filter(is_recent).collect();
        let calls = recent.iter().flat_map(|row| row.usage.calls.values());
        Day {
            name: name.to_owned(),
            start: recent.iter().map(|row| row.start).min().unwrap_or(latest),
            requests: calls.flat_map(|outcomes| outcomes.values()).sum(),
            last: recent.iter().map(|row| row.usage.last).max().unwrap_or(0),
        }
    };
    latest.into_iter().map(day).collect()
}

/// `2026-11-22 10:00:00`, as the replaced platform wrote it.
fn time_text(secs: u64) -> String {
    let (days, second) = (secs / DAY_SECS, secs % DAY_SECS);
    let date = date_text(i32::try_from(days).unwrap_or(i32::MAX));
    format!("{date} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

pub(super) async fn prepare(
    session: &Session,
    keyspace: &str,
) -> Result<PreparedStatement, Failure> {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let insert = format!("INSERT INTO {keyspace}.{TABLE} ({names}) VALUES (?, ?, ?, ?, ?)");
    let mut insert = session.prepare(insert).await?;
    insert.set_is_idempotent(true);
    Ok(insert)
}

/// Writes the last day of each key.
pub(super) async fn write(
    session: &Session,
    insert: &PreparedStatement,
    rows: &[KeyUsage],
) -> Result<(), Failure> {
    for Day { name, start, requests, last } in last_days(rows) {
        let requests = i32::try_from(requests).unwrap_or(i32::MAX);
        let (from, to, last) = (time_text(start), time_text(start + DAY_SECS), time_text(last));
        session.execute_unpaged(insert, (name, from, to, requests, last)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_storage::ledger::Usage;

    #[test]
    fn a_key_is_counted_over_its_day_or_the_last_24_hours() {
        let row = |key: &str, start, count| {
            let outcomes = BTreeMap::from([("ok".to_owned(), count), ("error".to_owned(), 1)]);
            let calls = BTreeMap::from([("eth_chainId".to_owned(), outcomes)]);
            let usage = Usage { units: 0, calls, last: start + 59 };
            KeyUsage { key: key.to_owned(), start, usage }
        };
        let (day, hour) = (DAY_SECS * 20_000, 3_600);
        let rows = [
            row("daily", day - DAY_SECS, 100),
            row("daily", day, 5),
            row("hourly", day - DAY_SECS, 100),
            row("hourly", day - DAY_SECS + hour, 10),
            row("hourly", day, 5),
        ];
        let counted: Vec<_> =
            last_days(&rows).into_iter().map(|of| (of.name, of.start, of.requests)).collect();
        assert_eq!(
            counted,
            [("daily".to_owned(), day, 6), ("hourly".to_owned(), day - DAY_SECS + hour, 17),]
        );
        assert_eq!(time_text(day + 3_661), "2024-10-04 01:01:01");
    }
}
