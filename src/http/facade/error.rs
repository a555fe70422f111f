//! Why a call is not answered, with JSON-RPC's codes.

use headwater_storage::model::{B256, BlockRange};
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
    /// A method that reads or runs code over accounts and storage.
    #[error("this needs a node with state: Headwater keeps no state")]
    NoState,
    /// A method that sends or signs a transaction.
    #[error("Headwater sends no transactions")]
    SendsNothing,
    /// A method about transactions that are in no block yet.
    #[error("no pending transactions are kept here")]
    NothingPending,
    /// Traces of a chain that is captured without them.
    #[error("traces are off for this chain: set traces = true")]
    TracesOff,
    /// A method of go-ethereum's debug namespace.
    #[error(
        "the method {method} does not exist/is not available: raw transactions are given by \
         eth_getRawTransactionByHash, traces by trace_block and trace_transaction"
    )]
    Debug {
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
    /// A transaction whose bytes are not to be had from its fields.
    #[error(
        "the raw form of transaction {hash} is not known here: encoded from its fields it has \
         another hash"
    )]
    NoRawForm {
        /// Its hash.
        hash: B256,
    },
    /// Blocks that were orphaned again and again while they were read.
    #[error("the chain was reorganised while blocks {range} were read: ask again")]
    Reorganised {
        /// The blocks.
        range: BlockRange,
    },
    /// A filter that is not installed.
    #[error(
        "filter not found: a filter belongs to one chain and ends after 5 minutes without a call, \
         or with the node; install it again"
    )]
    NoFilter,
    /// A filter that is not one of logs.
    #[error("this filter is one of blocks: ask eth_getFilterChanges for their hashes")]
    NoLogs,
    /// More filters than a node keeps.
    #[error(
        "too many filters: a node keeps at most {filters_max}, which name at most {named_max} \
         addresses and topics together; one ends after 5 minutes without a call, or with \
         eth_uninstallFilter"
    )]
    TooManyFilters {
        /// Filters.
        filters_max: usize,
        /// Addresses and topics.
        named_max: usize,
    },
    /// The system gives no random bytes.
    #[error("no id for a filter: {0}")]
    NoId(getrandom::Error),
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
            CallError::Method { .. }
            | CallError::NoState
            | CallError::SendsNothing
            | CallError::NothingPending
            | CallError::TracesOff
            | CallError::Debug { .. } => -32601,
            CallError::NoList | CallError::Arguments { .. } | CallError::Argument { .. } => -32602,
            CallError::NotHere { .. } => 4444,
            CallError::NoSuchTag { .. } => -39001,
            CallError::TooMany { .. } | CallError::TooManyFilters { .. } | CallError::Busy(_) => {
                -32005
            }
            CallError::TooBig { .. } => -32003,
            CallError::NotCanonical { .. }
            | CallError::NoRawForm { .. }
            | CallError::Reorganised { .. }
            | CallError::NoFilter
            | CallError::NoLogs
            | CallError::NoId(_)
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
            CallError::NoState
            | CallError::SendsNothing
            | CallError::NothingPending
            | CallError::TracesOff
            | CallError::NoRawForm { .. }
            | CallError::Reorganised { .. }
            | CallError::NoFilter
            | CallError::NoLogs
            | CallError::TooManyFilters { .. }
            | CallError::NoId(_)
            | CallError::NoList
            | CallError::Arguments { .. }
            | CallError::Argument { .. }
            | CallError::NotHere { .. }
            | CallError::NotCanonical { .. }
            | CallError::NoSuchTag { .. }
            | CallError::TooMany { .. }
            | CallError::TooBig { .. }
            | CallError::Busy(_)
            | CallError::Query(_) => named(method, &text),
            CallError::Parse(_)
            | CallError::Request(_)
            | CallError::Method { .. }
            | CallError::Debug { .. } => text,
        };
        serde_json::json!({ "code": self.code(), "message": message })
    }
}

fn named(method: Option<&str>, text: &str) -> String {
    method.map_or_else(|| text.to_owned(), |method| format!("{method}: {text}"))
}
