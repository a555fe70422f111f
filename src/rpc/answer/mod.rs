//! What an answer means: from the bytes of an HTTP body to results, errors and their causes.

mod classify;
mod encoding;
mod envelope;
mod error_object;
mod http;
mod sort;

pub use classify::cause_of;
pub(super) use encoding::{Encodings, Undecoded};
pub use envelope::{BatchReply, Reply, parse_batch, parse_single};
pub(super) use error_object::ErrorObject;
pub(super) use http::Http;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
