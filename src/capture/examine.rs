//! What each key of a chain's providers is worth: the same blocks are asked of all of them, proved
//! and compared field by field; then each method, batches, and how far back receipts go.
//!
//! No failure ends an examination: it is part of what is found. Calls go out at the key's pace and
//! are counted in its quota like any other.

mod asker;
mod compare;
mod key;
mod methods;
mod reach;
mod roots;

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use futures::future::join_all;
use headwater_storage::ledger::MissingProof;

use crate::rpc::Endpoint;
use crate::supervisor::on_cpu;

use super::ChainConfig;

pub use compare::{Difference, Given, Kind};
pub use methods::{Batches, Method, Outcome};
pub use reach::{Look, Reach};
pub use roots::{PROOFS, Root, Roots};

use compare::Differences;
use key::Candidate;

/// Blocks that a key may be behind the best before blocks are compared without it.
const BEHIND_MAX: u64 = 64;
/// Characters of a provider's words, and of a field's name.
const WORDS_CHARS_MAX: usize = 200;

/// Which blocks are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Blocks in all; a third of them are the chain's last, the others are older.
    pub blocks: usize,
    /// The same seed picks the same older blocks, as long as the chain is about as long.
    pub seed: u64,
}

/// A key that is to be examined.
pub struct Subject {
    /// The key, of a pool that nobody else uses.
    pub endpoint: Arc<Endpoint>,
    /// Why it cannot be used, if that is known.
    pub problem: Option<String>,
    /// Whether it serves another chain: then nothing is asked of it.
    pub is_of_other_chain: bool,
    /// Whether it announces heads; `None` where it is not asked to.
    pub announces: Option<Result<(), String>>,
}

/// What was found of a chain's keys.
#[derive(Debug, serde::Serialize)]
pub struct Scorecard {
    /// What the older blocks were picked by.
    pub seed: u64,
    /// The blocks that were asked for, newest first.
    pub blocks: Vec<u64>,
    /// What was found of each key.
    pub keys: Vec<KeyScore>,
    /// Fields that keys give differently in the same blocks.
    pub differences: Vec<Difference>,
    /// Differences beyond those that are told.
    pub differences_left_out: usize,
}

/// What was found of a key.
#[derive(Debug, Default, serde::Serialize)]
pub struct KeyScore {
    /// Provider, and the name of its key.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// Why it cannot be used for capture; empty where it can.
    pub problems: Vec<String>,
    /// Its head.
    pub head: Option<u64>,
    /// How the blocks came out.
    pub blocks: Vec<BlockScore>,
    /// What cannot be proved of what it gives, under the rules that this version knows.
    pub missing_proofs: Vec<MissingProof>,
    /// Fields that were put right.
    pub mended: BTreeSet<&'static str>,
    /// How receipts were had: the first way that worked.
    pub receipts_by: Option<&'static str>,
    /// Which methods work.
    pub methods: Vec<Method>,
    /// How many calls go in one request.
    pub batches: Batches,
    /// How far back receipts go.
    pub reach: Reach,
    /// Half of its answers took so long at most, in milliseconds.
    pub latency_median_ms: Option<u64>,
    /// The slowest answer, in milliseconds.
    pub latency_max_ms: Option<u64>,
    /// Calls that were made for all of this; each of a batch counts.
    pub calls: u64,
    /// Why it was not asked for the rest.
    pub ended: Option<String>,
}

/// How a block came out, as one key gave it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BlockScore {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Option<B256>,
    /// Its transactions.
    pub transactions: Option<usize>,
    /// Each proof by name.
    pub roots: Roots,
    /// Why it is not there, or refused.
    pub problem: Option<String>,
    /// What had to be tried before its receipts came out, in words.
    pub ways_round: Vec<String>,
}

impl KeyScore {
    /// Whether a method works there.
    pub fn outcome(&self, method: &str) -> Outcome {
        let found = self.methods.iter().find(|known| known.name == method);
        found.map_or(Outcome::NotAsked, |method| method.outcome)
    }
}

/// Examines the keys of a chain.
pub async fn examine(chain: &ChainConfig, subjects: Vec<Subject>, sample: Sample) -> Scorecard {
    let mut keys: Vec<Candidate> =
        subjects.into_iter().map(|subject| Candidate::new(chain, subject)).collect();
    join_all(keys.iter_mut().map(Candidate::begin)).await;
    let best = keys.iter().filter_map(|key| key.score.head).max().unwrap_or(0);
    let near = keys.iter().filter_map(|key| key.score.head);
    let common = near.filter(|head| head.saturating_add(BEHIND_MAX) >= best).min();
    let blocks = common.map_or_else(Vec::new, |common| pick(common, sample));
    let names = keys.iter().map(|key| key.score.name.clone()).collect();
    let mut differences = Differences::of(names);
    for number in &blocks {
        let number = *number;
        let told = join_all(keys.iter_mut().enumerate().map(|(at, key)| key.block(at, number)));
        let told: Vec<_> = told.await.into_iter().flatten().collect();
        differences = on_cpu(move || {
            differences.compare(number, &told);
            differences
        })
        .await;
    }
    join_all(keys.iter_mut().map(Candidate::probe)).await;
    let mut keys: Vec<KeyScore> = keys.into_iter().map(Candidate::into_score).collect();
    contradict(&mut keys);
    let (differences, differences_left_out) = differences.into_parts();
    Scorecard { seed: sample.seed, blocks, keys, differences, differences_left_out }
}

