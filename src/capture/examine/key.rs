//! One key under examination: its head, the blocks that all are asked for, and what it can do.

use std::sync::Arc;

use headwater_storage::model::B256;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::capture::ChainConfig;
use crate::capture::verify::{Depth, Prover};
use crate::rpc::{Call, Cause, RpcError};
use crate::supervisor::on_cpu;

use super::asker::{Asker, words};
use super::compare::Told;
use super::roots::{self, ProvedBody, ProvedReceipts, Root};
use super::{BlockScore, KeyScore, Subject, methods, plain, reach};

/// Receipts that are asked for one by one for one block.
const SINGLES_MAX: usize = 1_000;
/// The same where no batches are taken.
const SINGLES_ALONE_MAX: usize = 50;
/// How long the receipts of a new block are waited for.
const LATE: std::time::Duration = std::time::Duration::from_millis(1_500);

/// How the receipts of a block are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ByNumber,
    ByHash,
    OneByOne,
}

impl Way {
    /// In the order of what they cost.
    const ALL: [Way; 3] = [Way::ByNumber, Way::ByHash, Way::OneByOne];

    /// The next dearer one.
    fn next(self) -> Way {
        match self {
            Way::ByNumber => Way::ByHash,
            Way::ByHash | Way::OneByOne => Way::OneByOne,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Way::ByNumber => "eth_getBlockReceipts",
            Way::ByHash => "eth_getBlockReceipts by hash",
            Way::OneByOne => "eth_getTransactionReceipt",
        }
    }
}

/// Why receipts were not had by one way.
struct Failed {
    words: String,
    /// Whether it is the way that does not work, for any block.
    is_of_way: bool,
}

impl From<String> for Failed {
    fn from(words: String) -> Failed {
        Failed { words, is_of_way: false }
    }
}

impl From<RpcError> for Failed {
    fn from(error: RpcError) -> Failed {
        let is_of_way = matches!(error.cause, Cause::MethodMissing | Cause::InvalidParams);
        Failed { words: words(&error), is_of_way }
    }
}

/// A block that the key gave, to try methods on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) transactions: usize,
    /// One of its transactions.
    pub(super) transaction: Option<B256>,
    /// Its logs, where its receipts are known.
    pub(super) logs: Option<usize>,
}

/// A key under examination.
pub(super) struct Candidate {
    pub(super) score: KeyScore,
    asker: Asker,
    prover: Arc<Prover>,
    is_out: bool,
    announces: Option<Result<(), String>>,
    way: Way,
    known: Option<Known>,
}

impl Candidate {
    pub(super) fn new(chain: &ChainConfig, subject: Subject) -> Candidate {
        // Each key's word counts by itself: nothing is stored here.
        let prover = chain.prover().of_providers(1);
        // What `links` does not ask for is looked at all the same.
        let prover = match chain.verify {
            Depth::Links => prover.again(Depth::Roots),
            Depth::Roots | Depth::Senders => prover,
        };
        let name = subject.endpoint.name().to_owned();
        // Who it is stands before it already.
        let of_key = format!("{name}: ");
        let problem =
            subject.problem.map(|text| plain(text.strip_prefix(&of_key).unwrap_or(&text)));
        let score = KeyScore {
            name,
            provider: subject.endpoint.provider().to_owned(),
            problems: problem.into_iter().collect(),
            ..KeyScore::default()
        };
        Candidate {
            score,
            asker: Asker::new(subject.endpoint),
            prover: prover.into(),
            is_out: subject.is_of_other_chain,
            announces: subject.announces,
            way: Way::ByNumber,
            known: None,
        }
    }

    /// Asks for the head, and how many calls go in one request.
    pub(super) async fn begin(&mut self) {
        if self.is_out {
            return;
        }
        match self.asker.read::<Value>(&Call::header("latest")).await {
            Ok(head) => self.score.head = head.get("number").and_then(quantity),
            Err(problem) if self.score.problems.is_empty() => {
                self.score.problems.push(format!("has no head: {problem}"));
            }
            Err(_) => {}
        }
        self.is_out = self.score.head.is_none();
        if !self.is_out {
            self.score.batches = methods::batches(&mut self.asker).await;
        }
    }

