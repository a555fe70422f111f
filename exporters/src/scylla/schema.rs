//! What must be there, and what is: keyspace, tables, columns, types.

use std::collections::BTreeMap;

use scylla::client::session::Session;

use crate::ExportError;

use super::client::nodes;
use super::config::ScyllaConfig;
use super::cursors;
use super::failure::Failure;
use super::layout::Layout;

/// Replicas of a keyspace that is made, where the datacenter has as many nodes.
const REPLICAS: u32 = 3;

static CHANGING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A keyspace and what must be in it.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) keyspace: String,
    pub(super) tables: Vec<Wanted>,
}

/// A table that must be there.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) table: String,
    /// The columns, those of the key first.
    pub(super) columns: Vec<(String, &'static str)>,
    /// How many of them are the key.
    pub(super) key: usize,
    pub(super) create: String,
    /// A statement that needs the right to write and changes nothing.
    pub(super) touch: String,
}

/// Columns of a keyspace by table and name: type, and place in the key.
pub(super) type Found = BTreeMap<String, BTreeMap<String, (String, Option<usize>)>>;

/// The tables that must be there.
pub(super) fn wanted(keyspace: &str, layouts: &[Layout]) -> Vec<Wanted> {
    let of_layout = |layout: &Layout| Wanted {
        table: layout.target.name.to_owned(),
        columns: layout
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.kind.as_str()))
            .collect(),
        key: layout.key_columns(),
        create: layout.create(keyspace),
        touch: layout.touch(keyspace),
    };
    layouts.iter().map(of_layout).chain([cursors::wanted(keyspace)]).collect()
}

/// The statements that make what is missing; or what is there and cannot be used.
pub(super) fn plan(
    keyspace: &str,
    found: &Found,
    wanted: &[Wanted],
) -> Result<Vec<String>, String> {
    let mut statements = Vec::new();
    for Wanted { table, columns, key, create, .. } in wanted {
        let Some(there) = found.get(table) else {
            statements.push(create.clone());
            continue;
        };
        for (at, (name, kind)) in columns.iter().enumerate() {
            let place = (at < *key).then_some(at);
            match there.get(name) {
                None if place.is_some() => {
                    return Err(format!("{keyspace}.{table} has no key column {name}"));
                }
                None => {
                    statements.push(format!("ALTER TABLE {keyspace}.{table} ADD {name} {kind}"));
                }
                Some((type_there, _)) if type_there != kind => {
                    return Err(format!("{keyspace}.{table}.{name} is {type_there}, not {kind}"));
                }
                Some((_, place_there)) if *place_there != place => {
                    return Err(format!("{keyspace}.{table}.{name} has another place in the key"));
                }
                Some(_) => {}
            }
        }
        let keys_there = there.values().filter(|(_, place)| place.is_some()).count();
        if keys_there != *key {
            return Err(format!(
                "the key of {keyspace}.{table} has {keys_there} columns, not {key}"
            ));
        }
    }
    Ok(statements)
}

