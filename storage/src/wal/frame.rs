//! One event as a checksummed frame. Bytes: `storage/README.md`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::B256;
use zstd::bulk::{Compressor, Decompressor};

use crate::codec::{self, DecodeError};
use crate::model::{
    Block, BlockRef, ChainEvent, EventHead, Lane, Lsn, Op, Origin, PROVIDER_BYTES_MAX, Provider,
    Verified, seconds_of,
};

use super::Damage;
use super::layout::{HEAD_BYTES_MAX, Layout, padded};

const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// The payload was in the log and is in parts now.
const FORGOTTEN: u8 = 2;
const ZSTD_LEVEL: i32 = 1;
/// No block is larger; a length above it is damage.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// What zstd works with, at rest: making it anew was a third of what compressing took.
static COMPRESSORS: Resting<Compressor<'static>> = Resting(Mutex::new(Vec::new()));
static DECOMPRESSORS: Resting<Decompressor<'static>> = Resting(Mutex::new(Vec::new()));
/// As many of each are kept.
const RESTING_MAX: usize = 8;

struct Resting<T>(Mutex<Vec<T>>);

impl<T> Resting<T> {
    fn with(
        &self,
        make: impl FnOnce() -> io::Result<T>,
        work: impl FnOnce(&mut T) -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        let resting = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = resting().pop();
        let mut one = found.map_or_else(make, Ok)?;
        let done = work(&mut one);
        let mut resting = resting();
        if resting.len() < RESTING_MAX {
            resting.push(one);
        }
        done
    }
}

fn compress(raw: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSORS.with(|| Compressor::new(ZSTD_LEVEL), |one| one.compress(raw))
}

fn decompress(packed: &[u8], raw_bytes: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSORS.with(Decompressor::new, |one| one.decompress(packed, raw_bytes))
}

/// An event ready to be written: compressed by whoever made it, numbered by the writer.
#[derive(Clone, Debug)]
pub struct Record {
    op: Op,
    lane: Lane,
    block: BlockRef,
    parent_hash: B256,
    timestamp: u64,
    verified: Verified,
    origin: Origin,
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
    forgotten_bytes: u32,
    layout: Layout,
    version: u8,
    compression: u8,
    raw_bytes: u32,
    checksum: u32,
}

