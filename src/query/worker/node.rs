//! The node, as a worker sees it.

use std::collections::BTreeSet;
use std::io::{self, BufReader, BufWriter, Cursor, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use datafusion::error::{DataFusionError, Result};

use crate::query::wire::{Extent, Frame, Gap, Kind, PIECE_BYTES, Question};

/// Bytes of frames that are put together before they are sent.
const BUFFER_BYTES: usize = 128 << 10;

/// The node.
pub(super) struct Node {
    link: Mutex<Link>,
    /// What was missing of what was read.
    gaps: Mutex<BTreeSet<Gap>>,
}

struct Link {
    frames: Receiver<Frame>,
    out: BufWriter<UnixStream>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// The node at the other end of a socket. When it goes away this process ends, whatever its
    /// threads compute.
    pub(super) fn new(socket: UnixStream) -> io::Result<Node> {
        let (sender, frames) = sync_channel(1);
        let mut from = BufReader::new(socket.try_clone()?);
        std::thread::Builder::new().name("node".to_owned()).spawn(move || {
            loop {
                let Ok(frame) = Frame::read(&mut from) else { std::process::exit(0) };
                if sender.send(frame).is_err() {
                    return;
                }
            }
        })?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, socket);
        Ok(Node { link: Mutex::new(Link { frames, out }), gaps: Mutex::default() })
    }

    fn link(&self) -> std::sync::MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame.
    pub(super) fn hear(&self) -> io::Result<Frame> {
        self.link().hear()
    }

    /// Sends a frame at once.
    pub(super) fn say(&self, frame: &Frame) -> io::Result<()> {
        let mut link = self.link();
        frame.write(&mut link.out)?;
        link.out.flush()
    }

    /// Asks where rows lie, and for those that lie nowhere yet.
    pub(super) fn ask(&self, question: &Question) -> Result<(Extent, Vec<RecordBatch>)> {
        let failed = |error: io::Error| DataFusionError::External(Box::new(error));
        let (extent, rows) = {
            let mut link = self.link();
            let frame = Frame::json(Kind::Question, question).map_err(failed)?;
            frame.write(&mut link.out).and_then(|()| link.out.flush()).map_err(failed)?;
            let extent: Extent =
                link.hear().map_err(failed)?.read_json(Kind::Extent).map_err(failed)?;
            (extent, link.hear().map_err(failed)?)
        };
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).extend(extent.gaps.clone());
        let rows = StreamReader::try_new(Cursor::new(rows.payload), None)?;
        Ok((extent, rows.collect::<std::result::Result<_, _>>()?))
    }

    /// What was missing of what was read since this was asked last.
    pub(super) fn take_gaps(&self) -> Vec<Gap> {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *gaps).into_iter().collect()
    }
}

impl Link {
    fn hear(&self) -> io::Result<Frame> {
        self.frames.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }
}

/// An answer on its way, in pieces.
pub(super) struct Pieces<'a> {
    node: &'a Node,
    piece: Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(node: &'a Node) -> Pieces<'a> {
        Pieces { node, piece: Vec::with_capacity(PIECE_BYTES) }
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.piece.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.node.say(&Frame { kind: Kind::Piece, payload: piece })
    }
}
