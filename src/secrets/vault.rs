//! Secrets of an Azure Key Vault, kept in memory only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use headwater_storage::foreign::{REASON_CHARS_MAX, excerpt};
use headwater_storage::store::error_text;
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock;

use super::SecretError;
use super::store::resolve;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one look may take, with what the client retries by itself.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// `[vault]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://NAME.vault.azure.net`.
    pub url: String,
    /// The directory; by default the variable `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// The application; by default the variable `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// A reference to its secret; by default `env:AZURE_CLIENT_SECRET`.
    pub client_secret: Option<String>,
    /// The machine's managed identity in place of an application.
    #[serde(default)]
    pub managed_identity: bool,
    /// Where tokens come from; by default the variable `AZURE_AUTHORITY_HOST`, or the public
    /// cloud's.
    pub authority: Option<String>,
    /// A file with an authority that is trusted beside the system's, in PEM.
    pub certificate: Option<PathBuf>,
    /// Secrets older than this are asked for again.
    #[serde(default = "hour")]
    pub refresh_secs: u64,
    /// Whether the vault must name itself as one of Azure's; a proxy before it does not.
    #[serde(default = "yes")]
    pub verify_resource: bool,
}

fn hour() -> u64 {
    3_600
}

fn yes() -> bool {
    true
}

/// A vault, and what it gave so far.
pub(super) struct Vault {
    client: SecretClient,
    url: String,
    refresh: Duration,
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Clone)]
struct Held {
    value: SecretString,
    at: Instant,
}

impl Vault {
    /// Reads who we are; asks for nothing yet.
    pub(super) fn open(config: &VaultConfig) -> Result<Vault, SecretError> {
        let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).referer(false);
        builder = builder.redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.certificate {
            let shown = path.display().to_string();
            let pem = std::fs::read(path)
                .map_err(|source| SecretError::File { path: shown.clone(), source })?;
            let bundle = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(wrong(format!("`certificate` {shown} holds no certificate in PEM")));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        let http = builder.build().map_err(|error| wrong(error.to_string()))?;
        let transport = Some(Transport::new(Arc::new(http)));
        let credential = credential(config, transport.clone())?;
        let options = SecretClientOptions {
            client_options: ClientOptions { transport, ..ClientOptions::default() },
            verify_challenge_resource: Some(config.verify_resource),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(&config.url, credential, Some(options))
            .map_err(|error| wrong(format!("`url` \"{}\": {}", config.url, error_text(&error))))?;
        let (url, refresh) = (config.url.clone(), Duration::from_secs(config.refresh_secs.max(1)));
        Ok(Vault { client, url, refresh, held: Mutex::default() })
    }

    /// What was fetched last.
    pub(super) fn held(&self, name: &str) -> Option<SecretString> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).map(|held| held.value.clone())
    }

    /// Whether a secret was never fetched, or too long ago.
    pub(super) fn is_old(&self, name: &str) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).is_none_or(|held| clock::now().duration_since(held.at) >= self.refresh)
    }

    /// Asks for a secret and keeps it.
    pub(super) async fn fetch(&self, name: &str) -> Result<SecretString, SecretError> {
        let asked = tokio::time::timeout(FETCH_TIMEOUT, self.client.get_secret(name, None)).await;
        let failed = |is_refused, reason: String| SecretError::Vault {
            url: self.url.clone(),
            name: name.to_owned(),
            is_refused,
            reason: excerpt(&reason, REASON_CHARS_MAX),
        };
        let answer = asked
            .map_err(|_| failed(false, format!("no answer in {} s", FETCH_TIMEOUT.as_secs())))?
            .map_err(|error| failed(is_refusal(&error), told(&error)))?;
        let secret = answer.into_model().map_err(|error| failed(false, error_text(&error)))?;
        let value = secret.value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| failed(true, "it is empty".to_owned()))?;
        let value = SecretString::from(value);
        let held = Held { value: value.clone(), at: clock::now() };
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), held);
        Ok(value)
    }
}

fn wrong(reason: String) -> SecretError {
    SecretError::VaultConfig { reason }
}

fn credential(
    config: &VaultConfig,
    transport: Option<Transport>,
) -> Result<Arc<dyn TokenCredential>, SecretError> {
    if config.managed_identity {
        let identity = ManagedIdentityCredential::new(None);
        return Ok(identity.map_err(|error| wrong(error_text(&error)))?);
    }
    let given = |value: &Option<String>, key: &str, variable: &str| {
        let value = value.clone().or_else(|| std::env::var(variable).ok());
        value.ok_or_else(|| wrong(format!("give `{key}`, or set {variable}")))
    };
    let tenant = given(&config.tenant_id, "tenant_id", "AZURE_TENANT_ID")?;
    let client = given(&config.client_id, "client_id", "AZURE_CLIENT_ID")?;
    let reference = config.client_secret.as_deref().unwrap_or("env:AZURE_CLIENT_SECRET");
    let secret = resolve(reference)?;
    let authority = config.authority.clone().or_else(|| std::env::var("AZURE_AUTHORITY_HOST").ok());
    let cloud = authority.map(|url| {
        let mut custom = CustomConfiguration::default();
        custom.authority_host = url;
        Arc::new(CloudConfiguration::Custom(custom))
    });
    let options = ClientSecretCredentialOptions {
        client_options: ClientOptions { transport, cloud, ..ClientOptions::default() },
    };
    let secret = Secret::new(secret.expose_secret().to_owned());
    let made = ClientSecretCredential::new(&tenant, client, secret, Some(options));
    Ok(made.map_err(|error| wrong(error_text(&error)))?)
}

/// Whether somebody must mend something; all else passes by itself.
fn is_refusal(error: &azure_core::Error) -> bool {
    let status = error.http_status().map(u16::from);
    // The authority's refusals have no status of their own, but codes that begin so.
    matches!(status, Some(400 | 401 | 403 | 404)) || error_text(error).contains("AADSTS")
}

fn told(error: &azure_core::Error) -> String {
    let fix = match error.http_status().map(u16::from) {
        Some(403) => "; give the service principal the right to read it (Key Vault Secrets User)",
        Some(404) => "; look at its name",
        _ => "",
    };
    format!("{}{fix}", error_text(error))
}
