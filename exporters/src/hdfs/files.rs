//! What the lake needs of a file system, so that its protocol can be proved on one that fails at
//! every call.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::ExportError;

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the folder.
    pub(super) name: String,
    /// Bytes of a file.
    pub(super) bytes: u64,
    /// Whether it is a folder.
    pub(super) is_folder: bool,
    /// When it was changed last, milliseconds since 1970.
    pub(super) changed_ms: u64,
}

/// Bytes that become a file.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// These.
    Bytes(Vec<u8>),
    /// Those of a local file.
    File(PathBuf),
}

/// Whether a rename found something under the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renamed {
    /// It was done.
    Done,
    /// Something is there already; nothing was done.
    IsThere,
}

/// A file system. After an error nobody knows whether the call was done.
#[async_trait]
pub(super) trait Files: Send + Sync {
    /// What is in a folder; nothing when it is not there.
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, ExportError>;
    /// What is under a path; `None` when nothing is.
    async fn look(&self, path: &str) -> Result<Option<Entry>, ExportError>;
    /// A small file's content; `None` when it is not there.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ExportError>;
    /// Bytes and CRC-32C of a file, read whole.
    async fn checksum(&self, path: &str) -> Result<(u64, u32), ExportError>;
    /// Makes or replaces a file: whole and durable when this returns. Gives bytes and CRC-32C of
    /// what was sent.
    async fn put(&self, path: &str, body: Body) -> Result<(u64, u32), ExportError>;
    /// Gives a file another name, unless something has it.
    async fn rename(&self, from: &str, to: &str) -> Result<Renamed, ExportError>;
    /// Removes a file, or a folder with all that is in it; nothing when it is not there.
    async fn remove(&self, path: &str) -> Result<(), ExportError>;
    /// Makes a folder and those above it.
    async fn folder(&self, path: &str) -> Result<(), ExportError>;
    /// Lets go of connections.
    async fn close(&self);
}
