//! Why a secret cannot be had.

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
    #[error("a key must be given by reference: `env:NAME`, `file:PATH` or `vault:NAME`")]
    Reference,
    /// The vault does not give a secret.
    #[error("the key vault {url} does not give the secret {name}: {reason}")]
    Vault {
        /// The vault.
        url: String,
        /// The secret's name.
        name: String,
        /// Whether somebody must mend something; otherwise it passes.
        is_refused: bool,
        /// Its own words.
        reason: String,
    },
    /// The section of the vault is wrong.
    #[error("[vault]: {reason}")]
    VaultConfig {
        /// What is wrong.
        reason: String,
    },
    /// The vault was not asked yet.
    #[error("the secret {name} was not fetched from the key vault yet")]
    NotFetched {
        /// The secret's name.
        name: String,
    },
}

impl SecretError {
    /// Whether somebody must mend something; all else passes by itself.
    pub fn is_refused(&self) -> bool {
        match self {
            SecretError::Vault { is_refused, .. } => *is_refused,
            SecretError::Env { .. }
            | SecretError::File { .. }
            | SecretError::Reference
            | SecretError::VaultConfig { .. } => true,
            SecretError::NotFetched { .. } => false,
        }
    }
}
