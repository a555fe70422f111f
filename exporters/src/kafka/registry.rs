//! The schema registry's REST interface, as Confluent's: a file of its own, as only Avro needs it.

use std::time::Duration;

use headwater_storage::foreign::BODY_BYTES_MAX;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::ExportError;
use crate::error::{chain_of, words_of};

use super::config::RegistryConfig;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A registry.
pub(super) struct Registry {
    config: RegistryConfig,
    client: reqwest::Client,
}

/// What a registry answered.
struct Answer {
    status: StatusCode,
    body: Value,
    text: String,
}

impl Registry {
    pub(super) fn new(config: RegistryConfig) -> Result<Registry, String> {
        let mut builder = reqwest::Client::builder().timeout(TIMEOUT).referer(false);
        builder = builder.redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.certificate {
            let named = |reason: String| {
                format!("`schema_registry.certificate` {}: {reason}", path.display())
            };
            let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
            let bundle = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(named("it holds no certificate in PEM".to_owned()));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Registry { config, client })
    }

    /// The id of a schema under a subject, when it is registered.
    pub(super) async fn find(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<Option<u32>, ExportError> {
        let path = format!("subjects/{subject}");
        let answer = self.ask(Method::POST, &path, Some(schema)).await?;
        match answer.status {
            StatusCode::OK => self.id(&answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.failure(&answer, subject)),
        }
    }

    /// The id of a schema; registers it where that is allowed and compatible.
    pub(super) async fn ensure(&self, subject: &str, schema: &str) -> Result<u32, ExportError> {
        if let Some(id) = self.find(subject, schema).await? {
            return Ok(id);
        }
        if !self.config.auto_register {
            return Err(ExportError::Missing {
                sink: self.sink(),
                what: format!("this version's schema under the subject {subject}"),
                fix: "register what `headwater exporters check` prints, or set \
                      `schema_registry.auto_register = true`"
                    .to_owned(),
            });
        }
        let path = format!("compatibility/subjects/{subject}/versions/latest?verbose=true");
        let answer = self.ask(Method::POST, &path, Some(schema)).await?;
        let is_refused = answer.body.get("is_compatible") == Some(&Value::Bool(false));
        if is_refused {
            return Err(self.incompatible(subject, &answer));
        }
        if !answer.status.is_success() && answer.status != StatusCode::NOT_FOUND {
            return Err(self.failure(&answer, subject));
        }
        let path = format!("subjects/{subject}/versions");
        let answer = self.ask(Method::POST, &path, Some(schema)).await?;
        if answer.status == StatusCode::CONFLICT {
            return Err(self.incompatible(subject, &answer));
        }
        if !answer.status.is_success() {
            return Err(self.failure(&answer, subject));
        }
        tracing::info!(subject, "registered a schema");
        self.id(&answer)
    }

    fn sink(&self) -> String {
        format!("the schema registry {}", self.config.url)
    }

    fn id(&self, answer: &Answer) -> Result<u32, ExportError> {
        let id = answer.body.get("id").and_then(Value::as_u64);
        id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| ExportError::Unavailable {
            sink: self.sink(),
            reason: format!("its answer has no id: {}", words_of(&answer.text)),
        })
    }

    fn incompatible(&self, subject: &str, answer: &Answer) -> ExportError {
        let words = answer.body.get("messages").or(answer.body.get("message"));
        let words = words_of(&words.map_or_else(|| answer.text.clone(), Value::to_string));
        ExportError::Refused {
            sink: self.sink(),
            reason: format!(
                "this version's schema is not compatible with subject {subject} (409): {words}; \
                 give the exporter another `prefix`, or the subject another level"
            ),
        }
    }

    fn failure(&self, answer: &Answer, subject: &str) -> ExportError {
        let (sink, status) = (self.sink(), answer.status);
        let words = answer.body.get("message").and_then(Value::as_str).unwrap_or(&answer.text);
        let words = match (status, words_of(words).as_str()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, "") => {
                "look at user and password".to_owned()
            }
            (_, words) => words.to_owned(),
        };
        let reason = format!("{status} for the subject {subject}: {words}");
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return ExportError::Unavailable { sink, reason };
        }
        ExportError::Refused { sink, reason }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        schema: Option<&str>,
    ) -> Result<Answer, ExportError> {
        let url = format!("{}/{path}", self.config.url.trim_end_matches('/'));
        let mut request = self.client.request(method, url).header("content-type", CONTENT_TYPE);
        if let Some(user) = &self.config.user {
            let password = self.config.password.as_ref().map(SecretString::expose_secret);
            request = request.basic_auth(user, password);
        }
        if let Some(schema) = schema {
            request = request.body(json!({ "schema": schema }).to_string());
        }
        let unavailable = |error: reqwest::Error| {
            let (sink, reason) = (self.sink(), chain_of(&error.without_url()));
            if reason.contains("invalid peer certificate") {
                let fix = "is `schema_registry.certificate` its authority?";
                return ExportError::Refused { sink, reason: format!("{reason}: {fix}") };
            }
            ExportError::Unavailable { sink, reason }
        };
        let mut response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                body.truncate(BODY_BYTES_MAX);
                break;
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }
}
