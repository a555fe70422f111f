//! What is stored is proved again: hashes, links and roots of every block, from the log and from
//! parts, which must agree.

use headwater_storage::model::{B256, Block, BlockRange, EventHead, Verified};
use headwater_storage::store::{Chain, StoreError};

use crate::capture::verify::{Depth, Prover};

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Blocks that were read.
    pub blocks: u64,
    /// Those of which more is proved than their mark says: an older version, which did not know
    /// the chain's rules, captured them.
    #[serde(default)]
    pub lifted: u64,
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
        self.lifted += other.lifted;
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
            Some(last) if last.last.checked_add(1) == Some(range.first) => last.last = range.last,
            _ => self.missing.push(range),
        }
    }
}

/// Proves the blocks of a range again, by what is known of their chain; ends before the next block
/// when nobody waits for the report any more.
pub fn audit(
    chain: &Chain,
    prover: &Prover,
    range: BlockRange,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Report, StoreError> {
    let provers = [Depth::Roots, Depth::Senders].map(|depth| prover.again(depth));
    let [roots, senders] = &provers;
    let mut report = Report::default();
    let mut parent: Option<B256> = None;
    for number in range.numbers().take_while(|_| is_wanted()) {
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
        let has_senders = head.verified.has(Verified::SENDERS);
        match prove(if has_senders { senders } else { roots }, &head, &block) {
            Ok(Proved::AsMarked) => report.proved += 1,
            Ok(Proved::More) => {
                report.proved += 1;
                report.lifted += 1;
            }
            Ok(Proved::Nothing) => report.unprovable += 1,
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

/// What came out again of a block.
enum Proved {
    /// What its mark claims.
    AsMarked,
    /// That and more.
    More,
    /// Its mark claims nothing, and nothing comes out.
    Nothing,
}

/// Whether all that its mark claims comes out again; a mark that claims nothing is no error.
fn prove(prover: &Prover, head: &EventHead, block: &Block) -> Result<Proved, String> {
    let links = Verified::PARENT.with(Verified::TRACES);
    let claims = Verified(head.verified.0 & !Verified::PARENT.0);
    let mut again = block.clone();
    match prover.prove(&mut again, None) {
        Ok((proved, _)) if !proved.has(claims) => {
            Err(format!("marked {claims}, but only {proved} comes out"))
        }
        Ok((_, mended)) if !mended.is_none() => {
            let names: Vec<&str> = mended.names().collect();
            Err(format!("what follows from its proofs is another: {}", names.join(", ")))
        }
        Ok((proved, _)) if proved.0 & !claims.0 & !links.0 != 0 => Ok(Proved::More),
        Ok(_) | Err(_) if claims == Verified::default() => Ok(Proved::Nothing),
        Ok(_) => Ok(Proved::AsMarked),
        Err(mismatch) => Err(mismatch.to_string()),
    }
}
