//! How a table of ours becomes one of the sink: columns, statements.

use arrow::datatypes::{DataType, Field, TimeUnit};
use headwater_storage::tables::{TYPE_KEY, TYPE_UINT256, Table};

use crate::encode::sink_schema;

use super::tables::{Others, TARGETS, Target};

/// A type of CQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bigint,
    Blob,
    Blobs,
    Boolean,
    Date,
    /// What has no simple type: JSON.
    Json,
    Text,
    Timestamp,
    Varint,
}

/// A column at the sink.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) from: From,
}

/// Where a column's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A column of the source, by its place.
    Column(usize),
    /// Where the row has none: an empty value, as a key must have one.
    ColumnOrEmpty(usize),
    /// The number of the bucket that a block's number, at this place, is in.
    Bucket(usize),
    /// The UTC date of the time at this place.
    Date(usize),
    /// One of the target's addresses.
    Address,
}

/// A table at the sink with its columns: partition, clustering, others.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) target: &'static Target,
    pub(super) columns: Vec<Column>,
    /// Places of the source's columns that are addresses.
    pub(super) addresses: Vec<usize>,
}

/// The tables that are filled from those that are wanted; `canonical` decides, so it always is.
pub(super) fn layouts(tables: &[Table]) -> Vec<Layout> {
    let is_wanted = |source| source == Table::ChainEvents || tables.contains(&source);
    let wanted = TARGETS.iter().filter(|target| is_wanted(target.source));
    wanted.map(Layout::new).collect()
}

impl Layout {
    fn new(target: &'static Target) -> Layout {
        let schema = sink_schema(target.source);
        let clustering = target.clustering.iter().map(|(name, _)| *name);
        let key: Vec<&str> = target.partition.iter().copied().chain(clustering).collect();
        let mut columns: Vec<Column> = key.iter().map(|name| column(target, name, true)).collect();
        let all = schema.fields().iter().map(|field| field.name().as_str());
        let others: Vec<&str> = match target.others {
            Others::Some(names) => names.to_vec(),
            // The operation is what `canonical` is for.
            Others::All => all.filter(|name| *name != "op").collect(),
        };
        let others = others.into_iter().filter(|name| !key.contains(name));
        columns.extend(others.map(|name| column(target, name, false)));
        let place = |name: &&str| schema.index_of(name).ok();
        let addresses = target.addresses.iter().filter_map(place).collect();
        Layout { target, columns, addresses }
    }

    /// The statement that makes it.
    pub(super) fn create(&self, keyspace: &str) -> String {
        let Target { name, partition, clustering, .. } = self.target;
        let columns: Vec<String> = self.columns.iter().map(Column::declared).collect();
        let partition = partition.join(", ");
        let partition = format!("({partition})");
        let keys: Vec<&str> = clustering.iter().map(|(name, _)| *name).collect();
        let keys = [vec![partition.as_str()], keys].concat().join(", ");
        let order: Vec<String> = clustering
            .iter()
            .map(|(name, is_newest_first)| {
                format!("{name} {}", if *is_newest_first { "DESC" } else { "ASC" })
            })
            .collect();
        let order = match order.as_slice() {
            [] => String::new(),
            order => format!(" WITH CLUSTERING ORDER BY ({})", order.join(", ")),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({}, PRIMARY KEY ({keys})){order}",
            columns.join(", ")
        )
    }

    /// The statement that writes a row; its last values are timestamp and seconds to live.
    pub(super) fn insert(&self, keyspace: &str) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let marks = vec!["?"; names.len()].join(", ");
        format!(
            "INSERT INTO {keyspace}.{} ({}) VALUES ({marks}) USING TIMESTAMP ? AND TTL ?",
            self.target.name,
            names.join(", ")
        )
    }

    /// A statement that needs the right to write and changes nothing: what it deletes is not there,
    /// and older than anything.
    pub(super) fn touch(&self, keyspace: &str) -> String {
        let key = self.columns.iter().take(self.key_columns());
        let equal: Vec<String> =
            key.map(|column| format!("{} = {}", column.name, column.kind.nobody())).collect();
        let name = self.target.name;
        format!("DELETE FROM {keyspace}.{name} USING TIMESTAMP 1 WHERE {}", equal.join(" AND "))
    }

    /// How many of the columns are the key.
    pub(super) fn key_columns(&self) -> usize {
        self.target.partition.len() + self.target.clustering.len()
    }
}

