//! What the lake has written down of one date of a chain. Each version is a file of its own, made
//! under a name that must not be there: of two nodes only one can write the next.

use headwater_storage::model::{B256, BlockRange, date_text};
use serde::{Deserialize, Serialize};

/// The format of the file.
pub(super) const FORMAT: u32 = 1;

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) chain_id: u64,
    pub(super) date: String,
    pub(super) version: u64,
    /// The process that wrote it.
    pub(super) writer: String,
    /// A run whose files may be there in part: nobody else may write it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<BlockRange>,
    /// Runs that are there, in order.
    pub(super) runs: Vec<ManifestRun>,
}

/// A run that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestRun {
    pub(super) blocks: BlockRange,
    pub(super) parent_hash: B256,
    pub(super) first_hash: B256,
    pub(super) last_hash: B256,
    /// Retention removed rows of a table before they went.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_partial: bool,
    pub(super) files: Vec<ManifestFile>,
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub(super) table: String,
    /// Below the lake.
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Eight hexadecimal digits, as HDFS's `COMPOSITE-CRC32C` has it.
    pub(super) crc32c: String,
}

/// The folder of the versions of a date; readers skip names that begin with `_`.
pub(super) fn folder_of(chain_id: u64, date: i32) -> String {
    format!("_headwater/manifest/chain_id={chain_id}/date={}", date_text(date))
}

/// The name of a version in its folder.
pub(super) fn name_of(version: u64) -> String {
    format!("{version:010}.json")
}

/// The version in a name.
pub(super) fn version_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

impl Manifest {
    /// A date of which nothing is there.
    pub(super) fn empty(chain_id: u64, date: i32) -> Manifest {
        Manifest {
            format: FORMAT,
            chain_id,
            date: date_text(date),
            version: 0,
            writer: String::new(),
            begun: None,
            runs: Vec::new(),
        }
    }

    /// Whether a file is one of its runs', or of the one that was begun.
    pub(super) fn explains(&self, path: &str, range: BlockRange) -> bool {
        let is_begun = self.begun == Some(range);
        let mut files = self.runs.iter().flat_map(|run| &run.files);
        is_begun || files.any(|file| file.path == path)
    }

    /// A run that shares blocks with a range.
    pub(super) fn overlap(&self, range: BlockRange) -> Option<&ManifestRun> {
        let overlaps =
            |run: &&ManifestRun| run.blocks.first <= range.last && range.first <= run.blocks.last;
        self.runs.iter().find(overlaps)
    }
}