    /// Asks for a block and its receipts, proves them, and gives back what was told.
    pub(super) async fn block(&mut self, at: usize, number: u64) -> Option<Told> {
        if self.is_out {
            return None;
        }
        let missing = |problem: String, depth| BlockScore {
            number,
            hash: None,
            transactions: None,
            roots: roots::none(depth),
            problem: Some(problem),
            ways_round: Vec::new(),
        };
        let text = match self.asker.ask(&Call::block(number)).await {
            Ok(Some(text)) => text,
            Ok(None) => {
                let problem = "the block is not there (null)".to_owned();
                self.score.blocks.push(missing(problem, self.prover.depth()));
                return None;
            }
            Err(error) => {
                self.score.blocks.push(missing(words(&error), self.prover.depth()));
                return None;
            }
        };
        let raw = serde_json::from_str(text.get()).unwrap_or_default();
        let (prover, provider) = (self.prover.clone(), self.score.provider.clone());
        let proved = on_cpu(move || roots::prove_body(&prover, &provider, number, &text)).await;
        let body = match proved {
            Ok(body) => Arc::new(body),
            Err(problem) => {
                let mut score = missing(problem, self.prover.depth());
                score.roots.insert("header", Root::Wrong);
                self.score.blocks.push(score);
                return Some(Told { key: at, block: raw, receipts: None });
            }
        };
        let mut score = BlockScore {
            number,
            hash: Some(body.block.header.hash),
            transactions: Some(body.block.transactions.len()),
            roots: body.roots.clone(),
            problem: body.refused.clone(),
            ways_round: Vec::new(),
        };
        let (receipts, logs) = self.receipts(&body, &mut score).await;
        let known = Known {
            number,
            hash: body.block.header.hash,
            transactions: body.block.transactions.len(),
            transaction: body.block.transactions.first().map(|first| first.hash),
            logs,
        };
        if self.known.is_none_or(|old| old.transaction.is_none() && known.transaction.is_some()) {
            self.known = Some(known);
        }
        self.score.blocks.push(score);
        Some(Told { key: at, block: raw, receipts })
    }

    /// The receipts of a block, by the first way by which they come out; what was given first is
    /// what is compared. With them the number of their logs.
    async fn receipts(
        &mut self,
        body: &Arc<ProvedBody>,
        score: &mut BlockScore,
    ) -> (Option<Value>, Option<usize>) {
        let mut told = None;
        let mut problem = None;
        let first = self.way;
        for way in Way::ALL.into_iter().skip_while(|way| *way != first) {
            let text = match self.receipts_by(way, body).await {
                Ok(text) => text,
                Err(Failed { words, is_of_way }) => {
                    if is_of_way && way == self.way {
                        self.way = way.next();
                    }
                    score.ways_round.push(format!("{}: {words}", way.text()));
                    problem.get_or_insert((Root::NotThere, words));
                    continue;
                }
            };
            told = told.or_else(|| serde_json::from_str(text.get()).ok().map(in_order));
            let (prover, provider) = (self.prover.clone(), self.score.provider.clone());
            let shared = body.clone();
            let proved =
                on_cpu(move || roots::prove_receipts(&prover, &provider, &shared, &text)).await;
            let ProvedReceipts { root, refused, mended, logs } = proved;
            if let Some(refused) = refused {
                score.ways_round.push(format!("{}: {refused}", way.text()));
                problem = Some((Root::Wrong, refused));
                continue;
            }
            score.roots.insert("receipts", root);
            self.score.mended.extend(mended);
            self.score.receipts_by.get_or_insert(way.text());
            return (told, Some(logs));
        }
        if let Some((root, words)) = problem {
            score.roots.insert("receipts", root);
            score.problem.get_or_insert(words);
        }
        (told, None)
    }

