//! What can be wrong with a log.

use std::path::PathBuf;

use crate::codec::DecodeError;
use crate::disk::DiskError;
use crate::model::Lsn;

/// What is wrong with the bytes at one place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// Not the checksum that was written.
    #[error("the checksum does not match")]
    Checksum,
    /// A length that the segment cannot hold.
    #[error("the length is impossible")]
    Length,
    /// Another record than the one due.
    #[error("another record stands there")]
    Lsn,
    /// A kind, lane or compression that does not exist.
    #[error("the kind is unknown")]
    Kind,
    /// Payload that does not decompress.
    #[error("the payload does not decompress")]
    Compression,
    /// A record that was acknowledged is not there.
    #[error("the log ends before it")]
    Missing,
}

/// Why a log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes inside of the log are wrong: not a torn tail.
    #[error("the log is damaged at record {lsn}, offset {offset} of {}: {damage}",
        segment.display())]
    Damaged {
        /// The file.
        segment: PathBuf,
        /// The record that is due there.
        lsn: Lsn,
        /// Byte offset in the file.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// A record in a damaged place: nobody knows what it said.
    #[error("record {lsn} is lost in a damaged place of {}", segment.display())]
    Lost {
        /// The record.
        lsn: Lsn,
        /// The file.
        segment: PathBuf,
    },
    /// Written by a newer program.
    #[error("{} has log version {version}, this program knows up to 2: use a newer headwater",
        segment.display())]
    Version {
        /// The file.
        segment: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Somebody removed or moved the file that is written.
    #[error(
        "{} was removed or moved while it was written: what is written there would be lost. Put it \
         back where it was, or run `headwater repair`, and start again", segment.display()
    )]
    Unnamed {
        /// The file.
        segment: PathBuf,
    },
    /// Another chain's log.
    #[error("{} belongs to chain id {found}, not {expected}: the folder was mixed up",
        segment.display())]
    ForeignChain {
        /// The file.
        segment: PathBuf,
        /// The chain it belongs to.
        found: u64,
        /// The chain that was asked for.
        expected: u64,
    },
    /// The payload is no block.
    #[error("record {lsn} is no block")]
    Decode {
        /// The record.
        lsn: Lsn,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Not there, or not durable yet.
    #[error("record {lsn} is not in the log, which has {first} to {durable}")]
    Unknown {
        /// The record.
        lsn: Lsn,
        /// The first record.
        first: Lsn,
        /// The last durable one.
        durable: Lsn,
    },
}
