//! One event as a checksummed frame. Bytes: `storage/README.md`.

use std::sync::Arc;

use alloy_primitives::B256;

use crate::codec::{self, DecodeError};
use crate::model::{Block, BlockRef, ChainEvent, EventHead, Lane, Lsn, Op, Verified};

use super::Damage;

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 120;
/// Frames start at multiples of this.
pub(super) const ALIGN_BYTES: u64 = 8;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
/// No block is larger; a length above it is damage.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// An event ready to be written: compressed by whoever made it, numbered by the writer.
#[derive(Clone, Debug)]
pub struct Record {
    op: Op,
    lane: Lane,
    block: BlockRef,
    parent_hash: B256,
    timestamp: u64,
    verified: Verified,
    version: u8,
    compression: u8,
    raw_bytes: u32,
    payload: Vec<u8>,
    source: Option<Arc<Block>>,
}

/// A frame's head as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) event: EventHead,
    /// What was durable when the frame was written: a frame at or before that cannot be torn.
    pub(super) durable: Lsn,
    pub(super) payload_bytes: u32,
    version: u8,
    compression: u8,
    raw_bytes: u32,
    checksum: u32,
}

impl Record {
    /// Encodes and compresses; this is where the time goes, so it runs on the caller's thread.
    pub fn new(event: &ChainEvent) -> Record {
        match event {
            ChainEvent::Applied { block, lane, verified } => {
                Record::applied(block, *lane, *verified)
            }
            ChainEvent::Reverted(block) => Record::bare(Op::Reverted, *block),
            ChainEvent::Finalized(block) => Record::bare(Op::Finalized, *block),
        }
    }

    fn bare(op: Op, block: BlockRef) -> Record {
        Record {
            op,
            lane: Lane::Live,
            block,
            parent_hash: B256::ZERO,
            timestamp: 0,
            verified: Verified::default(),
            version: 0,
            compression: RAW,
            raw_bytes: 0,
            payload: Vec::new(),
            source: None,
        }
    }

    fn applied(block: &Arc<Block>, lane: Lane, verified: Verified) -> Record {
        let mut raw = Vec::with_capacity(64 << 10);
        codec::encode_block(block, &mut raw);
        let packed = zstd::bulk::compress(&raw, ZSTD_LEVEL).ok();
        let (compression, payload) = match packed.filter(|packed| packed.len() < raw.len()) {
            Some(packed) => (ZSTD, packed),
            None => (RAW, raw.clone()),
        };
        Record {
            op: Op::Applied,
            lane,
            block: block.block_ref(),
            parent_hash: block.header.parent_hash,
            timestamp: block.header.timestamp,
            verified,
            version: codec::VERSION,
            compression,
            raw_bytes: raw.len() as u32,
            payload,
            source: Some(block.clone()),
        }
    }

    /// The event's small facts, under the number that it will get.
    pub fn head(&self, lsn: Lsn) -> EventHead {
        EventHead {
            lsn,
            op: self.op,
            lane: self.lane,
            block: self.block,
            parent_hash: self.parent_hash,
            timestamp: self.timestamp,
            verified: self.verified,
        }
    }

    /// Fills the facts that only the chain's state knows, for events that carry no block.
    #[must_use]
    pub fn placed(mut self, parent_hash: B256, timestamp: u64) -> Record {
        (self.parent_hash, self.timestamp) = (parent_hash, timestamp);
        self
    }

    /// The block that it holds.
    pub fn block(&self) -> Option<&Arc<Block>> {
        self.source.as_ref()
    }

    /// Bytes of the payload before compression.
    pub fn raw_bytes(&self) -> u64 {
        u64::from(self.raw_bytes)
    }

    /// Bytes of the frame, padding included.
    pub fn frame_bytes(&self) -> u64 {
        padded(HEAD_BYTES as u64 + self.payload.len() as u64)
    }

