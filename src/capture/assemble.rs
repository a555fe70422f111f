//! From a response's bytes to a block: parsed once, straight into the model, and checked.

use std::sync::Arc;

use headwater_storage::model::{B256, Block, BlockParts, BlockRef, Linked, Receipt, Verified};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::verify::{Depth, Mismatch, verify};

/// Topics of a log at most (`LOG4`).
const TOPICS_MAX: usize = 4;

/// Either half of a block: an object is the block, a list is its receipts.
#[derive(Debug)]
pub enum Piece {
    /// `eth_getBlockByNumber`.
    Block(Box<BlockParts>),
    /// `eth_getBlockReceipts`.
    Receipts(Vec<Linked<Receipt>>),
}

impl<'de> serde::Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Piece, D::Error> {
        from.deserialize_any(PieceVisitor)
    }
}

struct PieceVisitor;

impl<'de> Visitor<'de> for PieceVisitor {
    type Value = Piece;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a block or a list of receipts")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Piece, A::Error> {
        BlockParts::read_map(map).map(|parts| Piece::Block(Box::new(parts)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Piece, A::Error> {
        let mut receipts = Vec::with_capacity(list.size_hint().unwrap_or(256));
        while let Some(receipt) = list.next_element()? {
            receipts.push(receipt);
        }
        Ok(Piece::Receipts(receipts))
    }
}

/// Why two answers are no good block.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssembleError {
    /// The pieces do not fit together.
    #[error(transparent)]
    Link(#[from] headwater_storage::model::LinkError),
    /// The receipts are another block's: the chain moved between the two calls.
    #[error("the receipts are of block {found}, not of {block}")]
    OtherBlock {
        /// The block.
        block: BlockRef,
        /// What the receipts name.
        found: B256,
    },
    /// A hash or root does not come out.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// No EVM can emit that.
    #[error("block {number}: a log has {topics} topics")]
    Topics {
        /// The block.
        number: u64,
        /// How many.
        topics: usize,
    },
}

/// Joins the pieces of the block that was asked for, and proves it.
pub(super) fn assemble(
    asked: u64,
    parts: BlockParts,
    receipts: Vec<Linked<Receipt>>,
    depth: Depth,
) -> Result<(Arc<Block>, Verified), AssembleError> {
    let got = parts.block_ref().number;
    if got != asked {
        return Err(Mismatch::Number { asked, got }.into());
    }
    let block = parts.block_ref();
    let found = receipts.first().map(|receipt| receipt.links.block_hash);
    if let Some(found) = found.filter(|found| !found.is_zero() && *found != block.hash) {
        return Err(AssembleError::OtherBlock { block, found });
    }
    let block = parts.join(Some(receipts))?;
    if let Some((_, log)) = block.logs().find(|(_, log)| log.topics.len() > TOPICS_MAX) {
        return Err(AssembleError::Topics { number: got, topics: log.topics.len() });
    }
    let verified = verify(&block, depth)?;
    Ok((Arc::new(block), verified))
}
