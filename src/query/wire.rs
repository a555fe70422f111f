//! What the node and a worker process say to each other over a socket: frames of a kind (one
//! byte), a length (four bytes, little endian) and a payload.

use std::io::{self, Read, Write};

use headwater_storage::model::BlockRange;
use headwater_storage::tables::Table;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Format, QueryError};

/// Bytes of a piece of an answer.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Bytes of what a worker sends at once.
const QUESTION_BYTES_MAX: usize = 16 << 20;
/// Bytes of a frame; rows of a scan's tail are the largest.
const FRAME_BYTES_MAX: usize = 1 << 30;
const HEAD_BYTES: usize = 5;

/// A statement, and the bounds that it has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) sql: String,
    pub(super) form: Form,
    pub(super) rows_max: usize,
    /// Bytes of memory that it may use.
    pub(super) memory_bytes: usize,
    pub(super) spill_bytes: u64,
    /// Each chain as of which record.
    pub(super) lsn: std::collections::BTreeMap<String, u64>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Form {
    /// As a user asked for it.
    User(Format),
    /// Rows of `logs` as a list of JSON-RPC's log objects.
    Logs,
}

/// What a worker needs of the node while it runs a statement.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Where the rows of a table lie: an [`Extent`], then rows of the tail.
    Scan {
        table: Table,
        /// Numbers of blocks that rows can have.
        numbers: BlockRange,
        columns: Option<Vec<usize>>,
    },
    /// The rows of a table about the node itself.
    About(About),
    /// Rows of `blocks` by chain id and record, those that the log still has.
    Records(Vec<(i64, i64)>),
}

/// Tables about the node itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum About {
    /// One row per chain.
    Chains,
    /// One row per range that is not captured between a chain's first and last block.
    Gaps,
    /// One row per provider and key of a chain; empty where no node runs.
    Providers,
}

impl About {
    pub(super) const ALL: [About; 3] = [About::Chains, About::Gaps, About::Providers];

    pub(super) fn name(self) -> &'static str {
        match self {
            About::Chains => "chains",
            About::Gaps => "gaps",
            About::Providers => "providers",
        }
    }
}

/// Where the sealed rows of a table lie, and what is missing among them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) files: Vec<PartFile>,
    pub(super) gaps: Vec<Gap>,
}

/// A part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartFile {
    /// Absolute.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) chain_id: i64,
    /// Days since 1970-01-01.
    pub(super) date: i32,
}

/// Blocks that are not captured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) chain: String,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To a worker: an [`Order`].
    Order = 1,
    /// To a worker: an [`Extent`].
    Extent = 2,
    /// To a worker: an Arrow IPC stream.
    Rows = 3,
    /// To the node: a [`Question`].
    Question = 4,
    /// To the node: a piece of the answer.
    Piece = 5,
    /// To the node: the answer is whole.
    Done = 6,
    /// To the node: a [`QueryError`].
    Failed = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::{Done, Extent, Failed, Order, Piece, Question, Rows};
        [Order, Extent, Rows, Question, Piece, Done, Failed].into_iter().find(|k| *k as u8 == byte)
    }
}

/// A frame.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame of SQL's worker {what}"))
}

impl Frame {
    pub(super) fn json(kind: Kind, value: &impl Serialize) -> io::Result<Frame> {
        Ok(Frame { kind, payload: serde_json::to_vec(value)? })
    }

    pub(super) fn read_json<T: for<'de> Deserialize<'de>>(&self, kind: Kind) -> io::Result<T> {
        if self.kind != kind {
            return Err(malformed("is of another kind than is due"));
        }
        Ok(serde_json::from_slice(&self.payload)?)
    }

    fn head(&self) -> io::Result<[u8; HEAD_BYTES]> {
        let bytes = u32::try_from(self.payload.len()).map_err(|_| malformed("is too large"))?;
        let [a, b, c, d] = bytes.to_le_bytes();
        Ok([self.kind as u8, a, b, c, d])
    }

    fn of_head([kind, a, b, c, d]: [u8; HEAD_BYTES]) -> io::Result<Frame> {
        let kind = Kind::of(kind).ok_or_else(|| malformed("has an unknown kind"))?;
        let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        if bytes > FRAME_BYTES_MAX {
            return Err(malformed("is too large"));
        }
        Ok(Frame { kind, payload: vec![0; bytes] })
    }

    /// In a worker.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head)?;
        let mut frame = Frame::of_head(head)?;
        from.read_exact(&mut frame.payload)?;
        Ok(frame)
    }

    /// In a worker.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head()?)?;
        to.write_all(&self.payload)
    }

    /// In the node.
    pub(super) async fn receive(from: &mut UnixStream) -> io::Result<Frame> {
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head).await?;
        let mut frame = Frame::of_head(head)?;
        if frame.payload.len() > QUESTION_BYTES_MAX {
            return Err(malformed("is too large"));
        }
        from.read_exact(&mut frame.payload).await?;
        Ok(frame)
    }

    /// In the node.
    pub(super) async fn send(&self, to: &mut UnixStream) -> io::Result<()> {
        to.write_all(&self.head()?).await?;
        to.write_all(&self.payload).await
    }

    /// The error in a frame.
    pub(super) fn error(&self) -> QueryError {
        self.read_json(Kind::Failed)
            .unwrap_or_else(|error| QueryError::Failed { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_frame_or_an_error() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            // Of a length that the bytes may have, and of a kind that may be known.
            let mut bytes = bytes.clone();
            if let [kind, length, rest @ ..] = bytes.as_mut_slice() {
                (*kind, *length) = (*kind % 9, *length % 16);
                for byte in rest.iter_mut().take(3) {
                    *byte = 0;
                }
            }
            let Ok(frame) = Frame::read(&mut bytes.as_slice()) else { return };
            let mut again = Vec::new();
            frame.write(&mut again).unwrap();
            assert_eq!(again, bytes[..again.len()]);
            drop(frame.error());
            drop(frame.read_json::<Question>(Kind::Question));
        });
    }
}
