//! What a chain keeps in memory so that it need not be read again, with its bounds.

use super::Chain;
use super::recent::BYTES_MAX;

/// What is kept in memory, and how much of it at most.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// What it is.
    pub what: &'static str,
    /// The chain that it is of; none for what all chains share.
    pub chain: Option<String>,
    /// Bytes now.
    pub bytes: u64,
    /// Bytes at most.
    pub bytes_max: u64,
}

impl Chain {
    /// What is kept of this chain.
    pub fn memory(&self) -> Vec<Kept> {
        let of_chain = |what, bytes, bytes_max| Kept {
            what,
            chain: Some(self.name.to_string()),
            bytes,
            bytes_max,
        };
        let mut kept = vec![of_chain("recent blocks", self.recent.bytes(), BYTES_MAX)];
        if let Some(index) = self.index() {
            let memory = index.memory();
            kept.push(of_chain("index: pages read", memory.pages, memory.pages_max));
            kept.push(of_chain("index: not written yet", memory.unwritten, memory.unwritten_max));
        }
        kept
    }
}
