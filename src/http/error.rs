//! Errors of the API: two stable words, `type` and `code`, and a sentence.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headwater_exporters::ExportError;
use headwater_storage::backup::BackupError;
use headwater_storage::ledger::LedgerError;
use headwater_storage::store::{StoreError, error_text};
use serde_json::json;

use crate::forward::{ExplainError, ForwardError};
use crate::query::QueryError;
use crate::rpc::RpcError;

use super::bounds::{Busy, RETRY_SECS};
use super::door::Stranger;

/// Why the API cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is in use, or not ours.
    #[error("cannot listen on {listen}: stop what listens there, or give another --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The address cannot be written to the data folder.
    #[error("cannot write {file} to the data folder")]
    Address {
        /// The file.
        file: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Metrics cannot be recorded.
    #[error("cannot record metrics")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No chain of that name.
    #[error("there is no chain `{name}`: GET /v1/chains lists them")]
    UnknownChain {
        /// The name.
        name: String,
    },
    /// No block there.
    #[error("chain `{chain}` has no block `{block}`")]
    UnknownBlock {
        /// The chain.
        chain: String,
        /// What was asked for.
        block: String,
    },
    /// No transaction there.
    #[error("chain `{chain}` has no transaction {hash} in a canonical block")]
    UnknownTransaction {
        /// The chain.
        chain: String,
        /// What was asked for.
        hash: String,
    },
    /// No exporter of that name, or not on that chain.
    #[error(
        "there is no exporter `{name}`{}: GET /v1/exporters lists them",
        on_chain(.chain.as_deref())
    )]
    UnknownExporter {
        /// The name.
        name: String,
        /// The chain, where one was given.
        chain: Option<String>,
    },
    /// An exporter has other orders to follow, or ends.
    #[error("exporter `{name}` is busy with other orders: ask again")]
    Busy {
        /// The name.
        name: String,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An exporter's order.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A sink, which alone knows what was asked.
    #[error(transparent)]
    Sink(#[from] ExportError),
    /// Not of the expected form.
    #[error("{what}: {fix}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What is due.
        fix: &'static str,
    },
    /// No such path.
    #[error("there is nothing at {path}: see the README for the paths")]
    UnknownPath {
        /// The path.
        path: String,
    },
    /// A method that a path does not have.
    #[error("this path does not take {method}: it takes {allow}")]
    Method {
        /// What came.
        method: String,
        /// What is due.
        allow: String,
    },
    /// A body that is larger than the bound.
    #[error("the body has more than {max} bytes: send less at once")]
    LargeBody {
        /// The bound.
        max: usize,
    },
    /// A body that does not come.
    #[error("the body did not come within {secs} s: send it faster, or less at once")]
    SlowBody {
        /// The bound.
        secs: u64,
    },
    /// A request that does not have the form of the path.
    #[error("{}", refused_text(*.status, .text))]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why, as far as that is known.
        text: String,
    },
    /// Somebody who may not ask.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// More requests than are answered at the same time.
    #[error(transparent)]
    Crowded(#[from] Busy),
    /// An action without the token.
    #[error(
        "this needs the header `authorization: Bearer TOKEN` with the token in the file {file} of \
         the data folder"
    )]
    Forbidden {
        /// The file.
        file: &'static str,
    },
    /// The providers, who alone know what was asked.
    #[error("the providers cannot be asked: {source}")]
    Provider {
        /// Why.
        source: RpcError,
    },
    /// A backup.
    #[error("{}", error_text(.0))]
    Backup(#[from] BackupError),
    /// A statement.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
}

fn on_chain(chain: Option<&str>) -> String {
    chain.map_or(String::new(), |chain| format!(" on chain `{chain}`"))
}

fn refused_text(status: StatusCode, text: &str) -> String {
    let text = if text.is_empty() { status.canonical_reason().unwrap_or("refused") } else { text };
    format!("{text}: see the README for what this path takes")
}

