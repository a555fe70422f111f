//! Why a command failed, and the exit code that follows.

use std::path::PathBuf;

use headwater_storage::backup::BackupError;

use crate::capture::{CaptureError, SpanError};
use crate::config::ConfigError;
use crate::devnet::DevnetError;
use crate::exit::Exit;
use crate::http::HttpError;
use crate::node::{LOG_TASK, NodeError};
use crate::query::QueryError;
use crate::rpc::RpcError;
use crate::secrets::SecretError;
use crate::supervisor::TaskError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The API.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A task ended the process.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A statement.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The devnet.
    #[error(transparent)]
    Devnet(#[from] DevnetError),
    /// A provider does not give what a command cannot do without.
    #[error("cannot ask {url} for {what}")]
    Provider {
        /// The URL without its path.
        url: String,
        /// What it was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: RpcError,
    },
    /// A provider serves another chain.
    #[error(transparent)]
    Chain(CaptureError),
    /// A backup, a restore or a repair.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The admin token cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody said where the token is.
    #[error("a running node does this only with its token: give --data-dir or --token-file")]
    Token,
    /// No folder there.
    #[error("there is no folder {}", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A range that is none.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// No chain of that name.
    #[error("no chain `{name}` is stored there: `headwater status` lists them")]
    UnknownChain {
        /// The name.
        name: String,
    },
    /// No exporter of that name.
    #[error("no exporter `{name}` there: `headwater exporters list` names them")]
    UnknownExporter {
        /// The name.
        name: String,
    },
    /// Nobody said where blocks come from.
    #[error(
        "no node runs on {}: say where blocks come from, with --rpc URL or --config FILE",
        path.display()
    )]
    NoProvider {
        /// The data folder.
        path: PathBuf,
    },
    /// Only a running node has what it takes.
    #[error("a stopped node cannot {what}: start it with its configuration")]
    Stopped {
        /// What was asked for.
        what: &'static str,
    },
    /// No such block or record.
    #[error("chain `{chain}` has no such block or record yet: give one up to the head")]
    NotThere {
        /// The chain.
        chain: String,
    },
    /// A node cannot be asked.
    #[error("no node answers at {url}: is it running? give its --url or its --data-dir")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A node answered with an error.
    #[error("the node at {url} says: {message}")]
    Refused {
        /// Where.
        url: String,
        /// Its words.
        message: String,
        /// Whether it was about a statement.
        is_query: bool,
    },
    /// A file of a statement.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Writing to standard output, or the signal handler.
    #[error("cannot write the output")]
    Io(#[from] std::io::Error),
    /// An answer could not be written in its form.
    #[error("cannot write the answer")]
    Render(#[from] arrow::error::ArrowError),
}

impl CommandError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::Config(_) | CommandError::Chain(_) => Exit::Config,
            CommandError::Node(error) => error.exit(),
            CommandError::Query(_) | CommandError::Refused { is_query: true, .. } => Exit::Query,
            CommandError::Span(_)
            | CommandError::UnknownChain { .. }
            | CommandError::UnknownExporter { .. }
            | CommandError::Stopped { .. }
            | CommandError::NotThere { .. }
            | CommandError::Token
            | CommandError::NoProvider { .. }
            | CommandError::Read { .. }
            | CommandError::Backup(
                BackupError::Relative { .. }
                | BackupError::Inside { .. }
                | BackupError::Unusable { .. },
            ) => Exit::Usage,
            CommandError::Backup(BackupError::DamagedBackup { .. }) => Exit::Damaged,
            CommandError::Backup(
                BackupError::None { .. }
                | BackupError::Newer { .. }
                | BackupError::Outside { .. }
                | BackupError::Manifest { .. }
                | BackupError::NotEmpty { .. }
                | BackupError::Lock(_)
                | BackupError::Salvage(_),
            )
            | CommandError::NoFolder { .. } => Exit::DataDir,
            CommandError::Http(HttpError::Listen { .. })
            | CommandError::Devnet(DevnetError::Listen { .. }) => Exit::Listen,
            CommandError::Task(TaskError::Failed { task, .. }) if task.starts_with(LOG_TASK) => {
                Exit::Storage
            }
            CommandError::Provider { .. } | CommandError::Unreachable { .. } => Exit::Unreachable,
            CommandError::Devnet(_)
            | CommandError::Backup(_)
            | CommandError::Secret(_)
            | CommandError::Http(_)
            | CommandError::Task(_)
            | CommandError::Refused { .. }
            | CommandError::Io(_)
            | CommandError::Render(_) => Exit::Failure,
        }
    }
}
