//! Who proves the blocks of one chain, and knows which proofs the chain allows.
//!
//! A comparison that fails is a lie, or a rule that this program does not know. Which of the two is
//! never up to the answer: it follows from the table of chains ([`super::rules`]), and for a chain
//! that the table does not know from what came out when the chain was first seen. What came out
//! once must come out always; what does not come out at first is believed when two providers give
//! the same, where there are two, and is then the whole chain's property: written to the ledger,
//! and told by `check`, `status` and the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use headwater_storage::ledger::{ChainProofs, MissingProof};
use headwater_storage::model::{Block, BlockRef, Header};

use crate::clock;

use super::doubts::Doubts;
use super::rules::{has_type, is_closed, is_excepted, is_new_type};
use super::{Aspect, Depth, Mismatch};

/// What becomes of a block of which something cannot be proved under the rules of this program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unprovable {
    /// It is kept, marked as not proved.
    #[default]
    Keep,
    /// It is refused: capture waits until the program knows the rule.
    Refuse,
}

/// Missing proofs that are remembered.
const MISSING_MAX: usize = 64;
/// How often is told that blocks are newer than this program.
const WARN_EVERY: Duration = Duration::from_hours(1);

/// Keeps what was found out of a chain.
type Keeper = Box<dyn Fn(&ChainProofs) + Send + Sync>;

/// Who proves the blocks of one chain.
pub struct Prover {
    chain_id: u64,
    depth: Depth,
    unprovable: Unprovable,
    /// Providers that can be asked.
    providers: usize,
    /// Aspects that came out, one bit each, so that the usual case takes no lock.
    made: AtomicU64,
    /// Whether blocks were found that are newer than this program.
    has_newer: AtomicBool,
    known: Mutex<Known>,
    keeper: Option<Keeper>,
}

#[derive(Default)]
struct Known {
    proofs: ChainProofs,
    doubts: Doubts,
    warned: Option<Instant>,
}

/// Whose word a block is.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) block: BlockRef,
    /// Who gave it; nobody in particular where what is stored is proved again.
    pub(super) provider: Option<&'a str>,
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Prover { chain_id, depth, unprovable, providers, .. } = self;
        write!(f, "Prover({chain_id}, {depth:?}, {unprovable:?}, {providers} providers)")
    }
}

impl Prover {
    /// Who proves blocks of a chain of which nothing was found out yet.
    pub fn new(chain_id: u64, depth: Depth) -> Prover {
        Prover {
            chain_id,
            depth,
            unprovable: Unprovable::default(),
            providers: 1,
            made: AtomicU64::new(0),
            has_newer: AtomicBool::new(false),
            known: Mutex::default(),
            keeper: None,
        }
    }

    /// The same, with so many providers that can be asked.
    #[must_use]
    pub fn of_providers(self, providers: usize) -> Prover {
        Prover { providers, ..self }
    }

    /// The same, with what becomes of blocks that cannot be proved.
    #[must_use]
    pub fn with_unprovable(self, unprovable: Unprovable) -> Prover {
        Prover { unprovable, ..self }
    }

    /// The same, with what was found out earlier.
    #[must_use]
    pub fn with_proofs(self, mut proofs: ChainProofs) -> Prover {
        if is_closed(self.chain_id) {
            // What an earlier version found out of a chain that is known whole, as far as this
            // version does not know better.
            let lasting = [Aspect::WithdrawalsList, Aspect::OldReceipts].map(|it| it.to_string());
            let lasts = |what: &String| is_newer(what) || lasting.contains(what);
            proofs.missing.retain(|missing| lasts(&missing.what));
        }
        let made = proofs.made.iter().map(|made| bit_of_text(made)).fold(0, |all, bit| all | bit);
        let has_newer = proofs.missing.iter().any(|missing| is_newer(&missing.what));
        let known = Known { proofs, ..Known::default() };
        Prover {
            made: AtomicU64::new(made),
            has_newer: AtomicBool::new(has_newer),
            known: Mutex::new(known),
            ..self
        }
    }

    /// The same; what is found out from now on is kept.
    #[must_use]
    pub fn kept_by(self, keeper: impl Fn(&ChainProofs) + Send + Sync + 'static) -> Prover {
        Prover { keeper: Some(Box::new(keeper)), ..self }
    }

    /// Who proves again what is stored, so deep.
    #[must_use]
    pub fn again(&self, depth: Depth) -> Prover {
        Prover::new(self.chain_id, depth).with_proofs(self.proofs())
    }

