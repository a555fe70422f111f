//! Who else may read the data folder: new ones are for their owner alone.

use std::path::Path;

use headwater_storage::disk::RealDisk;

/// A folder of an earlier version, or one that somebody made, may be open to other users. It stays
/// so: they may be meant to read the parts.
pub fn warn_of_open_folder(path: &Path) {
    if RealDisk::is_open_to_others(path).unwrap_or(false) {
        tracing::warn!(
            path = %path.display(),
            "other users can read the data folder: `chmod -R go= {}`, unless they should",
            path.display()
        );
    }
}
