//! An adversary's provider: proved blocks with one thing changed at random must be refused, or what
//! was changed must not be covered by a mark (INV-2).
//!
//! `HEADWATER_MUTANTS` sets how many are tried (`make nightly`: ten million), `HEADWATER_SEED` from
//! which seed on. A failure names the seed of its mutant.

mod covered;
mod mutate;

use std::sync::Arc;

use headwater::capture::verify::{Depth, Mended, Prover};
use headwater::devnet::{DevNode, DevnetConfig, Fork};
use headwater_storage::ledger::ChainProofs;
use headwater_storage::model::{Block, BlockParts, Linked, Lsn, Origin, Receipt, Verified};
use headwater_storage::tables::{StoredBlock, Table, read_blocks};
use serde_json::Value;

use crate::data;

use covered::covered;
use mutate::{Dice, mutate, repeat};

const MUTANTS: u64 = 6_000;
/// Larger blocks say nothing more, and are slow.
const TRANSACTIONS_MAX: usize = 12;
const BYTES_MAX: usize = 60_000;
const BLOCKS_OF_NETWORK: usize = 8;

/// A block as its provider gives it, with what is stored of it.
struct Sample {
    name: String,
    depth: Depth,
    chain_id: u64,
    proofs: ChainProofs,
    block: Value,
    receipts: Value,
    stored: Block,
    verified: Verified,
}

/// What capture makes of two answers.
pub(crate) fn assemble(
    prover: &Prover,
    block: &str,
    receipts: &str,
) -> Result<(Block, Verified, Mended), String> {
    let parts: BlockParts = serde_json::from_str(block).map_err(|error| error.to_string())?;
    let receipts: Vec<Linked<Receipt>> =
        serde_json::from_str(receipts).map_err(|error| error.to_string())?;
    let mut block = parts.join(None).map_err(|error| error.to_string())?;
    let body = prover.prove_body(&mut block, Some("p")).map_err(|error| error.to_string())?;
    block.add_receipts(receipts).map_err(|error| error.to_string())?;
    let proved = prover.prove_receipts(&mut block, body, Some("p"));
    let (verified, mended) = proved.map_err(|error| error.to_string())?;
    Ok((block, verified, mended))
}

/// What comes back of a block from parts.
pub(crate) fn through_tables(block: &Block) -> Block {
    let (lsn, verified, origin) = (Lsn(1), Verified::default(), Origin::default());
    let stored = [StoredBlock { lsn, verified, origin, block: Arc::new(block.clone()) }];
    let rows = Table::ALL.map(|table| table.rows(&stored));
    let [blocks, transactions, logs, withdrawals, traces, _, _] = rows;
    read_blocks(&blocks, &transactions, &logs, &withdrawals, &traces).unwrap().remove(0)
}

/// What comes back of a block from what is served.
fn through_json(block: &Block) -> Result<Block, String> {
    data::parse(&block.to_json(), block.receipts_to_json().as_deref())
}

/// Blocks from a folder beside the project, of chains with rules of their own.
fn of_cases() -> Vec<Sample> {
    let Some(folder) = data::chain_data() else { return Vec::new() };
    // Alfajores stands for Celo, which has no rules in old blocks.
    let cases =
        [("polygon7f", 137), ("celo_cip64", 44_787), ("avalanche", 43_114), ("amsterdam", 1)];
    let sample = |(name, chain_id): (&str, u64)| {
        let read = |file: &str| {
            let path = folder.join("../cases").join(name).join(file);
            let value: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap();
            Some(value.get("result").unwrap_or(&value).to_string())
        };
        let (block, receipts) = (read("block.json")?, read("receipts.json")?);
        // They are signed by nobody.
        let texts = [block.as_str(), receipts.as_str()];
        Some(Sample::of_depth(Depth::Roots, name.to_owned(), chain_id, texts).unwrap())
    };
    cases.into_iter().filter_map(sample).collect()
}

