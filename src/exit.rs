//! Exit codes, documented in the README, and how an error becomes one.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::node::NodeError;
use crate::query::QueryError;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line is wrong (clap uses the same).
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The data folder is in use, missing, foreign or of a newer format.
    DataDir = 4,
    /// The listen address is in use.
    Listen = 5,
    /// The disk failed in a way after which the process must end.
    Storage = 6,
    /// Some of what was asked for could not be done yet.
    Incomplete = 7,
    /// The SQL statement was refused or failed.
    Query = 8,
    /// No node answers.
    Unreachable = 9,
    /// The node answers, and is not ready.
    NotReady = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A statement.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The devnet.
    #[error(transparent)]
    Devnet(#[from] crate::devnet::DevnetError),
    /// A provider does not give what a command cannot do without.
    #[error("cannot ask {url} for {what}")]
    Provider {
        /// The URL without its path.
        url: String,
        /// What it was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: crate::rpc::RpcError,
    },
    /// A range that is none.
    #[error("`{text}` is no range of blocks: write FIRST:END, for example 0:1000 (END excluded)")]
    Range {
        /// What was given.
        text: String,
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
            CommandError::Config(_) => Exit::Config,
            CommandError::Node(error) => error.exit(),
            CommandError::Query(_) | CommandError::Refused { is_query: true, .. } => Exit::Query,
            CommandError::Range { .. } => Exit::Usage,
            CommandError::Devnet(crate::devnet::DevnetError::Listen { .. }) => Exit::Listen,
            CommandError::Provider { .. } | CommandError::Unreachable { .. } => Exit::Unreachable,
            CommandError::Devnet(_)
            | CommandError::Refused { .. }
            | CommandError::Io(_)
            | CommandError::Render(_) => Exit::Failure,
        }
    }
}

/// An error and all that is behind it, each once.
pub fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = deeper.source();
    }
    text
}