impl Column {
    pub(super) fn declared(&self) -> String {
        format!("{} {}", self.name, self.kind.as_str())
    }
}

impl Kind {
    /// Its name in CQL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Bigint => "bigint",
            Kind::Blob => "blob",
            Kind::Blobs => "frozen<list<blob>>",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::Json | Kind::Text => "text",
            Kind::Timestamp => "timestamp",
            Kind::Varint => "varint",
        }
    }

    /// A literal that is nobody's key.
    fn nobody(self) -> &'static str {
        match self {
            Kind::Bigint | Kind::Varint => "-1",
            Kind::Blob => "0x00",
            Kind::Blobs => "[]",
            Kind::Boolean => "false",
            Kind::Date => "'1970-01-01'",
            Kind::Json | Kind::Text => "'-'",
            Kind::Timestamp => "0",
        }
    }
}

fn column(target: &Target, name: &str, is_key: bool) -> Column {
    let schema = sink_schema(target.source);
    let place = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
    let field = schema.field_with_name(name).ok();
    let (kind, from) = match (name, field) {
        ("bucket", _) => (Kind::Bigint, From::Bucket(place("block_number"))),
        ("date", _) => (Kind::Date, From::Date(place("block_timestamp"))),
        ("address", _) if is_key => (Kind::Blob, From::Address),
        (_, Some(field)) if is_key && field.is_nullable() => {
            (kind(field), From::ColumnOrEmpty(place(name)))
        }
        (_, Some(field)) => (kind(field), From::Column(place(name))),
        // No target names a column that is not there: a test looks.
        (_, None) => (Kind::Text, From::Column(usize::MAX)),
    };
    Column { name: name.to_owned(), kind, from }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what has no type of its own is JSON")]
fn kind(field: &Field) -> Kind {
    let is_number = field.metadata().get(TYPE_KEY).is_some_and(|kind| kind == TYPE_UINT256);
    match field.data_type() {
        DataType::Int64 => Kind::Bigint,
        DataType::Boolean => Kind::Boolean,
        DataType::Utf8 => Kind::Text,
        DataType::FixedSizeBinary(_) if is_number => Kind::Varint,
        DataType::Binary | DataType::FixedSizeBinary(_) => Kind::Blob,
        DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Timestamp,
        DataType::List(item) if matches!(item.data_type(), DataType::FixedSizeBinary(_)) => {
            Kind::Blobs
        }
        _ => Kind::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_place_and_statements_read_well() {
        let layouts = layouts(&Table::ALL);
        assert_eq!(layouts.len(), TARGETS.len());
        for layout in &layouts {
            let source = sink_schema(layout.target.source);
            for column in &layout.columns {
                let place = match column.from {
                    From::Column(at)
                    | From::ColumnOrEmpty(at)
                    | From::Bucket(at)
                    | From::Date(at) => at,
                    From::Address => 0,
                };
                assert!(place < source.fields().len(), "{}", column.name);
            }
            assert_eq!(layout.addresses.len(), layout.target.addresses.len());
        }
        let of = |name: &str| layouts.iter().find(|layout| layout.target.name == name).unwrap();
        assert_eq!(
            of("canonical").create("hw"),
            "CREATE TABLE IF NOT EXISTS hw.canonical (chain_id bigint, bucket bigint, \
             block_number bigint, block_hash blob, op text, parent_hash blob, \
             block_timestamp timestamp, lsn bigint, PRIMARY KEY ((chain_id, bucket), \
             block_number)) WITH CLUSTERING ORDER BY (block_number DESC)"
        );
        assert_eq!(
            of("transaction_dates_by_address").insert("hw"),
            "INSERT INTO hw.transaction_dates_by_address (chain_id, address, date) \
             VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?"
        );
        assert_eq!(
            of("transaction_dates_by_address").touch("hw"),
            "DELETE FROM hw.transaction_dates_by_address USING TIMESTAMP 1 \
             WHERE chain_id = -1 AND address = 0x00 AND date = '1970-01-01'"
        );
    }

    #[test]
    fn tables_that_are_not_wanted_are_not_filled_but_what_decides_is() {
        let names: Vec<&str> =
            layouts(&[Table::Withdrawals]).iter().map(|layout| layout.target.name).collect();
        assert_eq!(names, ["canonical", "finalized", "withdrawals_by_address"]);
    }
}
