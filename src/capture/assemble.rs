//! From a response's bytes to a block: parsed once, straight into the model, and checked.

use std::sync::Arc;

use headwater_storage::model::{B256, Block, BlockParts, BlockRef, Linked, Receipt, Verified};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::verify::{Mended, Mismatch, Prover};

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
}

/// A block with its receipts, what was proved of it, and what was put right in it.
pub(super) struct Whole {
    pub(super) block: Arc<Block>,
    pub(super) verified: Verified,
    pub(super) mended: Mended,
}

/// A block without its receipts, what was proved of it, and who gave it.
#[derive(Clone, Debug)]
pub(super) struct Body {
    block: Block,
    verified: Verified,
    provider: String,
}

impl Body {
    /// The block that was asked for, proved as far as it can be without receipts.
    pub(super) fn new(
        asked: u64,
        parts: BlockParts,
        prover: &Prover,
        provider: &str,
    ) -> Result<Box<Body>, AssembleError> {
        let got = parts.block_ref().number;
        if got != asked {
            return Err(Mismatch::Number { asked, got }.into());
        }
        let mut block = parts.join(None)?;
        let verified = prover.prove_body(&mut block, Some(provider))?;
        Ok(Box::new(Body { block, verified, provider: provider.to_owned() }))
    }

    /// Who gave it.
    pub(super) fn provider(&self) -> &str {
        &self.provider
    }

    /// Its hash.
    pub(super) fn hash(&self) -> B256 {
        self.block.header.hash
    }

    /// Whether its hash was proved: what does not fit to it is wrong, or of another block.
    pub(super) fn is_proved(&self) -> bool {
        self.verified.has(Verified::HEADER)
    }

    /// The transactions' hashes, to ask for single receipts.
    pub(super) fn transaction_hashes(&self) -> impl Iterator<Item = B256> {
        self.block.transactions.iter().map(|transaction| transaction.hash)
    }

    /// Joins the receipts, and proves them; what they do not fit to is given back.
    pub(super) fn with_receipts(
        mut self: Box<Self>,
        receipts: Vec<Linked<Receipt>>,
        prover: &Prover,
        provider: &str,
    ) -> Result<Whole, (AssembleError, Box<Body>)> {
        match self.add(receipts, prover, provider) {
            Ok((verified, mended)) => Ok(Whole { block: Arc::new(self.block), verified, mended }),
            Err(error) => {
                self.block.receipts = None;
                Err((error, self))
            }
        }
    }

    fn add(
        &mut self,
        receipts: Vec<Linked<Receipt>>,
        prover: &Prover,
        provider: &str,
    ) -> Result<(Verified, Mended), AssembleError> {
        let block = self.block.block_ref();
        let found = receipts.first().map(|receipt| receipt.links.block_hash);
        if let Some(found) = found.filter(|found| !found.is_zero() && *found != block.hash) {
            return Err(AssembleError::OtherBlock { block, found });
        }
        self.block.add_receipts(receipts)?;
        Ok(prover.prove_receipts(&mut self.block, self.verified, Some(provider))?)
    }
}
