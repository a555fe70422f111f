//! What tests of this crate share: recorded chain data, and blocks made up for a shape.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, keccak256};

use crate::model::{
    Block, BlockParts, Header, Linked, Log, Logs, Receipt, Trace, TraceKind, Transaction, U256,
};

/// Where recorded chain data lies: `HEADWATER_CHAIN_DATA`, or `../shared/data` beside the project.
/// `None`, said in the run's output, where there is none.
pub(crate) fn chain_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("HEADWATER_CHAIN_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    // Not by eprintln!, which is kept back while a test passes.
    writeln!(std::io::stderr(), "SKIPPED: no recorded chain data at {}", folder.display()).ok();
    None
}

/// A recorded answer.
pub(crate) fn read_gz(path: &Path) -> Option<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).ok()?).read_to_string(&mut text).unwrap();
    Some(text)
}

/// Folders of recorded blocks, one per block.
pub(crate) fn block_folders(data: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for network in fs::read_dir(data.join("rpc")).unwrap() {
        for block in fs::read_dir(network.unwrap().path()).unwrap() {
            folders.push(block.unwrap().path());
        }
    }
    folders.sort();
    folders
}

/// Parses the two answers.
pub(crate) fn parse(block: &str, receipts: Option<&str>) -> Result<Block, String> {
    let parts: BlockParts = serde_json::from_str(block).map_err(|error| error.to_string())?;
    let receipts: Option<Vec<Linked<Receipt>>> =
        receipts.map(serde_json::from_str).transpose().map_err(|error| error.to_string())?;
    parts.join(receipts).map_err(|error| error.to_string())
}

/// A small block with one transaction and one log, told apart by `salt`; some have traces.
pub(crate) fn small_block(number: u64, parent_hash: B256, salt: u8) -> Block {
    let mut seed = parent_hash.to_vec();
    seed.extend_from_slice(&number.to_be_bytes());
    seed.push(salt);
    let hash = keccak256(&seed);
    let header =
        Header { number, hash, parent_hash, timestamp: number * 7_200, ..Header::default() };
    let transaction = Transaction {
        hash: keccak256(hash),
        to: Some(Address::repeat_byte(salt)),
        input: vec![salt; 100].into(),
        ..Transaction::default()
    };
    let log =
        Log { topics: [hash].into_iter().collect(), data: vec![1; 70].into(), ..Log::default() };
    let receipt = Receipt { logs: Logs::new(vec![log]), ..Receipt::default() };
    let (transactions, receipts) = (vec![transaction], Some(vec![receipt]));
    let traces = if number % 4 == 3 { traces() } else { Vec::new() };
    Block { header, transactions, receipts, withdrawals: None, traces }
}

/// A trace of each kind, each with something in every field that the kind has.
pub(crate) fn traces() -> Vec<Trace> {
    let kinds = [
        TraceKind::Call,
        TraceKind::CallCode,
        TraceKind::DelegateCall,
        TraceKind::StaticCall,
        TraceKind::Create,
        TraceKind::SelfDestruct,
        TraceKind::BlockReward,
        TraceKind::UncleReward,
        TraceKind::Other,
    ];
    let trace = |(at, kind): (usize, TraceKind)| {
        let of_transaction = !matches!(kind, TraceKind::BlockReward | TraceKind::UncleReward);
        let extra = (at == 8).then(|| serde_json::Map::from_iter([("type".into(), "new".into())]));
        Trace {
            transaction_index: of_transaction.then_some(0),
            trace_address: if (1..6).contains(&at) { vec![at as u64 - 1] } else { Vec::new() },
            kind,
            from: of_transaction.then(|| Address::repeat_byte(1)),
            to: Some(Address::repeat_byte(2)),
            value: (kind != TraceKind::StaticCall).then(|| U256::from(at)),
            gas: of_transaction.then_some(21_000),
            gas_used: (at % 2 == 0).then_some(7),
            input: vec![at as u8; at].into(),
            output: (at % 2 == 0).then(|| vec![9].into()),
            error: (at % 3 == 1).then(|| "Reverted".to_owned()),
            extra: extra.map(Box::new),
        }
    };
    kinds.into_iter().enumerate().map(trace).collect()
}
