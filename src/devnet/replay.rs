//! Recorded real blocks as a valid chain of any length: numbers and parents are rewritten, hashes
//! are computed anew; transactions, receipts and their roots stay as they were.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use headwater_storage::model::{Block, BlockParts, Linked, Receipt};

use crate::capture::verify::{Depth, Prover, header_hash};

use super::journal::Recipe;
use super::node::Built;

/// Recorded blocks to repeat.
#[derive(Debug)]
pub struct Recorded {
    blocks: Vec<Block>,
}

/// Why a folder cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder cannot be read.
    #[error("the folder of recorded blocks {} cannot be read", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// No block with receipts that verifies.
    #[error(
        "{} holds no recorded block that verifies: each needs a folder with block.json.gz and \
         receipts.json.gz", path.display()
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

impl Recorded {
    /// Loads the blocks of a folder that have receipts and verify, in order of number.
    pub fn load(folder: &Path) -> Result<Recorded, ReplayError> {
        let failed = |source| ReplayError::Read { path: folder.to_owned(), source };
        let mut blocks = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let block = unpack(&path.join("block.json.gz"));
            let receipts = unpack(&path.join("receipts.json.gz"));
            blocks
                .extend(block.zip(receipts).and_then(|(block, receipts)| parse(&block, &receipts)));
        }
        blocks.retain(is_movable);
        blocks.sort_by_key(|block| (block.header.number, block.header.hash));
        if blocks.is_empty() {
            return Err(ReplayError::Empty { path: folder.to_owned() });
        }
        Ok(Recorded { blocks })
    }

    /// The recorded blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The block of a place in the chain.
    pub fn relink(&self, recipe: &Recipe) -> Option<Block> {
        let at = recipe.number.wrapping_add(recipe.salt) % self.blocks.len() as u64;
        moved(self.blocks.get(usize::try_from(at).ok()?)?, recipe)
    }

    pub(super) fn build(&self, recipe: &Recipe) -> Option<Built> {
        let block = self.relink(recipe)?;
        let mut head: serde_json::Value = serde_json::from_str(&block.to_json()).ok()?;
        let transactions = head.as_object_mut()?.remove("transactions")?;
        let receipts = serde_json::from_str(&block.receipts_to_json()?).ok()?;
        Some(Built::new(head, serde_json::from_value(transactions).ok()?, receipts))
    }
}

/// The block at another place.
fn moved(block: &Block, recipe: &Recipe) -> Option<Block> {
    let mut block = block.clone();
    block.header.number = recipe.number;
    block.header.parent_hash = recipe.parent_hash;
    block.header.timestamp = recipe.timestamp;
    block.header.hash = header_hash(&block.header)?;
    Some(block)
}

/// Whether nothing in the block ties it to its old place: some old answers repeat the number in a
/// form of their own, which is kept as it was.
fn is_movable(block: &Block) -> bool {
    let recipe = Recipe {
        number: block.header.number + 1,
        parent_hash: block.header.hash,
        timestamp: block.header.timestamp + 1,
        salt: 0,
        hash: block.header.hash,
    };
    let again =
        moved(block, &recipe).and_then(|moved| parse(&moved.to_json(), &moved.receipts_to_json()?));
    again.is_some()
}

fn unpack(path: &Path) -> Option<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    Some(text)
}

fn parse(block: &str, receipts: &str) -> Option<Block> {
    let parts: BlockParts = serde_json::from_str(block).ok()?;
    let receipts: Vec<Linked<Receipt>> = serde_json::from_str(receipts).ok()?;
    let mut block = parts.join(Some(receipts)).ok()?;
    // Of no chain in particular: what comes out by the usual rules.
    let (verified, _) = Prover::new(0, Depth::Roots).prove(&mut block, None).ok()?;
    verified.has(headwater_storage::model::Verified::RECEIPTS).then_some(block)
}
