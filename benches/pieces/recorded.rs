//! Where recorded blocks are.

use std::path::{Path, PathBuf};

/// Recorded mainnet blocks: `HEADWATER_CHAIN_DATA`, or `../shared/data` beside the project.
pub(crate) fn recorded() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = std::env::var_os("HEADWATER_CHAIN_DATA").map_or_else(beside, PathBuf::from);
    let folder = data.join("rpc/ethereum");
    folder.is_dir().then_some(folder)
}
