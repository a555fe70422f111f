//! Which proofs a chain allows, as far as that was found out and not known beforehand.

use std::collections::BTreeSet;

use crate::model::{BlockRef, ChainName};

use super::{Ledger, LedgerError};

/// Which proofs a chain allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainProofs {
    /// What came out at least once: from then on it must.
    pub made: BTreeSet<String>,
    /// What did not come out when it was seen first: it is kept, and marked as not proved.
    pub missing: Vec<MissingProof>,
}

/// A proof that does not come out under the rules that this program knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MissingProof {
    /// Which: `header`, `transactions of type 0x64`, `header field newRoot` ...
    pub what: String,
    /// What did not come out.
    pub reason: String,
    /// The block that showed it.
    pub block: BlockRef,
    /// Who gave that block.
    pub providers: Vec<String>,
    /// When, seconds since 1970-01-01 UTC.
    pub found_at: u64,
}

impl Ledger {
    /// Which proofs a chain allows, as far as that was found out.
    pub fn proofs(&self, chain: &ChainName) -> Result<ChainProofs, LedgerError> {
        Ok(self.instance(&key(chain))?.unwrap_or_default())
    }

    /// Keeps which proofs a chain allows.
    pub fn set_proofs(&self, chain: &ChainName, proofs: &ChainProofs) -> Result<(), LedgerError> {
        self.set_instance(&key(chain), proofs)
    }
}

fn key(chain: &ChainName) -> String {
    format!("proofs {chain}")
}
