//! The versioned binary form of a block: what a log frame holds. Bytes: `storage/README.md`.

mod block;
mod wire;

pub use block::{VERSION, decode_block, encode_block};
pub use wire::{DecodeError, Input, Wire};

#[cfg(test)]
mod tests;
