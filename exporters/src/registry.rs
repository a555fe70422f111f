//! Kinds of sinks by the name that a configuration uses.

use std::sync::Arc;

use headwater_storage::model::ChainName;
use headwater_storage::tables::Table;

use crate::{Exporter, azure_tables, kafka, memory, scylla};

/// Why an exporter cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No such kind.
    #[error(
        "exporter `{name}`: kind `{kind}` is not known; use one of kafka, scylla, \
         azure_tables, memory"
    )]
    Kind {
        /// The exporter.
        name: String,
        /// The kind.
        kind: String,
    },
    /// Keys of the kind are wrong.
    #[error("exporter `{name}`: {reason}")]
    Config {
        /// The exporter.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// What an exporter will be asked for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Chains that are forwarded.
    pub chains: Vec<ChainName>,
    /// Tables that are wanted.
    pub tables: Vec<Table>,
}

/// The tables that a kind takes when none are named.
pub fn tables_of(kind: &str) -> Vec<Table> {
    match kind {
        "scylla" => scylla::SOURCES.to_vec(),
        "azure_tables" => azure_tables::SOURCES.to_vec(),
        _ => Table::ALL.to_vec(),
    }
}

/// Makes an exporter of a kind from the keys of that kind.
pub fn build(
    name: &str,
    kind: &str,
    settings: toml::Table,
    scope: &Scope,
) -> Result<Arc<dyn Exporter>, BuildError> {
    match kind {
        "memory" => Ok(Arc::new(memory::Memory::open(name, parse(name, settings)?)?)),
        "kafka" => Ok(Arc::new(kafka::Kafka::open(name, parse(name, settings)?, scope)?)),
        "scylla" => Ok(Arc::new(scylla::Scylla::open(name, parse(name, settings)?, scope)?)),
        "azure_tables" => {
            let config = parse(name, settings)?;
            Ok(Arc::new(azure_tables::AzureTables::open(name, config, scope)?))
        }
        _ => Err(BuildError::Kind { name: name.to_owned(), kind: kind.to_owned() }),
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    name: &str,
    settings: toml::Table,
) -> Result<T, BuildError> {
    settings.try_into().map_err(|error: toml::de::Error| {
        let reason = error.message().to_owned();
        BuildError::Config { name: name.to_owned(), reason }
    })
}
