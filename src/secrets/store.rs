//! Where references are resolved: the environment, files, a vault.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::vault::{Vault, VaultConfig};
use super::{SecretError, is_reference};

const OF_VAULT: &str = "vault:";

/// Where references are resolved; clones share what is held.
#[derive(Clone, Default)]
pub struct Secrets {
    vault: Option<Arc<Vault>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Secrets").field("has_vault", &self.vault.is_some()).finish()
    }
}

/// The secret that a reference names: `env:NAME` or `file:PATH` (the first line).
pub(super) fn resolve(reference: &str) -> Result<SecretString, SecretError> {
    if let Some(name) = reference.strip_prefix("env:") {
        let value = std::env::var(name).map_err(|_| SecretError::Env { name: name.to_owned() })?;
        return Ok(SecretString::from(value));
    }
    if let Some(path) = reference.strip_prefix("file:") {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        if is_open_to_all(Path::new(path)) {
            warn_once(path);
        }
        let line = text.lines().next().unwrap_or_default().trim();
        return Ok(SecretString::from(line.to_owned()));
    }
    Err(SecretError::Reference)
}

/// Whether every user may read a file.
pub fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o004 != 0)
}

/// Files are read again and again, and told of once.
fn warn_once(path: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_new = TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    if is_new {
        tracing::warn!(
            path,
            "every user can read the file of a secret: `chmod 600 {path}` (in Kubernetes, \
            `defaultMode: 0400`)"
        );
    }
}

/// Whether a reference is one to a vault.
pub fn is_of_vault(reference: &str) -> bool {
    reference.starts_with(OF_VAULT)
}

/// Whether any text in a value is a reference to a vault.
pub fn names_vault(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => is_of_vault(text),
        toml::Value::Table(table) => table.values().any(names_vault),
        toml::Value::Array(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => false,
    }
}

impl Secrets {
    /// With the vault of a configuration, if it has one; asks for nothing yet.
    pub fn open(vault: Option<&VaultConfig>) -> Result<Secrets, SecretError> {
        let vault = vault.map(Vault::open).transpose()?.map(Arc::new);
        Ok(Secrets { vault })
    }

    fn vault(&self) -> Result<&Vault, SecretError> {
        self.vault.as_deref().ok_or_else(|| SecretError::VaultConfig {
            reason: "`vault:` needs a section [vault] with its `url`".to_owned(),
        })
    }

    /// The secret that a reference names; one of a vault as it was fetched last.
    pub fn resolve(&self, reference: &str) -> Result<SecretString, SecretError> {
        let Some(name) = reference.strip_prefix(OF_VAULT) else { return resolve(reference) };
        self.vault()?.held(name).ok_or_else(|| SecretError::NotFetched { name: name.to_owned() })
    }

    /// The same, asked for where it is old, or in any case.
    pub async fn fetch(
        &self,
        reference: &str,
        is_renewed: bool,
    ) -> Result<SecretString, SecretError> {
        let Some(name) = reference.strip_prefix(OF_VAULT) else { return resolve(reference) };
        let vault = self.vault()?;
        let held = vault.held(name).filter(|_| !is_renewed);
        match held {
            Some(value) if !vault.is_old(name) => Ok(value),
            // An outage of the vault changes nothing for what is known.
            Some(value) => Ok(vault.fetch(name).await.unwrap_or(value)),
            None => vault.fetch(name).await,
        }
    }

    /// Whether a secret of a vault should be asked for again.
    pub fn is_old(&self, reference: &str) -> bool {
        let name = reference.strip_prefix(OF_VAULT);
        name.zip(self.vault.as_deref()).is_some_and(|(name, vault)| vault.is_old(name))
    }

    /// A table with the secrets in place of references.
    pub async fn fill(
        &self,
        settings: &toml::Table,
        is_renewed: bool,
    ) -> Result<toml::Table, SecretError> {
        let mut filled = settings.clone();
        for (_, value) in &mut filled {
            match value {
                toml::Value::String(text) if is_reference(text) => {
                    let secret = self.fetch(text, is_renewed).await?;
                    secret.expose_secret().clone_into(text);
                }
                toml::Value::Table(table) => {
                    *table = Box::pin(self.fill(table, is_renewed)).await?;
                }
                toml::Value::String(_)
                | toml::Value::Array(_)
                | toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_) => {}
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_reference_to_a_vault_is_found_wherever_it_stands() {
        let named = |text: &str| table(text).values().any(names_vault);
        assert!(named("key = \"vault:a\""));
        assert!(named("settings = { \"sasl.password\" = \"vault:b\" }"));
        assert!(!named("key = \"env:A\"\nsettings = { a = \"file:/b\" }\nnodes = [\"a:1\"]"));
    }

    #[tokio::test]
    async fn settings_are_filled_from_files_and_say_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "hidden\n").unwrap();
        let settings =
            table(&format!("a = \"file:{0}\"\nb = {{ c = \"file:{0}\" }}\nd = 7", path.display()));
        let secrets = Secrets::default();
        let filled = secrets.fill(&settings, false).await.unwrap();
        assert_eq!(filled, table("a = \"hidden\"\nb = { c = \"hidden\" }\nd = 7"));
        let error = secrets.fill(&table("a = \"vault:x\""), false).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("[vault]"), "{error}");
        let error = secrets.resolve("vault:x").unwrap_err();
        assert!(error.to_string().contains("[vault]"), "{error}");
    }
}
