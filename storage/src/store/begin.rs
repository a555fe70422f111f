//! How a chain begins: nothing of it is written before its first block, so that a wrong chain id
//! or name in a configuration leaves no trace in a data folder.

use std::sync::Arc;

use crate::ledger::{ChainFacts, LedgerError};
use crate::model::{BlockRanges, ChainName, Lsn};
use crate::wal;

use super::{Chain, DataDir, StoreError};

impl DataDir {
    /// Says why the folder is not one of this chain: it holds another id under the name, or the
    /// id under another name.
    pub fn check_chain(&self, name: &ChainName, chain_id: u64) -> Result<(), StoreError> {
        facts_of(self, name, chain_id).map(drop)
    }
}

impl Chain {
    /// Writes into the ledger what the first record makes true: there is this chain.
    pub(super) fn begin(&self) -> Result<(), Arc<LedgerError>> {
        let known = self.ledger.chain(&self.name).map_err(Arc::new)?;
        if known.is_some_and(|facts| facts.chain_id == self.chain_id) {
            return Ok(());
        }
        self.ledger.set_chain(&new_facts(&self.name, self.chain_id)).map_err(Arc::new)
    }
}

/// What the folder knows of a chain; an entry without a single record does not count.
pub(super) fn facts_of(
    data_dir: &DataDir,
    name: &ChainName,
    chain_id: u64,
) -> Result<ChainFacts, StoreError> {
    let ledger = data_dir.ledger();
    match ledger.chain(name)? {
        Some(facts) if facts.chain_id == chain_id => return Ok(facts),
        Some(facts) if has_begun(data_dir, &facts)? => {
            let (chain, found) = (name.clone(), facts.chain_id);
            return Err(StoreError::ChainId { chain, found, asked: chain_id });
        }
        Some(_) | None => {}
    }
    for other in ledger.chains()?.into_iter().filter(|other| other.chain_id == chain_id) {
        if has_begun(data_dir, &other)? {
            let chain = name.clone();
            return Err(StoreError::ChainNamed { chain_id, known: other.name, chain });
        }
    }
    Ok(new_facts(name, chain_id))
}

fn new_facts(name: &ChainName, chain_id: u64) -> ChainFacts {
    ChainFacts {
        name: name.clone(),
        chain_id,
        replay_from: Lsn(1),
        sealed: Lsn::ZERO,
        anchor: None,
        forgotten: BlockRanges::default(),
        partial: BlockRanges::default(),
    }
}

/// Whether the folder has anything of a chain: older versions wrote the entry before they knew
/// that a provider serves it.
fn has_begun(data_dir: &DataDir, facts: &ChainFacts) -> Result<bool, StoreError> {
    let is_fresh = facts.sealed == Lsn::ZERO && facts.anchor.is_none();
    if !is_fresh || !data_dir.ledger().parts(&facts.name)?.is_empty() {
        return Ok(true);
    }
    let folder = data_dir.wal_folder(&facts.name);
    Ok(!wal::chain_ids(data_dir.disk().as_ref(), &folder)?.is_empty())
}
