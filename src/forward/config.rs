//! `[[exporter]]`: what goes where.

use headwater_storage::model::{ChainName, Lane};
use headwater_storage::tables::Table;

/// `[[exporter]]`: the common keys; the others are the kind's.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct ExporterConfig {
    /// Name in cursors, metrics and the API.
    pub name: String,
    /// `kafka` or `memory`.
    pub kind: String,
    /// Chains; all by default.
    pub chains: Option<Vec<ChainName>>,
    /// Tables; all by default.
    pub tables: Option<Vec<Table>>,
    /// Lanes; both by default.
    pub lanes: Option<Vec<Lane>>,
    /// Parts that it has not passed are kept whatever the rules say.
    #[serde(default)]
    pub required: bool,
    /// Keys of the kind.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl ExporterConfig {
    /// The tables that are wanted.
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone().unwrap_or_else(|| Table::ALL.to_vec())
    }

    /// The lanes that are wanted.
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.clone().unwrap_or_else(|| vec![Lane::Live, Lane::Backfill])
    }

    /// Whether a chain is wanted.
    pub fn takes(&self, chain: &ChainName) -> bool {
        self.chains.as_ref().is_none_or(|chains| chains.contains(chain))
    }
}
