//! Secrets by reference: configuration names where a secret is, never the secret.

mod error;
mod redactor;
mod reference;
mod store;
mod token;
mod vault;

pub use error::SecretError;
pub use redactor::{Redactor, without_urls};
pub use reference::{expand, is_reference, label};
pub use store::{Secrets, is_of_vault, is_open_to_all, names_vault};
pub use token::{AdminToken, TOKEN_FILE};
pub use vault::VaultConfig;