    /// The receipts of a block as one list, or why not.
    async fn receipts_by(&mut self, way: Way, body: &ProvedBody) -> Result<Box<RawValue>, Failed> {
        let (number, hash) = (body.block.header.number, body.block.header.hash);
        let call = match way {
            Way::ByNumber => Call::block_receipts(number),
            Way::ByHash => Call::other("eth_getBlockReceipts", &json!([hash.to_string()])),
            Way::OneByOne => {
                let hashes = body.block.transactions.iter().map(|transaction| transaction.hash);
                return Ok(self.one_by_one(hashes.collect()).await?);
            }
        };
        let is_new = self.score.head.is_some_and(|head| number.saturating_add(2) >= head);
        let mut waits = is_new && !body.block.transactions.is_empty();
        loop {
            let answer = self.asker.ask(&call).await?;
            let is_late = answer.as_ref().is_none_or(|text| text.get() == "[]");
            if !(is_late && waits) {
                return answer.ok_or_else(|| "null".to_owned().into());
            }
            waits = false;
            tokio::time::sleep(LATE).await;
        }
    }

    async fn one_by_one(&mut self, hashes: Vec<B256>) -> Result<Box<RawValue>, String> {
        let size = self.score.batches.max.max(1);
        let most = if size > 1 { SINGLES_MAX } else { SINGLES_ALONE_MAX };
        if hashes.len() > most {
            return Err(format!("not asked for {} transactions one by one", hashes.len()));
        }
        let calls: Vec<Call> = hashes.into_iter().map(Call::receipt).collect();
        let mut texts = Vec::with_capacity(calls.len());
        for chunk in calls.chunks(size) {
            match chunk {
                [call] => texts.push(self.asker.read::<Box<RawValue>>(call).await?),
                chunk => texts.extend(self.asker.batch(chunk).await?),
            }
        }
        let list: Vec<&str> = texts.iter().map(|text| text.get()).collect();
        RawValue::from_string(format!("[{}]", list.join(","))).map_err(|error| error.to_string())
    }

    /// Asks for everything else.
    pub(super) async fn probe(&mut self) {
        if self.is_out {
            return;
        }
        let announces = self.announces.take();
        self.score.methods =
            methods::methods(&mut self.asker, self.known, announces.as_ref()).await;
        let head = self.score.head.unwrap_or(0);
        if self.score.receipts_by.is_some() {
            self.score.reach = reach::reach(&mut self.asker, self.way, head).await;
        }
    }

    /// What was found.
    pub(super) fn into_score(mut self) -> KeyScore {
        for block in &self.score.blocks {
            if block.roots.values().any(|root| *root == Root::Wrong) {
                let problem = block.problem.as_deref().unwrap_or("wrong");
                self.score.problems.push(format!("block {} is refused: {problem}", block.number));
            }
        }
        let is_useless = !self.is_out && self.score.receipts_by.is_none();
        if is_useless && self.score.problems.is_empty() {
            let problem = self.score.blocks.iter().find_map(|block| block.problem.as_deref());
            let problem = problem.unwrap_or("no block was there");
            self.score.problems.push(format!("gave the receipts of no block: {problem}"));
        }
        self.score.missing_proofs = self.prover.proofs().missing;
        if let Some((median, slowest)) = self.asker.latency() {
            self.score.latency_median_ms = Some(median);
            self.score.latency_max_ms = Some(slowest);
        }
        self.score.calls = self.asker.endpoint.requests();
        self.score.ended = self.asker.ended();
        self.score
    }
}

/// A quantity in hex.
pub(super) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Receipts in the order of their transactions, however they were given.
fn in_order(mut receipts: Value) -> Value {
    if let Some(list) = receipts.as_array_mut() {
        list.sort_by_key(|receipt| receipt.get("transactionIndex").and_then(quantity));
    }
    receipts
}
