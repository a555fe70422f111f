//! Kinds of sinks by the name that a configuration uses.

use std::sync::Arc;

use headwater_storage::model::ChainName;
use headwater_storage::tables::Table;

use crate::parts::PartExporter;
use crate::{BatchSize, ExportError, Exporter, azure_tables, hdfs, kafka, memory, scylla};

/// Why an exporter cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No such kind.
    #[error(
        "exporter `{name}`: kind `{kind}` is not known; use one of kafka, scylla, hdfs, \
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

/// A sink, by what it takes.
#[derive(Clone)]
pub enum Sink {
    /// Events of the log.
    Events(Arc<dyn Exporter>),
    /// Sealed parts, as files.
    Parts(Arc<dyn PartExporter>),
}

impl Sink {
    /// Connects, and says what is missing there and `check` would make.
    pub async fn missing(&self) -> Result<Vec<String>, ExportError> {
        match self {
            Sink::Events(sink) => sink.missing().await,
            Sink::Parts(sink) => sink.missing().await,
        }
    }

    /// Connects, makes what is missing where the configuration lets it, and proves rights.
    pub async fn check(&self) -> Result<(), ExportError> {
        match self {
            Sink::Events(sink) => sink.check().await,
            Sink::Parts(sink) => sink.check().await,
        }
    }

    /// Lets go of connections.
    pub async fn close(&self) {
        match self {
            Sink::Events(sink) => sink.close().await,
            Sink::Parts(sink) => sink.close().await,
        }
    }
}

/// The tables that a kind takes when none are named.
pub fn tables_of(kind: &str) -> Vec<Table> {
    match kind {
        "scylla" => scylla::SOURCES.to_vec(),
        "azure_tables" => azure_tables::SOURCES.to_vec(),
        _ => Table::ALL.to_vec(),
    }
}

/// How batches for a kind are cut.
pub fn batch_size_of(kind: &str) -> BatchSize {
    match kind {
        "azure_tables" => azure_tables::BATCH_SIZE,
        _ => BatchSize { records: 64, bytes: 1 << 20 },
    }
}

/// Makes an exporter of a kind from the keys of that kind.
pub fn build(
    name: &str,
    kind: &str,
    settings: toml::Table,
    scope: &Scope,
) -> Result<Sink, BuildError> {
    let sink: Arc<dyn Exporter> = match kind {
        "memory" => Arc::new(memory::Memory::open(name, parse(name, settings)?)?),
        "kafka" => Arc::new(kafka::Kafka::open(name, parse(name, settings)?, scope)?),
        "scylla" => Arc::new(scylla::Scylla::open(name, parse(name, settings)?, scope)?),
        "azure_tables" => {
            let config = parse(name, settings)?;
            Arc::new(azure_tables::AzureTables::open(name, config, scope)?)
        }
        "hdfs" => {
            let sink = hdfs::Hdfs::open(name, parse(name, settings)?)?;
            return Ok(Sink::Parts(Arc::new(sink)));
        }
        _ => return Err(BuildError::Kind { name: name.to_owned(), kind: kind.to_owned() }),
    };
    Ok(Sink::Events(sink))
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
