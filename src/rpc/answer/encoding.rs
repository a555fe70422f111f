//! Content encodings that were not asked for: undone within the bound of an answer.
//!
//! Only gzip is asked for, and the HTTP client undoes it while the body comes. Some proxies send
//! another one all the same, or several.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// What `content-encoding` says, the first applied first.
pub(in crate::rpc) struct Encodings(Vec<Encoding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body cannot be had as it was before it was encoded.
#[derive(Debug, thiserror::Error)]
pub(in crate::rpc) enum Undecoded {
    /// An encoding that we do not undo.
    #[error(
        "content-encoding `{name}` is not known: gzip, deflate, br, zstd and identity are. It was \
         not asked for; switch it off where the provider stands"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The body is not what the header says.
    #[error("the body is not what its content-encoding `{name}` says: {source}")]
    Broken {
        /// The encoding.
        name: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// It is larger than an answer may be.
    #[error(
        "an answer of more than answer_bytes_max = {most} bytes after content-encoding `{name}`"
    )]
    TooBig {
        /// The encoding.
        name: &'static str,
        /// The bound.
        most: usize,
    },
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Brotli => "br",
            Encoding::Zstd => "zstd",
        }
    }
}

impl Encodings {
    /// Those that the HTTP client has left in place.
    pub(in crate::rpc) fn of(headers: &HeaderMap) -> Result<Encodings, Undecoded> {
        let mut found = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in String::from_utf8_lossy(value.as_bytes()).split(',') {
                let name = name.trim().to_ascii_lowercase();
                found.push(match name.as_str() {
                    "" | "identity" | "none" => continue,
                    "gzip" | "x-gzip" => Encoding::Gzip,
                    "deflate" => Encoding::Deflate,
                    "br" => Encoding::Brotli,
                    "zstd" => Encoding::Zstd,
                    _ => return Err(Undecoded::Unknown { name }),
                });
            }
        }
        Ok(Encodings(found))
    }

    /// Whether the body is as it was.
    pub(in crate::rpc) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The body as it was, of at most so many bytes at each step.
    pub(in crate::rpc) fn undo(&self, body: Bytes, most: usize) -> Result<Bytes, Undecoded> {
        let mut body = body;
        for encoding in self.0.iter().rev() {
            body = undo(*encoding, &body, most)?;
        }
        Ok(body)
    }
}

fn undo(encoding: Encoding, body: &[u8], most: usize) -> Result<Bytes, Undecoded> {
    let name = encoding.name();
    let broken = |source| Undecoded::Broken { name, source };
    let reader: Box<dyn Read + '_> = match encoding {
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body)),
        Encoding::Deflate if is_zlib(body) => Box::new(ZlibDecoder::new(body)),
        // What many servers send under this name, against RFC 9110 section 8.4.1.2.
        Encoding::Deflate => Box::new(DeflateDecoder::new(body)),
        Encoding::Brotli => Box::new(brotli_decompressor::Decompressor::new(body, 1 << 14)),
        Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(body).map_err(broken)?),
    };
    let mut plain = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut plain).map_err(broken)?;
    if plain.len() > most {
        return Err(Undecoded::TooBig { name, most });
    }
    Ok(plain.into())
}

/// Whether a body starts with zlib's header (RFC 1950 section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
        }
        _ => false,
    }
}
