//! Which roots of a block hold, as one key gave it.

use std::collections::BTreeMap;

use headwater_storage::model::{Block, BlockParts, Linked, Receipt, Verified};
use serde_json::value::RawValue;

use crate::capture::verify::{Depth, Mismatch, Prover, header_hash};

use super::plain;

/// How one proof of a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// It holds.
    Holds,
    /// It cannot be made under the rules that are known.
    NotProved,
    /// It fails: capture refuses the block.
    Wrong,
    /// A proof before it failed.
    NotReached,
    /// The block has nothing of the kind.
    Nothing,
    /// The key did not give it.
    NotThere,
}

/// Proofs by name, in the order in which they are made.
pub type Roots = BTreeMap<&'static str, Root>;

/// What is proved of a block, by name.
pub const PROOFS: [(&str, Verified); 5] = [
    ("header", Verified::HEADER),
    ("transactions", Verified::TRANSACTIONS),
    ("withdrawals", Verified::WITHDRAWALS),
    ("senders", Verified::SENDERS),
    ("receipts", Verified::RECEIPTS),
];

/// A block without receipts, and how its proofs ended.
#[derive(Clone, Debug)]
pub(super) struct ProvedBody {
    pub(super) block: Block,
    pub(super) roots: Roots,
    pub(super) refused: Option<String>,
    verified: Verified,
}

/// How the proof of its receipts ended.
#[derive(Debug)]
pub(super) struct ProvedReceipts {
    pub(super) root: Root,
    pub(super) refused: Option<String>,
    pub(super) mended: Vec<&'static str>,
    pub(super) logs: usize,
}

/// The names of the proofs that a depth asks for.
pub(super) fn names(depth: Depth) -> impl Iterator<Item = &'static str> {
    let all = PROOFS.into_iter().map(|(name, _)| name);
    all.filter(move |name| *name != "senders" || depth == Depth::Senders)
}

/// No proof could be made.
pub(super) fn none(depth: Depth) -> Roots {
    names(depth).map(|name| (name, Root::NotThere)).collect()
}

/// Reads a block and proves it without its receipts; an error in words where it cannot be read.
pub(super) fn prove_body(
    prover: &Prover,
    provider: &str,
    asked: u64,
    text: &RawValue,
) -> Result<ProvedBody, String> {
    let parts: BlockParts =
        serde_json::from_str(text.get()).map_err(|error| plain(&error.to_string()))?;
    let got = parts.block_ref().number;
    if got != asked {
        return Err(Mismatch::Number { asked, got }.to_string());
    }
    let mut block = parts.join(None).map_err(|error| plain(&error.to_string()))?;
    let (verified, refusal) = match prover.prove_body(&mut block, Some(provider)) {
        Ok(verified) => (verified, None),
        Err(mismatch) => (Verified::default(), Some(mismatch)),
    };
    let failed = refusal.as_ref().map(failed_proof);
    let mut roots = none(prover.depth());
    for (name, proof) in PROOFS {
        let Some(root) = roots.get_mut(name).filter(|_| name != "receipts") else { continue };
        *root = match failed {
            _ if verified.has(proof) => Root::Holds,
            Some(failed) if failed == name => Root::Wrong,
            Some(_)
                if name == "header" && header_hash(&block.header) == Some(block.header.hash) =>
            {
                Root::Holds
            }
            Some(_) => Root::NotReached,
            None if name == "withdrawals" && block.header.withdrawals_root.is_none() => {
                Root::Nothing
            }
            None => Root::NotProved,
        };
    }
    let refused = refusal.map(|mismatch| plain(&mismatch.to_string()));
    Ok(ProvedBody { block, roots, refused, verified })
}

/// Reads the receipts of a block and proves them, whether or not the rest was proved.
pub(super) fn prove_receipts(
    prover: &Prover,
    provider: &str,
    body: &ProvedBody,
    text: &RawValue,
) -> ProvedReceipts {
    let wrong = |refused: String| ProvedReceipts {
        root: Root::Wrong,
        refused: Some(refused),
        mended: Vec::new(),
        logs: 0,
    };
    let receipts: Vec<Linked<Receipt>> = match serde_json::from_str(text.get()) {
        Ok(receipts) => receipts,
        Err(error) => return wrong(plain(&error.to_string())),
    };
    let mut block = body.block.clone();
    if let Err(error) = block.add_receipts(receipts) {
        return wrong(plain(&error.to_string()));
    }
    match prover.prove_receipts(&mut block, body.verified, Some(provider)) {
        Ok((verified, mended)) => ProvedReceipts {
            root: if verified.has(Verified::RECEIPTS) { Root::Holds } else { Root::NotProved },
            refused: None,
            mended: mended.names().collect(),
            logs: block.logs().count(),
        },
        Err(mismatch) => wrong(plain(&mismatch.to_string())),
    }
}

/// Which proof a mismatch is about.
fn failed_proof(mismatch: &Mismatch) -> &'static str {
    match mismatch {
        Mismatch::Hash { what, .. } if what.contains("transactions") => "transactions",
        Mismatch::Hash { what, .. } if what.contains("withdrawals") => "withdrawals",
        Mismatch::Hash { what, .. } if what.contains("receipts") => "receipts",
        Mismatch::Transaction { .. }
        | Mismatch::TransactionType { .. }
        | Mismatch::StateSync { .. } => "transactions",
        Mismatch::Withdrawals { .. } => "withdrawals",
        Mismatch::Sender { .. } => "senders",
        Mismatch::Outcome { .. } | Mismatch::Bloom { .. } | Mismatch::Trace { .. } => "receipts",
        Mismatch::Doubtful { mismatch, .. } | Mismatch::Changed { mismatch } => {
            failed_proof(mismatch)
        }
        Mismatch::Number { .. }
        | Mismatch::Hash { .. }
        | Mismatch::Time { .. }
        | Mismatch::Hole { .. } => "header",
    }
}
