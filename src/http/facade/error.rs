//! Why a call is not answered, with JSON-RPC's codes.

use headwater_storage::model::B256;
use headwater_storage::store::{StoreError, error_text};
use headwater_storage::tables::ReadError;

use crate::http::bounds::Busy;
use crate::query::QueryError;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No JSON.
    #[error("parse error: {0}")]
    Parse(#[from] serde_json::Error),
    /// JSON that is no call.
    #[error("invalid request: {0}")]
    Request(&'static str),
    /// A method that is not answered here.
    #[error(
        "the method {method} does not exist/is not available: only what is captured is answered \
         here"
    )]
    Method {
        /// The method.
        method: String,
    },
    /// `params` that are no list: all parameters have places here, and none has a name.
    #[error("non-array args: `params` is a list, such as [\"latest\", false]")]
    NoList,
    /// More parameters than a method takes.
    #[error("too many arguments: {found} are given, at most {max} are taken")]
    Arguments {
        /// How many came.
        found: usize,
        /// How many are taken.
        max: usize,
    },
    /// A parameter that is missing or of another form.
    #[error("invalid argument {place}: {problem}")]
    Argument {
        /// Its place in `params`, from 0.
        place: usize,
        /// What is wrong, and what is due.
        problem: String,
    },
    /// Below the head, and not here: as nodes say that have given up history (EIP-4444).
    #[error("pruned history unavailable: {what} not captured here, see /v1/chains/{chain}/gaps")]
    NotHere {
        /// What is not here, with its verb.
        what: String,
        /// The chain.
        chain: String,
    },
    /// A block that must be canonical, and is not (EIP-1898).
    #[error(
        "hash {hash} is not currently canonical: ask without `requireCanonical` for blocks of \
         other forks"
    )]
    NotCanonical {
        /// Its hash.
        hash: B256,
    },
    /// A tag that stands for nothing yet.
    #[error("{tag} block not found")]
    NoSuchTag {
        /// The tag.
        tag: &'static str,
    },
    /// More logs than one answer may have.
    #[error(
        "query returned more than {max} results: ask for a smaller block range, or name addresses \
         or topics"
    )]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A batch whose answers have too many bytes; the rest of it is not answered.
    #[error("response too large: the answers of one batch have at most {max} bytes")]
    TooBig {
        /// The bound.
        max: usize,
    },
    /// More calls than are answered at the same time.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows of logs.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A row that cannot be read.
    #[error(transparent)]
    Rows(#[from] ReadError),
}

impl CallError {
    /// The code: JSON-RPC 2.0's, EIP-1474's, go-ethereum's for what neither has.
    fn code(&self) -> i64 {
        match self {
            CallError::Parse(_) => -32700,
            CallError::Request(_) => -32600,
            CallError::Method { .. } => -32601,
            CallError::NoList | CallError::Arguments { .. } | CallError::Argument { .. } => -32602,
            CallError::NotHere { .. } => 4444,
            CallError::NoSuchTag { .. } => -39001,
            CallError::TooMany { .. } | CallError::Busy(_) => -32005,
            CallError::TooBig { .. } => -32003,
            CallError::NotCanonical { .. }
            | CallError::Store(_)
            | CallError::Query(_)
            | CallError::Rows(_) => -32000,
        }
    }

    /// The `error` object; it names the method that is refused, which in a batch is one of many.
    pub(super) fn object(&self, method: Option<&str>) -> serde_json::Value {
        let text = error_text(self);
        let message = match self {
            CallError::Store(_) | CallError::Rows(_) => {
                tracing::warn!(error = text, "a JSON-RPC call failed");
                named(method, &text)
            }
            CallError::NoList
            | CallError::Arguments { .. }
            | CallError::Argument { .. }
            | CallError::NotHere { .. }
            | CallError::NotCanonical { .. }
            | CallError::NoSuchTag { .. }
            | CallError::TooMany { .. }
            | CallError::TooBig { .. }
            | CallError::Busy(_)
            | CallError::Query(_) => named(method, &text),
            CallError::Parse(_) | CallError::Request(_) | CallError::Method { .. } => text,
        };
        serde_json::json!({ "code": self.code(), "message": message })
    }
}

fn named(method: Option<&str>, text: &str) -> String {
    method.map_or_else(|| text.to_owned(), |method| format!("{method}: {text}"))
}
