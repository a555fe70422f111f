//! Requests to the service, each signed or with a token.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use crate::clock::unix_micros;
use crate::error::chain_of;

use super::config::{AzureTablesConfig, PrincipalConfig};
use super::failure::{Failure, failure};
use super::group::error_of;
use super::signature::{decode_key, shared_key};

/// The service's version whose rules these are.
const VERSION: &str = "2020-12-06";
const SCOPE: &str = "https://storage.azure.com/.default";
/// Longer than the service itself works at a request: what got no answer is not done any more.
const MORE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one account's tables.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: String,
    account: String,
    timeout_secs: u32,
    access: Access,
}

enum Access {
    Key(Vec<u8>),
    Sas(String),
    Token(Arc<dyn TokenCredential>),
}

/// A request.
pub(super) struct Request<'a> {
    pub(super) verb: &'static str,
    /// Behind the endpoint, without a slash first; keys in it are encoded.
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: String,
    /// The version of what is replaced or deleted.
    pub(super) if_match: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn new(verb: &'static str, path: &'a str) -> Request<'a> {
        Request {
            verb,
            path,
            content_type: "application/json",
            body: String::new(),
            if_match: None,
        }
    }
}

/// An answer that is a success.
pub(super) struct Answer {
    pub(super) body: String,
    pub(super) etag: String,
}

impl Client {
    /// What is wrong with the keys comes as text.
    pub(super) fn new(config: &AzureTablesConfig) -> Result<Client, String> {
        let timeout = Duration::from_secs(u64::from(config.request_timeout_secs)) + MORE;
        let mut builder =
            reqwest::Client::builder().timeout(timeout).connect_timeout(CONNECT_TIMEOUT);
        // Nobody else is shown the signature.
        builder = builder.referer(false).redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.certificate {
            let named = |reason: String| format!("`certificate` {}: {reason}", path.display());
            let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
            let bundle = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(named("it holds no certificate in PEM".to_owned()));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        let http = builder.build().map_err(|error| error.to_string())?;
        let access = access(config, &http)?;
        let (endpoint, account) = (config.endpoint(), config.account.clone());
        Ok(Client { http, endpoint, account, timeout_secs: config.request_timeout_secs, access })
    }

    /// The URL of a table.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}/{name}", self.endpoint)
    }

    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let Request { verb, path, content_type, body, if_match } = request;
        let url = format!("{}/{path}", self.endpoint);
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let now = Duration::from_micros(u64::try_from(unix_micros()).unwrap_or(0));
        let date = httpdate::fmt_http_date(UNIX_EPOCH + now);
        set("x-ms-date", &date);
        set("x-ms-version", VERSION);
        set("dataserviceversion", "3.0;NetFx");
        set("maxdataserviceversion", "3.0;NetFx");
        set("accept", "application/json;odata=fullmetadata");
        set("content-type", content_type);
        if let Some(version) = if_match {
            set("if-match", version);
        }
        let mut query = format!("timeout={}", self.timeout_secs);
        match &self.access {
            Access::Key(key) => {
                let resource = format!("/{}{}", self.account, path_of(&url));
                let what = (verb, content_type);
                set("authorization", &shared_key(key, &self.account, what, &date, &resource));
            }
            Access::Sas(sas) => query = format!("{query}&{sas}"),
            Access::Token(credential) => {
                set("authorization", &format!("Bearer {}", token(credential).await?));
            }
        }
        let verb = reqwest::Method::from_bytes(verb.as_bytes()).unwrap_or_default();
        let sent = self.http.request(verb, format!("{url}?{query}")).headers(headers);
        let away = |error: reqwest::Error| {
            let is_cut = !error.is_connect() && !error.is_timeout();
            let words = chain_of(&error.without_url());
            if words.contains("invalid peer certificate") {
                return Failure::Refused(format!("{words}: is `certificate` its authority?"));
            }
            if is_cut { Failure::Cut(words) } else { Failure::Away(words) }
        };
        let response = sent.body(body).send().await.map_err(away)?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (etag, named) = (header("etag"), header("x-ms-error-code"));
        let body = response.text().await.map_err(away)?;
        let (code, words) = error_of(Some(&body));
        let code = if named.is_empty() { code } else { named };
        // Refusals of authentication are XML.
        let words = if words.is_empty() { detail_of(&body).to_owned() } else { words };
        match failure(status, &code, &words, None) {
            None => Ok(Answer { body, etag }),
            Some(failure) => Err(failure),
        }
    }
}

fn access(config: &AzureTablesConfig, http: &reqwest::Client) -> Result<Access, String> {
    if let Some(key) = &config.key {
        let key = decode_key(key.expose_secret());
        return Ok(Access::Key(key.ok_or("`key` is not base64")?));
    }
    if let Some(sas) = &config.sas {
        return Ok(Access::Sas(sas.expose_secret().trim_start_matches('?').to_owned()));
    }
    if let Some(principal) = &config.principal {
        return Ok(Access::Token(credential(principal, http)?));
    }
    let identity = ManagedIdentityCredential::new(None);
    Ok(Access::Token(
        identity.map_err(|error| format!("`managed_identity`: {}", chain_of(&error)))?,
    ))
}

fn credential(
    principal: &PrincipalConfig,
    http: &reqwest::Client,
) -> Result<Arc<dyn TokenCredential>, String> {
    let PrincipalConfig { tenant_id, client_id, client_secret, authority } = principal;
    let cloud = authority.as_ref().map(|url| {
        let mut custom = CustomConfiguration::default();
        custom.authority_host.clone_from(url);
        Arc::new(CloudConfiguration::Custom(custom))
    });
    let options = ClientSecretCredentialOptions {
        client_options: ClientOptions {
            transport: Some(Transport::new(Arc::new(http.clone()))),
            cloud,
            ..ClientOptions::default()
        },
    };
    let secret = Secret::new(client_secret.expose_secret().to_owned());
    let made = ClientSecretCredential::new(tenant_id, client_id.clone(), secret, Some(options));
    Ok(made.map_err(|error| format!("`principal`: {}", chain_of(&error)))?)
}

async fn token(credential: &Arc<dyn TokenCredential>) -> Result<String, Failure> {
    let token = credential.get_token(&[SCOPE], None).await;
    let token = token.map_err(|error| {
        let words = chain_of(&error);
        let status = error.http_status().map(u16::from);
        // The authority's own codes begin so; a machine's identity has a status alone. All else is
        // the way there.
        let is_refusal = matches!(status, Some(400 | 401 | 403)) || words.contains("AADSTS");
        if is_refusal { Failure::Refused(words) } else { Failure::Away(words) }
    })?;
    Ok(token.token.secret().to_owned())
}

/// The path of a URL, with its slash.
fn path_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map(|at| host + at);
    path.and_then(|at| url.get(at..)).unwrap_or("/")
}

fn detail_of(xml: &str) -> &str {
    let between = |tag: &str| {
        let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
    };
    let found = between("AuthenticationErrorDetail").or_else(|| between("Message"));
    found.unwrap_or_default().lines().next().unwrap_or_default()
}
