//! What is stored is proved again: hashes, links and roots of every block, from the log and from
//! parts, which must agree.

use headwater_storage::model::{B256, Block, BlockRange, EventHead, Verified};
use headwater_storage::store::{Chain, StoreError};

use crate::capture::verify::{Depth, verify};

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Blocks that were read.
    pub blocks: u64,
    /// Those of which all proofs of their mark came out again.
    pub proved: u64,
    /// Those whose mark claims no proofs that could be made again.
    pub unprovable: u64,
    /// Those that were read from the log and from parts, and are the same.
    pub compared: u64,
    /// Numbers that are not there.
    pub missing: Vec<BlockRange>,
    /// What is wrong, block by block.
    pub wrong: Vec<Wrong>,
}

/// A block that is not what it was proved to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wrong {
    /// Its number.
    pub number: u64,
    /// What differs.
    pub what: String,
}

impl Report {
    /// Whether everything is there and right.
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.wrong.is_empty()
    }

    /// Takes another report in, of later blocks.
    pub fn add(&mut self, other: Report) {
        self.blocks += other.blocks;
        self.proved += other.proved;
        self.unprovable += other.unprovable;
        self.compared += other.compared;
        for range in other.missing {
            self.miss(range);
        }
        self.wrong.extend(other.wrong);
    }

    fn miss(&mut self, range: BlockRange) {
        match self.missing.last_mut() {
            Some(last) if last.last + 1 == range.first => last.last = range.last,
            _ => self.missing.push(range),
        }
    }
}

/// Proves the blocks of a range again.
pub fn audit(chain: &Chain, range: BlockRange) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut parent: Option<B256> = None;
    for number in range.numbers() {
        let event = chain.block_by_number(number)?;
        let Some((head, block)) = event.and_then(|event| Some((event.head, event.block?))) else {
            report.miss(BlockRange { first: number, last: number });
            parent = None;
            continue;
        };
        report.blocks += 1;
        let mut wrong = |what: String| report.wrong.push(Wrong { number, what });
        if block.block_ref() != head.block {
            wrong(format!("it is block {}, logged as {}", block.block_ref(), head.block));
        }
        if parent.is_some_and(|parent| parent != block.header.parent_hash) {
            wrong("its parent is not the block before it".to_owned());
        }
        parent = Some(block.header.hash);
        match prove(&head, &block) {
            Ok(true) => report.proved += 1,
            Ok(false) => report.unprovable += 1,
            Err(what) => wrong(what),
        }
        if chain.log().has_payload(head.lsn).unwrap_or(false)
            && let Some(part) = chain.block_in_parts(&head)?
        {
            report.compared += 1;
            if part != block {
                report.wrong.push(Wrong { number, what: "log and part differ".to_owned() });
            }
        }
    }
    Ok(report)
}

/// Whether all that its mark claims comes out again; a mark that claims nothing is no error.
fn prove(head: &EventHead, block: &Block) -> Result<bool, String> {
    let links = Verified::PARENT;
    let claims = Verified(head.verified.0 & !links.0);
    let depth = if claims.has(Verified::SENDERS) { Depth::Senders } else { Depth::Roots };
    match verify(block, depth) {
        Ok(proved) if proved.has(claims) => Ok(claims != Verified::default()),
        Ok(proved) => Err(format!("marked {claims}, but only {proved} comes out")),
        Err(_) if claims == Verified::default() => Ok(false),
        Err(mismatch) => Err(mismatch.to_string()),
    }
}
