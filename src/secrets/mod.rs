//! Secrets by reference: configuration names where a secret is, never the secret.

mod reference;
mod token;

pub use reference::{expand, label};
pub use token::{AdminToken, TOKEN_FILE};

use secrecy::SecretString;

/// Why a secret cannot be had. The text never holds a secret (INV-9).
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    Env {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("the file {path} cannot be read")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A kind of reference that is not known.
    #[error("a key must be given by reference: `env:NAME` or `file:PATH`")]
    Reference,
}

/// Whether a text is a reference to a secret.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// The secret that a reference names: `env:NAME` or `file:PATH` (the first line).
pub fn resolve(reference: &str) -> Result<SecretString, SecretError> {
    if let Some(name) = reference.strip_prefix("env:") {
        let value = std::env::var(name).map_err(|_| SecretError::Env { name: name.to_owned() })?;
        return Ok(SecretString::from(value));
    }
    if let Some(path) = reference.strip_prefix("file:") {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        let line = text.lines().next().unwrap_or_default().trim();
        return Ok(SecretString::from(line.to_owned()));
    }
    Err(SecretError::Reference)
}