/// What is in a keyspace; `None` when it is not there.
async fn look(session: &Session, keyspace: &str) -> Result<Option<Found>, Failure> {
    let asked = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = session.query_unpaged(asked, (keyspace,)).await?;
    if rows.into_rows_result().map_or(0, |rows| rows.rows_num()) == 0 {
        return Ok(None);
    }
    let asked = "SELECT table_name, column_name, type, kind, position FROM system_schema.columns \
                 WHERE keyspace_name = ?";
    let rows = session.query_unpaged(asked, (keyspace,)).await?;
    let unread = |error: &dyn std::fmt::Display| Failure::Away(format!("system_schema: {error}"));
    let rows = rows.into_rows_result().map_err(|error| unread(&error))?;
    let rows = rows
        .rows::<(String, String, String, String, i32)>()
        .map_err(|error| unread(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unread(&error))?;
    let mut partition: BTreeMap<String, usize> = BTreeMap::new();
    for (table, _, _, kind, _) in &rows {
        *partition.entry(table.clone()).or_default() += usize::from(kind == "partition_key");
    }
    let mut found = Found::new();
    for (table, column, kind, role, position) in rows {
        let position = usize::try_from(position).unwrap_or(0);
        let place = match role.as_str() {
            "partition_key" => Some(position),
            "clustering" => Some(partition.get(&table).copied().unwrap_or(0) + position),
            _ => None,
        };
        found.entry(table).or_default().insert(column, (kind, place));
    }
    Ok(Some(found))
}

/// The statements that make what is missing.
pub(super) async fn missing(
    session: &Session,
    config: &ScyllaConfig,
    spaces: &[Space],
) -> Result<Vec<String>, ExportError> {
    let mut statements = Vec::new();
    for Space { keyspace, tables } in spaces {
        let sink = config.sink();
        let found = look(session, keyspace).await.map_err(|failure| failure.into_error(&sink))?;
        if found.is_none() {
            statements.push(create_keyspace(session, config, keyspace));
        }
        let planned = plan(keyspace, &found.unwrap_or_default(), tables).map_err(|what| {
            ExportError::Missing {
                sink,
                what: format!("tables of the right shape ({what})"),
                fix: "drop that table, or give this exporter another keyspace".to_owned(),
            }
        })?;
        statements.extend(planned);
    }
    Ok(statements)
}

/// Makes what is missing where that is allowed, and proves that every table can be written; gives
/// the statements that it took.
pub(super) async fn ensure(
    session: &Session,
    config: &ScyllaConfig,
    spaces: &[Space],
) -> Result<Vec<String>, ExportError> {
    let sink = config.sink();
    // Servers may not agree when a table is made twice at once, for two chains of one process.
    let _only_one = CHANGING.lock().await;
    let statements = missing(session, config, spaces).await?;
    if let (Some(first), false) = (statements.first(), config.create_schema) {
        return Err(ExportError::Missing {
            sink,
            what: format!("what {} statements would make, the first: {first}", statements.len()),
            fix: "run what `headwater exporters check` prints, or set `create_schema = true`"
                .to_owned(),
        });
    }
    for statement in &statements {
        let made = session.query_unpaged(statement.as_str(), ()).await;
        made.map_err(|error| Failure::from(error).into_error(&sink))?;
        tracing::info!(statement, "changed the schema");
    }
    for table in spaces.iter().flat_map(|space| &space.tables) {
        let touched = session.query_unpaged(table.touch.as_str(), ()).await;
        touched.map_err(|error| Failure::from(error).into_error(&sink))?;
    }
    Ok(statements)
}

fn create_keyspace(session: &Session, config: &ScyllaConfig, keyspace: &str) -> String {
    let ScyllaConfig { datacenter, replication, .. } = config;
    let nodes = u32::try_from(nodes(session, datacenter)).unwrap_or(REPLICAS);
    let mut replication = replication.clone();
    replication.entry(datacenter.clone()).or_insert(nodes.min(REPLICAS));
    let each: Vec<String> =
        replication.iter().map(|(name, count)| format!("'{name}': {count}")).collect();
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', {}}}",
        each.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::layout::layouts;
    use super::*;
    use headwater_storage::tables::Table;

    fn found(wanted: &[Wanted]) -> Found {
        let of = |one: &Wanted| {
            let columns = one.columns.iter().enumerate().map(|(at, (name, kind))| {
                (name.clone(), ((*kind).to_owned(), (at < one.key).then_some(at)))
            });
            (one.table.clone(), columns.collect())
        };
        wanted.iter().map(of).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_wrong_is_named() {
        let wanted = wanted("hw", &layouts(&Table::ALL));
        assert_eq!(plan("hw", &Found::new(), &wanted).unwrap().len(), wanted.len());
        let whole = found(&wanted);
        assert_eq!(plan("hw", &whole, &wanted), Ok(Vec::new()));

        let mut older = whole.clone();
        older.get_mut("blocks_by_number").unwrap().remove("extra");
        let add = "ALTER TABLE hw.blocks_by_number ADD extra text".to_owned();
        assert_eq!(plan("hw", &older, &wanted), Ok(vec![add]));

        // As the version before Amsterdam made it.
        let mut older = whole.clone();
        for name in ["block_access_list_hash", "slot_number", "in_root"] {
            for columns in older.values_mut() {
                columns.remove(name);
            }
        }
        let adds = [
            "ALTER TABLE hw.blocks_by_number ADD block_access_list_hash blob",
            "ALTER TABLE hw.blocks_by_number ADD slot_number bigint",
            "ALTER TABLE hw.block_by_hash ADD block_access_list_hash blob",
            "ALTER TABLE hw.block_by_hash ADD slot_number bigint",
            "ALTER TABLE hw.transaction_by_hash ADD in_root boolean",
            "ALTER TABLE hw.transactions_by_address ADD in_root boolean",
            "ALTER TABLE hw.logs_by_address ADD in_root boolean",
        ];
        assert_eq!(plan("hw", &older, &wanted), Ok(adds.map(str::to_owned).to_vec()));

        let mut other = whole.clone();
        other.get_mut("canonical").unwrap().get_mut("lsn").unwrap().0 = "text".to_owned();
        let wrong = "hw.canonical.lsn is text, not bigint".to_owned();
        assert_eq!(plan("hw", &other, &wanted), Err(wrong));

        let mut other = whole.clone();
        other.get_mut("canonical").unwrap().get_mut("bucket").unwrap().1 = None;
        assert!(plan("hw", &other, &wanted).unwrap_err().contains("another place in the key"));

        let mut other = whole;
        let more = ("text".to_owned(), Some(3));
        other.get_mut("canonical").unwrap().insert("shard".to_owned(), more);
        assert!(plan("hw", &other, &wanted).unwrap_err().contains("has 4 columns, not 3"));
    }
}
