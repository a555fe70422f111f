//! Backups of a whole node, running or stopped; one at a time in each folder of backups.

use std::path::Path;
use std::sync::Arc;

use headwater_storage::backup::{BackupError, BackupReport, BackupRequest, backup, may_back_up_to};
use headwater_storage::disk::{Disk, FolderLock, LockError, RealDisk};
use headwater_storage::store::{Chain, ChainOptions};

use crate::clock;
use crate::node::Node;

/// Makes a backup below `to`.
pub fn make(
    node: &Node,
    to: &Path,
    may_link: bool,
    is_stopped: &dyn Fn() -> bool,
) -> Result<BackupReport, BackupError> {
    may_back_up_to(node.data_dir.path(), to)?;
    let unusable = |source| BackupError::Unusable { to: to.to_owned(), source };
    RealDisk.create_folder(to).map_err(|error| unusable(error.source))?;
    let _alone = FolderLock::acquire(to).map_err(|error| match error {
        LockError::Io { source, .. } => unusable(source),
        LockError::InUse { .. } => error.into(),
    })?;
    let mut chains: Vec<Arc<Chain>> = node.chains.iter().map(|node| node.chain.clone()).collect();
    // Chains that the folder holds and the configuration does not name any more.
    for facts in node.data_dir.ledger().chains()? {
        if chains.iter().all(|chain| *chain.name() != facts.name) {
            let options = ChainOptions { index: None, ..ChainOptions::default() };
            let chain = Chain::open(&node.data_dir, &facts.name, facts.chain_id, options)?;
            chains.push(Arc::new(chain));
        }
    }
    let made = backup(&BackupRequest {
        data_dir: &node.data_dir,
        chains: &chains,
        to,
        may_link,
        made_at: clock::unix_seconds(),
        is_stopped,
    });
    match &made {
        Ok(report) => tracing::info!(
            path = %report.path.display(), files = report.files, bytes = report.bytes,
            copied = report.copied_bytes, "made a backup"
        ),
        Err(error) => tracing::warn!(%error, "a backup failed"),
    }
    made
}
