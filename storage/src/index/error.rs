//! Why the index fails. It never loses data: the log has everything.

use std::path::PathBuf;

/// Why the index cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The engine failed.
    #[error("the index {} failed", folder.display())]
    Engine {
        /// Its folder.
        folder: PathBuf,
        /// fjall's reason.
        #[source]
        source: fjall::Error,
    },
    /// A damaged index could not be moved.
    #[error("the damaged index {} cannot be moved away: remove it by hand", folder.display())]
    SetAside {
        /// Its folder.
        folder: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}
