//! What would keep a node from starting with a configuration: its data folder holds other chains,
//! or the settings of an exporter are wrong.

use headwater_exporters::Scope;
use headwater_storage::disk::LockError;
use headwater_storage::store::{DataDir, OpenError};

use crate::capture::ChainConfig;
use crate::config::Config;
use crate::exit::chain_text;
use crate::forward::ExporterConfig;

/// The data folder, as far as it can be looked at.
pub(super) enum Folder {
    /// Nothing is there yet.
    None,
    /// It can be looked at.
    Open(DataDir),
    /// A node runs on it.
    InUse,
    /// A node could not use it.
    Unusable(String),
}

impl Folder {
    /// Looks at a configuration's folder; nothing of it changes.
    pub(super) fn of(config: &Config) -> Folder {
        if !config.data_dir.exists() {
            return Folder::None;
        }
        match DataDir::open_to_read(&config.data_dir) {
            Ok(data_dir) => Folder::Open(data_dir),
            // Empty, or without a format yet.
            Err(OpenError::Missing { .. }) => Folder::None,
            Err(OpenError::Lock(LockError::InUse { .. })) => Folder::InUse,
            Err(error) => Folder::Unusable(chain_text(&error)),
        }
    }

    /// Why it is not a folder of this chain, and the fix.
    pub(super) fn problem(&self, chain: &ChainConfig) -> Option<String> {
        match self {
            Folder::None | Folder::InUse => None,
            Folder::Open(data_dir) => {
                let checked = data_dir.check_chain(&chain.name, chain.chain_id);
                checked.err().map(|error| chain_text(&error))
            }
            Folder::Unusable(reason) => Some(reason.clone()),
        }
    }
}

/// What is wrong with an exporter's settings; connects to nothing.
pub(super) async fn exporter_problem(config: &Config, exporter: &ExporterConfig) -> Option<String> {
    match exporter.sink(exporter.settings.clone(), &scope(config, exporter), &config.secrets) {
        Ok(sink) => {
            sink.close().await;
            None
        }
        Err(error) => Some(chain_text(&error)),
    }
}

/// What an exporter of a configuration is for.
pub(super) fn scope(config: &Config, exporter: &ExporterConfig) -> Scope {
    let chains = || config.chain.iter().filter(|chain| exporter.takes(&chain.name));
    Scope {
        chains: chains().map(|chain| chain.name.clone()).collect(),
        tables: exporter.tables(chains().any(|chain| chain.traces)),
    }
}