/// A key that gives what cannot be proved, where the same block comes out from another, gives
/// something wrong. It may leave out what a proof needs without being wrong.
fn contradict(keys: &mut [KeyScore]) {
    let mut holds = BTreeSet::new();
    for key in &*keys {
        for block in &key.blocks {
            let proved = block.roots.iter().filter(|(_, root)| **root == Root::Holds);
            holds.extend(proved.map(|(name, _)| (block.hash, *name)));
        }
    }
    for key in keys {
        let is_only_lacking = key.missing_proofs.iter().all(|missing| {
            missing.what.contains("before Byzantium") || missing.what.contains("left out")
        });
        if is_only_lacking {
            continue;
        }
        let mut blocks = key.blocks.iter();
        let wrong = blocks.find_map(|block| {
            let open = block.roots.iter().filter(|(_, root)| **root == Root::NotProved);
            let elsewhere = open.filter(|(name, _)| holds.contains(&(block.hash, **name)));
            let names: Vec<&str> = elsewhere.map(|(name, _)| *name).collect();
            (!names.is_empty()).then(|| (block.number, names.join(" and ")))
        });
        key.problems.extend(wrong.map(|(number, names)| {
            let reasons: Vec<&str> =
                key.missing_proofs.iter().map(|missing| missing.reason.as_str()).collect();
            let reasons = plain(&reasons.join("; "));
            format!("{names} of block {number} can be proved as another key gives it: {reasons}")
        }));
    }
}

/// The blocks that are asked for, newest first: the last ones up to `head`, and some older ones.
fn pick(head: u64, sample: Sample) -> Vec<u64> {
    let last = (sample.blocks as u64).div_ceil(3);
    let mut picked: BTreeSet<u64> = (0..last).filter_map(|back| head.checked_sub(back)).collect();
    // Rounded, so that a chain which has grown a little has the same older blocks.
    let below = rounded(head.saturating_add(1).saturating_sub(last));
    let wanted = sample.blocks.min(usize::try_from(head).unwrap_or(usize::MAX).saturating_add(1));
    for at in 0..20 * sample.blocks as u64 {
        if picked.len() >= wanted || below == 0 {
            break;
        }
        let hash = keccak256([sample.seed.to_be_bytes(), at.to_be_bytes()].concat());
        let number = hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        picked.insert(number % below);
    }
    picked.into_iter().rev().collect()
}

/// Two figures of a number, the others zero.
fn rounded(number: u64) -> u64 {
    let mut scale = 1;
    while number / scale >= 100 {
        scale *= 10;
    }
    number - number % scale
}

/// Text of a provider as it is shown: cut, and nothing in it moves a terminal or hides.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let cut = text.chars().take(WORDS_CHARS_MAX);
    let mut shown = String::with_capacity(text.len().min(WORDS_CHARS_MAX));
    for c in cut {
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    if text.chars().nth(WORDS_CHARS_MAX).is_some() {
        shown += "..";
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_picks_the_same_older_blocks_while_the_chain_grows() {
        let sample = Sample { blocks: 6, seed: 7 };
        let (now, later) = (pick(23_456_789, sample), pick(23_460_000, sample));
        assert_eq!((now.len(), &now[..2]), (6, &[23_456_789, 23_456_788][..]));
        assert_eq!(now[2..], later[2..]);
        assert_ne!(now[2..], pick(23_456_789, Sample { seed: 8, ..sample })[2..]);
        assert!(now.is_sorted_by(|newer, older| newer > older), "{now:?}");
    }

    #[test]
    fn a_chain_of_few_blocks_has_no_more_than_those() {
        assert_eq!(pick(0, Sample { blocks: 6, seed: 1 }), [0]);
        assert_eq!(pick(3, Sample { blocks: 6, seed: 1 }), [3, 2, 1, 0]);
        assert_eq!(pick(9, Sample { blocks: 1, seed: 1 }), [9]);
    }

    #[test]
    fn words_of_a_provider_are_cut_and_escaped() {
        assert_eq!(plain("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\\u{a}\\u{202e}b");
        assert_eq!(plain(&"x".repeat(300)).len(), WORDS_CHARS_MAX + 2);
    }
}
