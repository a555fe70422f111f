//! A node to ask: running, over HTTP; or stopped, through its folder.

use std::path::Path;
use std::time::Duration;

use headwater_storage::disk::LockError;
use headwater_storage::store::{DataDir, OpenError};
use serde::de::DeserializeOwned;

use crate::http::ADDRESS_FILE;
use crate::node::{Node, NodeError};
use crate::secrets::AdminToken;

use super::args::{SqlArgs, WhichArgs};
use super::error::CommandError;

const DEFAULT_URL: &str = "http://127.0.0.1:8646";
const TIMEOUT: Duration = Duration::from_mins(2);
const ORDER_TIMEOUT: Duration = Duration::from_hours(24);

/// A node to ask.
pub(super) enum Which {
    Running(Remote),
    Stopped(Box<Node>),
}

/// A running node.
pub(super) struct Remote {
    url: String,
    client: reqwest::Client,
}

impl Which {
    /// Finds the node: by URL, by its folder, or at the default address.
    pub(super) fn find(args: &WhichArgs) -> Result<Which, CommandError> {
        Which::find_by(args, Node::open_stopped)
    }

    /// The same, to be looked at alone: the folder may be one that cannot be written.
    pub(super) fn find_to_read(args: &WhichArgs) -> Result<Which, CommandError> {
        Which::find_by(args, Node::open_to_read)
    }

    fn find_by(
        args: &WhichArgs,
        open: impl FnOnce(&Path) -> Result<Node, NodeError>,
    ) -> Result<Which, CommandError> {
        let Some(data_dir) = &args.data_dir else {
            let url = args.url.as_deref().unwrap_or(DEFAULT_URL);
            return Ok(Which::Running(Remote::new(url)?));
        };
        match open(data_dir) {
            Ok(node) => Ok(Which::Stopped(Box::new(node))),
            Err(NodeError::DataDir(OpenError::Lock(LockError::InUse { .. }))) => {
                let address = std::fs::read_to_string(data_dir.join(ADDRESS_FILE))?;
                let url = format!("http://{}", address.trim());
                Ok(Which::Running(Remote::new(&url)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The running node that owns a folder, if there is one.
    pub(super) fn owner_of(data_dir: &Path) -> Result<Option<Remote>, CommandError> {
        if !data_dir.exists() {
            return Ok(None);
        }
        match DataDir::open_to_read(data_dir) {
            Err(in_use @ OpenError::Lock(LockError::InUse { .. })) => {
                // Another command may have it, which listens nowhere.
                let Ok(address) = std::fs::read_to_string(data_dir.join(ADDRESS_FILE)) else {
                    return Err(NodeError::from(in_use).into());
                };
                Remote::new(&format!("http://{}", address.trim())).map(Some)
            }
            // Whoever opens it next says what is wrong.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The running node alone: a health check must not take a folder that a node is about to own.
    pub(super) fn running(args: &WhichArgs) -> Result<Option<Remote>, CommandError> {
        let Some(data_dir) = &args.data_dir else {
            return Remote::new(args.url.as_deref().unwrap_or(DEFAULT_URL)).map(Some);
        };
        let Ok(address) = std::fs::read_to_string(data_dir.join(ADDRESS_FILE)) else {
            return Ok(None);
        };
        Remote::new(&format!("http://{}", address.trim())).map(Some)
    }
}

impl Remote {
    fn new(url: &str) -> Result<Remote, CommandError> {
        // `127.0.0.1:8646`, as it is printed in many places.
        let scheme = if url.contains("://") { "" } else { "http://" };
        let url = format!("{scheme}{}", url.trim_end_matches('/'));
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        match client {
            Ok(client) => Ok(Remote { url, client }),
            Err(source) => Err(CommandError::Unreachable { url, source }),
        }
    }

    fn unreachable(&self) -> impl FnOnce(reqwest::Error) -> CommandError {
        let url = self.url.clone();
        move |error| CommandError::Unreachable { url, source: error.without_url() }
    }

    /// `GET`s a path: status and body.
    pub(super) async fn read(&self, path: &str) -> Result<(u16, Vec<u8>), CommandError> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.send().await.map_err(self.unreachable())?;
        let status = response.status().as_u16();
        Ok((status, response.bytes().await.map_err(self.unreachable())?.to_vec()))
    }

    /// `GET`s a document.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<T, CommandError> {
        let (status, body) = self.read(path).await?;
        let refused =
            |message| CommandError::Refused { url: self.url.clone(), message, is_query: false };
        if status != 200 {
            return Err(refused(String::from_utf8_lossy(&body).into_owned()));
        }
        serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))
    }

    /// `POST`s an order that needs the token, and waits for as long as it takes.
    pub(super) async fn order<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &serde_json::Value,
        token: &AdminToken,
    ) -> Result<T, CommandError> {
        let request = self.client.post(format!("{}{path}", self.url)).timeout(ORDER_TIMEOUT);
        let request = request.header("authorization", token.header());
        let request = request.header("content-type", "application/json").body(order.to_string());
        let response = request.send().await.map_err(self.unreachable())?;
        let is_good = response.status().is_success();
        let body = response.bytes().await.map_err(self.unreachable())?;
        let refused =
            |message| CommandError::Refused { url: self.url.clone(), message, is_query: false };
        if !is_good {
            return Err(refused(message_of(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))
    }

    /// `POST`s a statement.
    pub(super) async fn sql(&self, statement: &str, format: &str) -> Result<Vec<u8>, CommandError> {
        let request = self.client.post(format!("{}/v1/sql?format={format}", self.url));
        let response =
            request.body(statement.to_owned()).send().await.map_err(self.unreachable())?;
        let is_good = response.status().is_success();
        let body = response.bytes().await.map_err(self.unreachable())?;
        if is_good {
            return Ok(body.to_vec());
        }
        let message = message_of(&body);
        Err(CommandError::Refused { url: self.url.clone(), message, is_query: true })
    }
}

/// What an answer says is wrong.
fn message_of(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value.pointer("/error/message").and_then(|text| text.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// A statement as it was given: as a word, in a file, or on standard input.
pub(super) fn statement(args: &SqlArgs) -> Result<String, CommandError> {
    let read = |path: &Path, text: std::io::Result<String>| {
        text.map_err(|source| CommandError::Read { path: path.to_owned(), source })
    };
    match (&args.file, &args.statement) {
        (Some(path), _) => read(path, std::fs::read_to_string(path)),
        (None, Some(text)) if text == "-" => {
            let text = std::io::read_to_string(std::io::stdin());
            read(Path::new("standard input"), text)
        }
        (None, text) => Ok(text.clone().unwrap_or_default()),
    }
}