    /// EIP-155 id of the chain.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// How much is proved.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Which proofs the chain allows, as far as that was found out.
    pub fn proofs(&self) -> ChainProofs {
        self.with(|known| known.proofs.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether an aspect of a block is proved; `false` where it cannot be on this chain.
    ///
    /// `aspects` are those that the comparison is about, the most particular one first.
    pub(super) fn judge(
        &self,
        word: Word<'_>,
        aspects: &[Aspect],
        compared: Result<(), Mismatch>,
    ) -> Result<bool, Mismatch> {
        let Err(mismatch) = compared else {
            self.came_out(aspects);
            if aspects.contains(&Aspect::Header) {
                self.retract_newer(word.block.number);
            }
            return Ok(true);
        };
        let number = word.block.number;
        if aspects.iter().any(|aspect| is_excepted(self.chain_id, number, aspect)) {
            return Ok(false);
        }
        if let Some(missing) = self.missing(aspects, number) {
            self.warn_if_new(&missing, word.block);
            return Ok(false);
        }
        let may_be_missing = |aspect: &&Aspect| self.may_be_missing(aspect);
        let Some(aspect) = aspects.iter().find(may_be_missing) else {
            let is_lifted_by_setting = !is_closed(self.chain_id);
            let wrapped = |mismatch| Mismatch::Changed { mismatch: Box::new(mismatch) };
            return Err(if is_lifted_by_setting { wrapped(mismatch) } else { mismatch });
        };
        // Providers add fields of their own: the one that all of them give is decided.
        let is_field = |aspect: &&Aspect| matches!(aspect, Aspect::HeaderField(_));
        let doubted: Vec<&Aspect> = if is_field(&aspect) {
            aspects.iter().filter(is_field).collect()
        } else {
            vec![aspect]
        };
        self.doubt(word, &doubted, mismatch)
    }

    /// Whether it may be the chain's property that an aspect does not come out.
    fn may_be_missing(&self, aspect: &Aspect) -> bool {
        let is_of_chain = match aspect {
            // A later fork brings what this program does not know, to every chain; who leaves
            // withdrawals out tells nothing that is wrong; which blocks are old, the table says.
            Aspect::HeaderField(_) | Aspect::WithdrawalsList | Aspect::OldReceipts => return true,
            Aspect::TransactionFields(kind) => {
                return has_type(self.chain_id, *kind) || !is_closed(self.chain_id);
            }
            Aspect::TransactionType(kind) | Aspect::ReceiptType(kind) if is_new_type(*kind) => {
                return true;
            }
            Aspect::TransactionType(kind) | Aspect::ReceiptType(kind) => {
                !has_type(self.chain_id, *kind) || !is_closed(self.chain_id)
            }
            Aspect::Header | Aspect::Transactions | Aspect::Receipts | Aspect::Withdrawals => true,
        };
        is_of_chain && !is_closed(self.chain_id) && !self.has_come_out(aspect)
    }

    fn has_come_out(&self, aspect: &Aspect) -> bool {
        self.with(|known| known.proofs.made.contains(&aspect.to_string()))
    }

    /// What was found out of aspects; of a fork that is newer than this program only from its
    /// first block on.
    fn missing(&self, aspects: &[Aspect], number: u64) -> Option<MissingProof> {
        self.with(|known| {
            let mut missing = known.proofs.missing.iter();
            let is_of_block = |missing: &&MissingProof| {
                let is_named = aspects.iter().any(|aspect| aspect.to_string() == missing.what);
                is_named && (number >= missing.block.number || !is_newer(&missing.what))
            };
            missing.find(is_of_block).cloned()
        })
    }

    /// Remembers what came out, so that it must from now on.
    fn came_out(&self, aspects: &[Aspect]) {
        let bits = aspects.iter().map(bit).fold(0, |all, bit| all | bit);
        if is_closed(self.chain_id) || self.made.load(Ordering::Relaxed) & bits == bits {
            return;
        }
        let changed = self.with(|known| {
            let before = known.proofs.made.len();
            known.proofs.made.extend(aspects.iter().map(ToString::to_string));
            (known.proofs.made.len() > before).then(|| known.proofs.clone())
        });
        self.made.fetch_or(bits & !RARE, Ordering::Relaxed);
        self.keep(changed);
    }

    /// Whether something that did not come out is decided to be the chain's property.
    fn doubt(
        &self,
        word: Word<'_>,
        doubted: &[&Aspect],
        mismatch: Mismatch,
    ) -> Result<bool, Mismatch> {
        let Some(provider) = word.provider else { return Err(mismatch) };
        let setting = match self.unprovable {
            Unprovable::Keep => None,
            Unprovable::Refuse => Some("`unprovable = \"refuse\"` is set"),
        };
        let reason = mismatch.to_string();
        // Who gives the same gives the same text, with the block and both hashes.
        let evidence = keccak256(&reason);
        let decided = self.with(|known| {
            let before = known.proofs.missing.len();
            let mut decided = Vec::with_capacity(1);
            for aspect in doubted {
                let said = known.doubts.add(aspect, evidence, provider, self.providers.min(2));
                let has_room = before + decided.len() < MISSING_MAX;
                let Some(providers) = said.filter(|_| setting.is_none() && has_room) else {
                    continue;
                };
                known.doubts.forget(aspect);
                decided.push(MissingProof {
                    what: aspect.to_string(),
                    reason: reason.clone(),
                    block: word.block,
                    providers,
                    found_at: clock::unix_seconds(),
                });
            }
            // Those that were seen before, from a later block on, are seen from this one on.
            let is_again = |what: &String| decided.iter().any(|missing| missing.what == *what);
            known.proofs.missing.retain(|known| !is_again(&known.what));
            known.proofs.missing.extend(decided.iter().cloned());
            decided
        });
        let Some(first) = decided.first() else {
            let waits = setting.unwrap_or("a second provider has to give the same");
            let names: Vec<String> = doubted.iter().map(ToString::to_string).collect();
            let (aspect, mismatch) = (names.join(", "), Box::new(mismatch));
            return Err(Mismatch::Doubtful { mismatch, aspect, waits });
        };
        self.keep(Some(self.proofs()));
        for missing in &decided {
            tracing::warn!(
                chain_id = self.chain_id, block = %word.block, what = missing.what,
                reason = missing.reason, providers = missing.providers.join("+"),
                "this cannot be proved on this chain by the rules that this version knows: it is \
                 kept, marked as not proved"
            );
        }
        self.has_newer.fetch_or(is_newer(&first.what), Ordering::Relaxed);
        self.warn_if_new(first, word.block);
        Ok(false)
    }

    /// A later block whose header came out shows that no fork had changed headers: an earlier one
    /// was a lie, or this version knows the fork. Lies of that kind are doubted again.
    fn retract_newer(&self, number: u64) {
        if !self.has_newer.load(Ordering::Relaxed) {
            return;
        }
        let changed = self.with(|known| {
            let before = known.proofs.missing.len();
            known.proofs.missing.retain(|missing| {
                !missing.what.starts_with(FIELD_PREFIX) || missing.block.number >= number
            });
            let has_newer = known.proofs.missing.iter().any(|missing| is_newer(&missing.what));
            self.has_newer.store(has_newer, Ordering::Relaxed);
            (known.proofs.missing.len() < before).then(|| known.proofs.clone())
        });
        self.keep(changed);
    }

    fn keep(&self, changed: Option<ChainProofs>) {
        if let (Some(keeper), Some(proofs)) = (&self.keeper, changed) {
            keeper(&proofs);
        }
    }

    /// Tells, now and then, of blocks that are newer than this program.
    fn warn_if_new(&self, missing: &MissingProof, block: BlockRef) {
        if !is_newer(&missing.what) {
            return;
        }
        let now = clock::now();
        let is_due = self.with(|known| {
            let is_due = known.warned.is_none_or(|at| now.duration_since(at) >= WARN_EVERY);
            if is_due {
                known.warned = Some(now);
            }
            is_due
        });
        if is_due {
            tracing::warn!(
                chain_id = self.chain_id, %block, what = missing.what,
                "blocks are newer than this program: upgrade; until then this is not proved"
            );
        }
    }
}

/// Whether a missing proof says that blocks are newer than this program.
pub fn is_newer(what: &str) -> bool {
    let kind =
        what.rsplit_once(" of type 0x").and_then(|(_, kind)| u64::from_str_radix(kind, 16).ok());
    let field = what.strip_prefix(FIELD_PREFIX);
    field.is_some_and(|name| !Header::NAMES.contains(&name)) || kind.is_some_and(is_new_type)
}

/// How header fields that this program does not know are named.
const FIELD_PREFIX: &str = "header field ";

/// The bit of aspects that have none of their own: it is never set, so they take the lock.
const RARE: u64 = 1 << 63;

/// One bit for an aspect.
fn bit(aspect: &Aspect) -> u64 {
    match aspect {
        Aspect::Header => 1,
        Aspect::Transactions => 1 << 1,
        Aspect::Receipts => 1 << 2,
        Aspect::Withdrawals => 1 << 3,
        Aspect::OldReceipts => 1 << 4,
        Aspect::TransactionType(kind) if *kind < 8 => 1 << (8 + kind),
        Aspect::ReceiptType(kind) if *kind < 8 => 1 << (16 + kind),
        Aspect::TransactionType(0x7e) => 1 << 24,
        Aspect::ReceiptType(0x7e) => 1 << 25,
        Aspect::TransactionType(_)
        | Aspect::TransactionFields(_)
        | Aspect::ReceiptType(_)
        | Aspect::HeaderField(_)
        | Aspect::WithdrawalsList => RARE,
    }
}

/// The bit of an aspect that was written as text.
fn bit_of_text(text: &str) -> u64 {
    let usual = [
        Aspect::Header,
        Aspect::Transactions,
        Aspect::Receipts,
        Aspect::Withdrawals,
        Aspect::OldReceipts,
    ];
    let kinds = (0..8).chain([0x7e]);
    let kinds = kinds.flat_map(|kind| [Aspect::TransactionType(kind), Aspect::ReceiptType(kind)]);
    let found = usual.into_iter().chain(kinds).find(|aspect| aspect.to_string() == text);
    found.map_or(0, |aspect| bit(&aspect))
}

/// Types of a block's transactions, each once.
pub(super) fn types_of(block: &Block) -> Vec<u64> {
    let mut types = Vec::with_capacity(4);
    for transaction in &block.transactions {
        if !types.contains(&transaction.transaction_type) {
            types.push(transaction.transaction_type);
        }
    }
    types
}