impl ApiError {
    fn words(&self) -> Words {
        match self {
            ApiError::UnknownChain { .. } => (StatusCode::NOT_FOUND, "not_found", "unknown_chain"),
            ApiError::UnknownBlock { .. } => (StatusCode::NOT_FOUND, "not_found", "unknown_block"),
            ApiError::UnknownTransaction { .. } => {
                (StatusCode::NOT_FOUND, "not_found", "unknown_transaction")
            }
            ApiError::UnknownExporter { .. } => {
                (StatusCode::NOT_FOUND, "not_found", "unknown_exporter")
            }
            ApiError::Busy { .. } => (StatusCode::CONFLICT, "conflict", "exporter_busy"),
            ApiError::Forward(_) | ApiError::Ledger(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "ledger")
            }
            ApiError::Sink(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "sink"),
            ApiError::Provider { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "provider")
            }
            ApiError::UnknownPath { .. } => (StatusCode::NOT_FOUND, "not_found", "unknown_path"),
            ApiError::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid", "invalid_argument"),
            ApiError::Query(error) => words_of_statement(error),
            ApiError::Method { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "invalid", "method_not_allowed")
            }
            ApiError::LargeBody { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "limit", "body_too_large")
            }
            ApiError::SlowBody { .. } => (StatusCode::REQUEST_TIMEOUT, "limit", "body_too_slow"),
            ApiError::Refused { status, .. } => match *status {
                StatusCode::PAYLOAD_TOO_LARGE => (*status, "limit", "body_too_large"),
                status if status.is_client_error() => (status, "invalid", "invalid_argument"),
                status => (status, "internal", "internal"),
            },
            ApiError::Stranger(stranger) => {
                let (status, code) = stranger.words();
                (status, "forbidden", code)
            }
            ApiError::Crowded(_) => (StatusCode::SERVICE_UNAVAILABLE, "limit", "busy"),
            ApiError::Forbidden { .. } => (StatusCode::UNAUTHORIZED, "forbidden", "token"),
            ApiError::Backup(error) => words_of_backup(error),
            ApiError::Store(StoreError::Lookups { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "index_behind")
            }
            ApiError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "store"),
        }
    }
}

type Words = (StatusCode, &'static str, &'static str);

fn words_of_statement(error: &QueryError) -> Words {
    match error {
        QueryError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "limit", error.code()),
        QueryError::Memory { .. }
        | QueryError::Rows { .. }
        | QueryError::Spill { .. }
        | QueryError::Slow { .. }
        | QueryError::Complex { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "limit", error.code()),
        QueryError::ReadOnly => (StatusCode::FORBIDDEN, "invalid", error.code()),
        QueryError::Invalid { .. } | QueryError::Overflow { .. } => {
            (StatusCode::BAD_REQUEST, "invalid", error.code())
        }
        QueryError::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal", error.code()),
    }
}

fn words_of_backup(error: &BackupError) -> Words {
    match error {
        BackupError::Relative { .. }
        | BackupError::Inside { .. }
        | BackupError::Unusable { .. } => (StatusCode::BAD_REQUEST, "invalid", "invalid_argument"),
        BackupError::Exists { .. } | BackupError::Lock(_) => {
            (StatusCode::CONFLICT, "conflict", "backup_busy")
        }
        BackupError::Disk(_)
        | BackupError::Ledger(_)
        | BackupError::Store(_)
        | BackupError::Log(_)
        | BackupError::Open(_)
        | BackupError::Salvage(_)
        | BackupError::DamagedPart { .. }
        | BackupError::Stopped
        | BackupError::None { .. }
        | BackupError::Manifest { .. }
        | BackupError::Newer { .. }
        | BackupError::Outside { .. }
        | BackupError::DamagedBackup { .. }
        | BackupError::NotEmpty { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "backup"),
    }
}

impl From<ExplainError> for ApiError {
    fn from(error: ExplainError) -> ApiError {
        match error {
            ExplainError::Store(error) => ApiError::Store(error),
            ExplainError::Sink(error) => ApiError::Sink(error),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> ApiError {
        ApiError::Invalid { what: rejection.body_text(), fix: "see the README for the parameters" }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, code) = self.words();
        let is_crowded = matches!(self, ApiError::Crowded(_));
        // A crowd is no failure, and would fill the log.
        if status.is_server_error() && !is_crowded {
            tracing::warn!(error = %self, code, "a request failed");
        }
        let body = json!({ "error": { "type": kind, "code": code, "message": self.to_string() } });
        let mut response = (status, Json(body)).into_response();
        if is_crowded {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_SECS));
        }
        response
    }
}