impl Sample {
    fn new(name: String, chain_id: u64, block: &str, receipts: &str) -> Option<Sample> {
        Sample::of_depth(Depth::Senders, name, chain_id, [block, receipts]).ok()
    }

    fn of_depth(
        depth: Depth,
        name: String,
        chain_id: u64,
        [block, receipts]: [&str; 2],
    ) -> Result<Sample, String> {
        let prover = Prover::new(chain_id, depth);
        let (stored, verified, mended) = assemble(&prover, block, receipts)?;
        let names: Vec<&str> = mended.names().collect();
        assert!(names.is_empty(), "{name}: a good block was put right: {names:?}");
        let parse = |text| serde_json::from_str(text).unwrap();
        let (block, receipts) = (parse(block), parse(receipts));
        let proofs = prover.proofs();
        Ok(Sample { name, depth, chain_id, proofs, block, receipts, stored, verified })
    }

    /// Whether a mark may be missing, because the chain's rules in the table say so.
    fn may_lack(&self, lost: Verified) -> bool {
        let number = self.stored.header.number;
        let lost = Verified(lost.0 & !Verified::TRACES.0);
        let allowed = match self.chain_id {
            // A status in place of the state root.
            1 if number < 4_370_000 => Verified::RECEIPTS,
            100 if number < 25_349_537 => Verified::HEADER,
            _ => Verified::default(),
        };
        allowed.has(lost)
    }

