//! Why the store refuses or fails.

use std::sync::Arc;

use alloy_primitives::B256;

use crate::index::IndexError;
use crate::ledger::LedgerError;
use crate::model::{BlockRef, ChainName};
use crate::parquet::PartError;
use crate::{disk, wal};

use super::Lookups;

/// An event that does not follow from the chain's state: a bug of the caller, never written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A live block that is not on top.
    #[error("block {block} does not follow the head {head}")]
    NotOnTop {
        /// The block.
        block: BlockRef,
        /// The head.
        head: BlockRef,
    },
    /// A block whose parent or child in the log is another one.
    #[error("block {block} does not link to its neighbour {neighbour}")]
    NotLinked {
        /// The block.
        block: BlockRef,
        /// Its neighbour's hash.
        neighbour: B256,
    },
    /// History that is there already.
    #[error("block {block} is captured already")]
    Known {
        /// The block.
        block: BlockRef,
    },
    /// Another block in the place of one whose content is lost.
    #[error("block {block} cannot take the place of {lost}, which was logged and is lost")]
    NotTheLost {
        /// The block.
        block: BlockRef,
        /// The lost one.
        lost: BlockRef,
    },
    /// Only the head can be reverted.
    #[error("block {block} is not the head, so it cannot be reverted")]
    NotHead {
        /// The block.
        block: BlockRef,
    },
    /// Final blocks stay.
    #[error("block {block} is final, so it cannot be reverted")]
    Final {
        /// The block.
        block: BlockRef,
    },
    /// Finality goes up, along canonical blocks.
    #[error("block {block} is not canonical above the final block, so it cannot become final")]
    NotFinalizable {
        /// The block.
        block: BlockRef,
    },
}

/// Why an append failed; nothing of it is in the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The events do not follow from the chain's state.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The log could not be written.
    #[error("the log cannot be written")]
    Log(#[source] Arc<wal::Error>),
    /// A new chain could not be written into the ledger.
    #[error("the ledger cannot take a new chain")]
    Begin(#[source] Arc<LedgerError>),
    /// Nothing is let in for now.
    #[error("the log is paused: {reason}")]
    Paused {
        /// Why.
        reason: String,
    },
    /// The committer has stopped.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether the process must end: a sync failed, so the kernel may have lost pages.
    pub fn is_fatal(&self) -> bool {
        match self {
            AppendError::Log(error) => match error.as_ref() {
                wal::Error::Disk(error) => error.is_failed_sync(),
                wal::Error::Damaged { .. }
                | wal::Error::Lost { .. }
                | wal::Error::Version { .. }
                | wal::Error::ForeignChain { .. }
                | wal::Error::Decode { .. }
                | wal::Error::Unnamed { .. }
                | wal::Error::Unknown { .. } => true,
            },
            AppendError::Violation(_)
            | AppendError::Begin(_)
            | AppendError::Paused { .. }
            | AppendError::Closed => false,
        }
    }
}

/// Why a store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    /// The log.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index does not know everything yet.
    #[error("lookups by hash and address wait for the index: {lookups}")]
    Lookups {
        /// How far it has come.
        lookups: Lookups,
    },
    /// A part.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The folder holds this chain under another id.
    #[error(
        "the data folder holds `{chain}` with chain id {found}, not {asked}: set \
         chain_id = {found}, or use another name or another --data-dir"
    )]
    ChainId {
        /// The chain.
        chain: ChainName,
        /// What the folder says.
        found: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The folder holds the chain of this id under another name: both would write the same parts.
    #[error(
        "the data folder holds chain id {chain_id} as `{known}`: call `{chain}` so, or use another \
         --data-dir"
    )]
    ChainNamed {
        /// The id.
        chain_id: u64,
        /// What the folder calls it.
        known: ChainName,
        /// What it was called now.
        chain: ChainName,
    },
}

/// An error and its causes in one line.
pub fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
