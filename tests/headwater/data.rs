//! Recorded chain data, where it is present.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use headwater_storage::model::{Block, BlockParts, Linked, Receipt};

/// `HEADWATER_CHAIN_DATA`, or `../shared/data` beside the project; `None`, said in the run's
/// output, where there is none.
pub(crate) fn chain_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("HEADWATER_CHAIN_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    // Not by eprintln!, which is kept back while a test passes.
    writeln!(std::io::stderr(), "SKIPPED: no recorded chain data at {}", folder.display()).ok();
    None
}

pub(crate) fn read_gz(path: &Path) -> Option<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).ok()?).read_to_string(&mut text).unwrap();
    Some(text)
}

/// Folders of recorded blocks: network, folder.
pub(crate) fn block_folders(data: &Path) -> Vec<(String, PathBuf)> {
    let mut folders = Vec::new();
    for network in fs::read_dir(data.join("rpc")).unwrap() {
        let network = network.unwrap();
        for block in fs::read_dir(network.path()).unwrap() {
            let name = network.file_name().to_string_lossy().into_owned();
            folders.push((name, block.unwrap().path()));
        }
    }
    folders.sort();
    folders
}

pub(crate) fn parse(block: &str, receipts: Option<&str>) -> Result<Block, String> {
    let parts: BlockParts = serde_json::from_str(block).map_err(|error| error.to_string())?;
    let receipts: Option<Vec<Linked<Receipt>>> =
        receipts.map(serde_json::from_str).transpose().map_err(|error| error.to_string())?;
    parts.join(receipts).map_err(|error| error.to_string())
}

/// EIP-155 ids of the recorded networks whose id is known.
pub(crate) fn chain_id(network: &str) -> Option<u64> {
    let known = [
        ("arbitrum", 42_161),
        ("arbitrum-sepolia", 421_614),
        ("base", 8_453),
        ("base-goerli", 84_531),
        ("bsc", 56),
        ("ethereum", 1),
        ("gnosis", 100),
        ("goerli", 5),
        ("hive-testchain", 3_503_995_874_084_926),
        ("hyperliquid", 999),
        ("linea", 59_144),
        ("linea-sepolia", 59_141),
        ("mumbai", 80_001),
        ("optimism", 10),
        ("optimism-sepolia", 11_155_420),
        ("polygon", 137),
        ("scroll", 534_352),
        ("sepolia", 11_155_111),
    ];
    known.into_iter().find(|(name, _)| *name == network).map(|(_, id)| id)
}