impl Record {
    /// Encodes and compresses; this is where the time goes, so it runs on the caller's thread.
    pub fn new(event: &ChainEvent) -> Record {
        match event {
            ChainEvent::Applied { block, lane, verified, origin } => {
                let mut record = Record::applied(block);
                (record.lane, record.verified, record.origin) = (*lane, *verified, *origin);
                record
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
            origin: Origin::default(),
            version: 0,
            compression: RAW,
            raw_bytes: 0,
            payload: Vec::new(),
            source: None,
        }
    }

    fn applied(block: &Arc<Block>) -> Record {
        let mut raw = Vec::with_capacity(256 << 10);
        let version = codec::encode_block(block, &mut raw);
        let raw_bytes = raw.len() as u32;
        let packed = compress(&raw).ok();
        let (compression, payload) = match packed.filter(|packed| packed.len() < raw.len()) {
            Some(packed) => (ZSTD, packed),
            None => (RAW, raw),
        };
        Record {
            parent_hash: block.header.parent_hash,
            timestamp: block.header.time_seconds(),
            version,
            compression,
            raw_bytes,
            payload,
            source: Some(block.clone()),
            ..Record::bare(Op::Applied, block.block_ref())
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
            origin: self.origin,
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
        padded((HEAD_BYTES_MAX + self.payload.len()) as u64)
    }

    /// Appends the frame.
    pub(super) fn put(&self, lsn: Lsn, durable: Lsn, out: &mut Vec<u8>) {
        let head = FrameHead {
            event: self.head(lsn),
            durable,
            payload_bytes: self.payload.len() as u32,
            forgotten_bytes: 0,
            layout: Layout::V2,
            version: self.version,
            compression: self.compression,
            raw_bytes: self.raw_bytes,
            checksum: 0,
        };
        head.put(&self.payload, out);
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = bytes.get(at..at + N) {
        out.copy_from_slice(from);
    }
    out
}

fn checksum_into(place: Option<&mut [u8]>, checksum: u32) {
    if let Some(place) = place {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}

impl FrameHead {
    /// Reads a head; `None` where nothing was ever written.
    pub(super) fn parse(layout: Layout, bytes: &[u8]) -> Result<Option<FrameHead>, Damage> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if bytes.len() < layout.head_bytes() {
            return Err(Damage::Length);
        }
        let (mut origin, mut forgotten_bytes) = (Origin::default(), 0);
        if layout == Layout::V2 {
            let checksum = crc32c::crc32c(bytes.get(4..156).unwrap_or_default());
            if checksum != u32::from_le_bytes(array(bytes, 156)) {
                return Err(Damage::Checksum);
            }
            forgotten_bytes = u32::from_le_bytes(array(bytes, 116));
            let name: [u8; PROVIDER_BYTES_MAX] = array(bytes, 128);
            let name = std::str::from_utf8(&name).unwrap_or_default();
            origin = Origin {
                at_micros: u64::from_le_bytes(array(bytes, 120)),
                provider: Provider::named(name.trim_end_matches('\0')),
            };
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
                timestamp: seconds_of(u64::from_le_bytes(array(bytes, 32))),
                verified: Verified(u32::from_le_bytes(array(bytes, 104))),
                origin,
            },
            durable: Lsn(u64::from_le_bytes(array(bytes, 16))),
            payload_bytes: u32::from_le_bytes(array(bytes, 4)),
            forgotten_bytes,
            layout,
            version,
            compression,
            raw_bytes: u32::from_le_bytes(array(bytes, 108)),
            checksum: u32::from_le_bytes(array(bytes, 0)),
        };
        if head.payload_bytes > PAYLOAD_BYTES_MAX || head.raw_bytes > PAYLOAD_BYTES_MAX {
            return Err(Damage::Length);
        }
        if compression > FORGOTTEN || (compression == FORGOTTEN && layout == Layout::V1) {
            return Err(Damage::Kind);
        }
        Ok(Some(head))
    }

    /// Appends a frame of the layout that is written today.
    pub(super) fn put(&self, payload: &[u8], out: &mut Vec<u8>) {
        let (start, event) = (out.len(), &self.event);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&event.lsn.0.to_le_bytes());
        out.extend_from_slice(&self.durable.0.to_le_bytes());
        out.extend_from_slice(&event.block.number.to_le_bytes());
        out.extend_from_slice(&event.timestamp.to_le_bytes());
        out.extend_from_slice(event.block.hash.as_slice());
        out.extend_from_slice(event.parent_hash.as_slice());
        out.extend_from_slice(&event.verified.0.to_le_bytes());
        out.extend_from_slice(&self.raw_bytes.to_le_bytes());
        out.extend_from_slice(&[event.op as u8, event.lane as u8, self.version, self.compression]);
        out.extend_from_slice(&self.forgotten_bytes.to_le_bytes());
        out.extend_from_slice(&event.origin.at_micros.to_le_bytes());
        out.extend_from_slice(event.origin.provider.name().unwrap_or_default().as_bytes());
        out.resize(start + 156, 0);
        let checksum = crc32c::crc32c(out.get(start + 4..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(payload);
        let checksum = crc32c::crc32c(out.get(start + 4..).unwrap_or_default());
        checksum_into(out.get_mut(start..start + 4), checksum);
        out.resize(start + padded((out.len() - start) as u64) as usize, 0);
    }

    /// The same frame without the payload that parts hold.
    pub(super) fn without_payload(mut self) -> FrameHead {
        self.forgotten_bytes = self.forgotten_bytes.max(self.payload_bytes);
        (self.payload_bytes, self.compression) = (0, FORGOTTEN);
        self
    }

    /// Bytes of the frame, padding included.
    pub(super) fn frame_bytes(&self) -> u64 {
        padded(self.layout.head_bytes() as u64 + u64::from(self.payload_bytes))
    }

    /// What batches are cut by: the same for a record in every layout, and after it was
    /// trimmed (INV-7).
    pub(super) fn weight(&self) -> u64 {
        let payload = self.payload_bytes.max(self.forgotten_bytes);
        padded(Layout::V1.head_bytes() as u64 + u64::from(payload))
    }

    /// Whether its block is here, and not only in parts.
    pub(super) fn has_payload(&self) -> bool {
        self.compression != FORGOTTEN
    }

    /// Compares the checksum with the head's bytes and the payload.
    pub(super) fn check(&self, bytes: &[u8], payload: &[u8]) -> Result<(), Damage> {
        let head = bytes.get(4..self.layout.head_bytes()).unwrap_or_default();
        let head = crc32c::crc32c(head);
        if crc32c::crc32c_append(head, payload) == self.checksum {
            return Ok(());
        }
        Err(Damage::Checksum)
    }

    /// The block of a checked payload.
    pub(super) fn block(&self, payload: Vec<u8>) -> Result<Option<Arc<Block>>, BlockError> {
        if self.event.op != Op::Applied {
            return Ok(None);
        }
        let raw = if self.compression == ZSTD {
            decompress(&payload, self.raw_bytes as usize).map_err(|_| BlockError::Compression)?
        } else {
            payload
        };
        let block = codec::decode_block(self.version, &raw.into()).map_err(BlockError::Decode)?;
        Ok(Some(Arc::new(block)))
    }
}

/// Why a payload gives no block.
pub(super) enum BlockError {
    Compression,
    Decode(DecodeError),
}
