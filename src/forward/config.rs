//! `[[exporter]]`: what goes where.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_exporters::encode::Filter;
use headwater_exporters::{BuildError, Scope, Sink, build, tables_of};
use headwater_storage::model::{Address, B256, ChainName, Lane};
use headwater_storage::tables::Table;

use crate::secrets::{Secrets, names_vault};

use super::renewed::Renewed;

/// `[[exporter]]`: the common keys; the others are the kind's.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct ExporterConfig {
    /// Name in cursors, metrics and the API.
    pub name: String,
    /// `kafka`, `scylla`, `hdfs`, `azure_tables` or `memory`.
    pub kind: String,
    /// Chains; all by default.
    pub chains: Option<Vec<ChainName>>,
    /// Tables; by default all that the kind has a place for.
    pub tables: Option<Vec<Table>>,
    /// Lanes; both by default.
    pub lanes: Option<Vec<Lane>>,
    /// Where a new exporter starts.
    #[serde(default)]
    pub start: Begin,
    /// Only what can no longer be taken back: no block that a reorg took, and none twice.
    #[serde(default)]
    pub finalized: bool,
    /// Contracts whose logs and transactions go; all by default.
    #[serde(default)]
    pub addresses: BTreeSet<Address>,
    /// First topics of the logs that go; all by default.
    #[serde(default)]
    pub topics: BTreeSet<B256>,
    /// Parts that it has not passed are kept whatever the rules say.
    #[serde(default)]
    pub required: bool,
    /// Keys of the kind.
    #[serde(flatten)]
    pub settings: toml::Table,
}

/// Where a new exporter starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum Begin {
    /// With the first record of the log.
    #[default]
    Earliest,
    /// With what comes after the exporter's first start.
    Latest,
    /// With this block: events of lower ones never go.
    Block(u64),
}

impl TryFrom<toml::Value> for Begin {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Begin, String> {
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        match (value.as_str(), number) {
            (Some("earliest"), _) => Ok(Begin::Earliest),
            (Some("latest"), _) => Ok(Begin::Latest),
            (_, Some(number)) => Ok(Begin::Block(number)),
            (_, None) => Err(format!("start = {value}: write \"earliest\", \"latest\" or a block")),
        }
    }
}

impl Begin {
    /// The lowest block whose events go.
    pub fn first_block(self) -> u64 {
        match self {
            Begin::Block(number) => number,
            Begin::Earliest | Begin::Latest => 0,
        }
    }
}

impl ExporterConfig {
    /// The tables that are wanted; traces, which few chains have, only when they are named or
    /// there are some.
    pub fn tables(&self, has_traces: bool) -> Vec<Table> {
        let all = || {
            let tables = tables_of(&self.kind).into_iter();
            tables.filter(|table| *table != Table::Traces || has_traces).collect()
        };
        self.tables.clone().unwrap_or_else(all)
    }

    /// The lanes that are wanted.
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.clone().unwrap_or_else(|| vec![Lane::Live, Lane::Backfill])
    }

    /// The contracts and topics that are wanted.
    pub fn filter(&self) -> Filter {
        Filter { addresses: self.addresses.clone(), topics: self.topics.clone() }
    }

    /// Its sink; one whose keys are secrets of a vault is made when they can be had.
    pub fn sink(
        &self,
        settings: toml::Table,
        scope: &Scope,
        secrets: &Secrets,
    ) -> Result<Sink, BuildError> {
        let (name, kind) = (&self.name, &self.kind);
        if settings.values().any(names_vault) && kind != "hdfs" {
            let of = (name.as_str(), kind.as_str());
            let renewed = Renewed::new(of, settings, scope.clone(), secrets.clone());
            return Ok(Sink::Events(Arc::new(renewed)));
        }
        let sink = build(name, kind, settings, scope)?;
        let is_cut = self.lanes.is_some() || self.finalized;
        let is_cut = is_cut || !self.addresses.is_empty() || !self.topics.is_empty();
        if is_cut && matches!(sink, Sink::Parts(_)) {
            return Err(BuildError::Config {
                name: name.clone(),
                reason: format!(
                    "kind `{kind}` takes whole parts of final blocks: remove `lanes`, `addresses`, \
                     `topics` and `finalized`"
                ),
            });
        }
        Ok(sink)
    }

    /// Whether a chain is wanted.
    pub fn takes(&self, chain: &ChainName) -> bool {
        self.chains.as_ref().is_none_or(|chains| chains.contains(chain))
    }
}
