//! Where a data folder comes from that did not begin empty.

use std::collections::BTreeMap;

use crate::model::{Branches, ChainName, Lsn};

/// How a folder came to what it holds, other than by capturing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From a backup.
    Restored,
    /// Its files were copied or moved by somebody.
    Copied,
    /// Its ledger was made again from the log and the parts.
    Repaired,
}

/// Where a data folder comes from that did not begin empty: another node may have gone on from
/// the same place, so what is exported from there on may have been exported before.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Descent {
    /// How.
    pub way: Way,
    /// From what, in words.
    pub from: String,
    /// When, seconds since 1970-01-01 UTC.
    pub at: u64,
    /// The last record of each chain that came with it.
    pub chains: BTreeMap<ChainName, Lsn>,
    /// Where each exporter stood on each chain: what it exports behind that may come to its sink
    /// a second time.
    pub exporters: Vec<(String, ChainName, Lsn)>,
    /// The descent of what it came from.
    pub before: Option<Box<Descent>>,
}

impl Descent {
    /// Where a chain's log parted from those of other nodes.
    pub fn branches(&self, chain: &ChainName) -> Branches {
        let mut branches = Vec::new();
        let mut descent = Some(self);
        while let Some(at) = descent {
            branches.extend(at.chains.get(chain).map(|lsn| (*lsn, at.at)));
            descent = at.before.as_deref();
        }
        Branches::new(branches)
    }

    /// Where an exporter stood on a chain; at its beginning where nothing was known of it.
    pub fn exported(&self, exporter: &str, chain: &ChainName) -> Lsn {
        let of = |entry: &&(String, ChainName, Lsn)| entry.0 == exporter && entry.1 == *chain;
        self.exporters.iter().find(of).map_or(Lsn::ZERO, |entry| entry.2)
    }
}

impl Way {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Restored => "restored",
            Way::Copied => "copied",
            Way::Repaired => "repaired",
        }
    }
}