    /// Appends the frame.
    pub(super) fn put(&self, lsn: Lsn, durable: Lsn, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&lsn.0.to_le_bytes());
        out.extend_from_slice(&durable.0.to_le_bytes());
        out.extend_from_slice(&self.block.number.to_le_bytes());
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.extend_from_slice(self.block.hash.as_slice());
        out.extend_from_slice(self.parent_hash.as_slice());
        out.extend_from_slice(&self.verified.0.to_le_bytes());
        out.extend_from_slice(&self.raw_bytes.to_le_bytes());
        out.push(self.op as u8);
        out.push(self.lane as u8);
        out.push(self.version);
        out.push(self.compression);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.payload);
        let checksum = crc32c::crc32c(out.get(start + 4..).unwrap_or_default());
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
        out.resize(start + padded((out.len() - start) as u64) as usize, 0);
    }
}

/// Rounds up to the alignment of frames.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN_BYTES)
}

fn array<const N: usize>(bytes: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = bytes.get(at..at + N) {
        out.copy_from_slice(from);
    }
    out
}

impl FrameHead {
    /// Reads a head; `None` where nothing was ever written.
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Option<FrameHead>, Damage> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let [op, lane, version, compression] = array(bytes, 112);
        let lane = match lane {
            0 => Lane::Live,
            1 => Lane::Backfill,
            _ => return Err(Damage::Kind),
        };
        let head = FrameHead {
            event: EventHead {
                lsn: Lsn(u64::from_le_bytes(array(bytes, 8))),
                op: Op::from_byte(op).ok_or(Damage::Kind)?,
                lane,
                block: BlockRef {
                    number: u64::from_le_bytes(array(bytes, 24)),
                    hash: B256::from(array::<32>(bytes, 40)),
                },
                parent_hash: B256::from(array::<32>(bytes, 72)),
                timestamp: u64::from_le_bytes(array(bytes, 32)),
                verified: Verified(u32::from_le_bytes(array(bytes, 104))),
            },
            durable: Lsn(u64::from_le_bytes(array(bytes, 16))),
            payload_bytes: u32::from_le_bytes(array(bytes, 4)),
            version,
            compression,
            raw_bytes: u32::from_le_bytes(array(bytes, 108)),
            checksum: u32::from_le_bytes(array(bytes, 0)),
        };
        if head.payload_bytes > PAYLOAD_BYTES_MAX || head.raw_bytes > PAYLOAD_BYTES_MAX {
            return Err(Damage::Length);
        }
        if compression > ZSTD {
            return Err(Damage::Kind);
        }
        Ok(Some(head))
    }

    /// Bytes of the frame, padding included.
    pub(super) fn frame_bytes(&self) -> u64 {
        padded(HEAD_BYTES as u64 + u64::from(self.payload_bytes))
    }

    /// Compares the checksum with the head's bytes and the payload.
    pub(super) fn check(&self, bytes: &[u8; HEAD_BYTES], payload: &[u8]) -> Result<(), Damage> {
        let head = crc32c::crc32c(bytes.get(4..).unwrap_or_default());
        if crc32c::crc32c_append(head, payload) == self.checksum {
            return Ok(());
        }
        Err(Damage::Checksum)
    }

    /// The block of a checked payload.
    pub(super) fn block(&self, payload: &[u8]) -> Result<Option<Arc<Block>>, BlockError> {
        if self.event.op != Op::Applied {
            return Ok(None);
        }
        let decode =
            |raw: &[u8]| codec::decode_block(self.version, raw).map_err(BlockError::Decode);
        let block = if self.compression == ZSTD {
            let raw = zstd::bulk::decompress(payload, self.raw_bytes as usize)
                .map_err(|_| BlockError::Compression)?;
            decode(&raw)?
        } else {
            decode(payload)?
        };
        Ok(Some(Arc::new(block)))
    }
}

/// Why a payload gives no block.
pub(super) enum BlockError {
    Compression,
    Decode(DecodeError),
}
