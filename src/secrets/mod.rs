//! Secrets by reference: configuration names where a secret is, never the secret.

mod error;
mod reference;
mod store;
mod token;
mod vault;

pub use error::SecretError;
pub use reference::{expand, is_reference, label};
pub use store::{Secrets, is_of_vault, names_vault};
pub use token::{AdminToken, TOKEN_FILE};
pub use vault::VaultConfig;