    /// One mutant; what is wrong with how it was taken.
    fn try_mutant(&self, seed: u64) -> Result<Outcome, String> {
        let mut dice = Dice::new(seed);
        let (mut block, mut receipts) = (self.block.clone(), self.receipts.clone());
        let mut what = mutate(&mut dice, &mut block, &mut receipts);
        let mut texts = [block.to_string(), receipts.to_string()];
        if let Some(twice) = repeat(&mut dice, &mut texts) {
            what = format!("{what}, {twice}");
        }
        let [block, receipts] = texts;
        let prover =
            Prover::new(self.chain_id, self.depth).with_proofs(self.proofs.clone()).of_providers(2);
        let assembled = assemble(&prover, &block, &receipts);
        let Ok((mut mutant, verified, mended)) = assembled else { return Ok(Outcome::Refused) };
        let from_parts = through_tables(&mutant);
        if from_parts != mutant {
            return Err(format!("{what}: parts give another\n{from_parts:?}\n{mutant:?}"));
        }
        let lost = Verified(self.verified.0 & !verified.0);
        if !self.may_lack(lost) {
            return Err(format!("{what}: it is stored without {lost}"));
        }
        let mut served = through_json(&mutant).map_err(|e| format!("{what}: served: {e}"))?;
        let mut good = self.stored.clone();
        let marks = Verified(verified.0 & self.verified.0);
        for block in [&mut good, &mut mutant, &mut served] {
            covered(block, marks);
        }
        if good != mutant {
            return Err(format!("{what}: it is stored as {verified}\n{good:?}\n{mutant:?}"));
        }
        if good != served {
            return Err(format!("{what}: it is served as {verified}\n{good:?}\n{served:?}"));
        }
        Ok(if mended.is_none() { Outcome::Harmless } else { Outcome::Mended })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Refused,
    Mended,
    /// What was changed is not covered, or says the same in another way.
    Harmless,
}

/// Recorded blocks of every network that is there.
fn recorded() -> Vec<Sample> {
    let Some(folder) = data::chain_data() else { return Vec::new() };
    let mut samples: Vec<Sample> = Vec::new();
    for (network, folder) in data::block_folders(&folder) {
        let of_network = samples.iter().filter(|sample| sample.name.starts_with(&network)).count();
        let block = data::read_gz(&folder.join("block.json.gz")).unwrap();
        let Some(receipts) = data::read_gz(&folder.join("receipts.json.gz")) else { continue };
        let is_large = block.len() + receipts.len() > BYTES_MAX;
        let Some(chain_id) = data::chain_id(&network) else { continue };
        if is_large || of_network >= BLOCKS_OF_NETWORK {
            continue;
        }
        let name = format!("{network} {}", folder.file_name().unwrap().to_string_lossy());
        let Some(sample) = Sample::new(name, chain_id, &block, &receipts) else { continue };
        let transactions = sample.stored.transactions.len();
        if (1..=TRANSACTIONS_MAX).contains(&transactions) && !sample.is_like(&samples) {
            samples.push(sample);
        }
    }
    samples
}

impl Sample {
    /// Whether another sample of the same network has transactions of the same types.
    fn is_like(&self, others: &[Sample]) -> bool {
        let network = self.name.split(' ').next();
        let others = others.iter().filter(|other| other.name.split(' ').next() == network);
        let kinds = |sample: &Sample| {
            let kinds =
                sample.stored.transactions.iter().map(|t| (t.transaction_type, t.to.is_some()));
            let mut kinds: Vec<(u64, bool)> = kinds.collect();
            kinds.sort_unstable();
            kinds.dedup();
            (kinds, sample.stored.header.present)
        };
        others.into_iter().any(|other| kinds(other) == kinds(self))
    }
}

/// Blocks of a chain of our own, with transactions of all types of Ethereum.
fn made(fork: Fork) -> Vec<Sample> {
    let config = DevnetConfig {
        block_time: std::time::Duration::ZERO,
        transactions: 9,
        fork,
        ..DevnetConfig::default()
    };
    let node = Arc::new(DevNode::new(config).unwrap());
    node.mine(4).unwrap();
    let sample = |number| {
        let built = node.by_number(number).unwrap();
        Sample::new(format!("devnet {fork:?} {number}"), 1337, &built.full, &built.receipts_text)
            .unwrap()
    };
    [2, 3].map(sample).into()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_block_with_anything_changed_is_refused_or_not_covered_by_its_marks() {
    let mut samples = made(Fork::Prague);
    samples.extend(made(Fork::Amsterdam));
    samples.extend(of_cases());
    samples.extend(recorded());
    let count = number("HEADWATER_MUTANTS").unwrap_or(MUTANTS);
    let first = number("HEADWATER_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let failures = std::thread::scope(|scope| {
        let samples = &samples;
        let walk = |thread: u64| {
            let mut outcomes = [0_u64; 3];
            let mut failures = Vec::new();
            for seed in (first..first + count).skip(thread as usize).step_by(threads as usize) {
                let sample = &samples[(seed % samples.len() as u64) as usize];
                match sample.try_mutant(seed) {
                    Ok(outcome) => outcomes[outcome as usize] += 1,
                    Err(what) => failures.push(format!("seed {seed}, {}: {what}", sample.name)),
                }
                if failures.len() >= 20 {
                    break;
                }
            }
            (outcomes, failures)
        };
        let walks: Vec<_> = (0..threads).map(|thread| scope.spawn(move || walk(thread))).collect();
        let mut failures = Vec::new();
        let mut all = [0_u64; 3];
        for walk in walks {
            let (outcomes, found) = walk.join().unwrap();
            all.iter_mut().zip(outcomes).for_each(|(sum, n)| *sum += n);
            failures.extend(found);
        }
        let [refused, mended, harmless] = all;
        eprintln!(
            "{count} mutants of {} blocks: {refused} refused, {mended} put right, {harmless} not \
             covered or the same",
            samples.len()
        );
        if failures.is_empty() {
            assert!(refused > count / 2, "most of what is changed matters");
            assert!(mended > 0 && harmless > 0);
        }
        failures
    });
    let shown: Vec<&str> =
        failures.iter().map(|text| text.get(..2_000).unwrap_or(text)).take(20).collect();
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), shown.join("\n\n"));
}
