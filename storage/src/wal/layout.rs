//! Names and headers of segment files, and the layouts of their frames. Bytes:
//! `storage/README.md`.

use crate::model::Lsn;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 64;
/// Frames start at multiples of this.
pub(super) const ALIGN_BYTES: u64 = 8;
/// Bytes of the largest frame head.
pub(super) const HEAD_BYTES_MAX: usize = 160;

const MAGIC: &[u8; 8] = b"HEADWAL\n";
/// Version that is written.
pub(super) const VERSION: u32 = 2;
const WHOLE: &str = ".wal";
const TRIMMED: &str = ".trim";

/// How the frames of a segment are laid out; its header says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 120 bytes before the payload, one checksum over all.
    V1,
    /// 160 bytes before the payload, with a checksum of their own, provider and time.
    V2,
}

impl Layout {
    /// Bytes of a frame before its payload.
    pub(super) fn head_bytes(self) -> usize {
        match self {
            Layout::V1 => 120,
            Layout::V2 => HEAD_BYTES_MAX,
        }
    }
}

/// Rounds up to the alignment of frames.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// What the name of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// Its first record.
    pub(super) first: Lsn,
    /// Whether the payloads that parts hold were forgotten.
    pub(super) is_trimmed: bool,
}

impl SegmentName {
    pub(super) fn file_name(self) -> String {
        let suffix = if self.is_trimmed { TRIMMED } else { WHOLE };
        format!("{:020}{suffix}", self.first.0)
    }

    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let (digits, is_trimmed) = match name.strip_suffix(WHOLE) {
            Some(digits) => (digits, false),
            None => (name.strip_suffix(TRIMMED)?, true),
        };
        let first = digits.parse().ok().filter(|_| digits.len() == 20).map(Lsn)?;
        Some(SegmentName { first, is_trimmed })
    }
}

/// The header of a new segment.
pub(super) fn header(chain_id: u64, first: Lsn) -> Vec<u8> {
    header_of(VERSION, chain_id, first)
}

fn header_of(version: u32, chain_id: u64, first: Lsn) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&chain_id.to_le_bytes());
    bytes.extend_from_slice(&first.0.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.resize(HEADER_BYTES as usize, 0);
    bytes
}

/// What a header says.
pub(super) enum Header {
    Good { layout: Layout },
    Newer { version: u32 },
    Foreign { chain_id: u64 },
    Damaged,
}

/// Reads a header; a damaged one takes nothing from the frames behind it.
pub(super) fn read_header(bytes: &[u8], chain_id: u64, first: Lsn) -> Header {
    let version = bytes.get(8..12).and_then(|b| b.first_chunk::<4>()).copied();
    let chain = bytes.get(12..20).and_then(|b| b.first_chunk::<8>()).copied();
    let (Some(version), Some(chain)) = (version, chain) else { return Header::Damaged };
    let (version, found) = (u32::from_le_bytes(version), u64::from_le_bytes(chain));
    if bytes != header_of(version, found, first) {
        return Header::Damaged;
    }
    match version {
        _ if version > VERSION => Header::Newer { version },
        _ if found != chain_id => Header::Foreign { chain_id: found },
        1 => Header::Good { layout: Layout::V1 },
        _ => Header::Good { layout: Layout::V2 },
    }
}
