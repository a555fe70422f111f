//! A chain's endpoints, asked in order of health.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::model::ChainName;
use reqwest::Client;

use crate::clock;
use crate::secrets::{self, SecretError};

use super::health::{Health, order};
use super::{Call, Cause, Endpoint, EndpointStatus, ProviderConfig, RpcError};

/// A chain's endpoints.
#[derive(Clone)]
pub struct Pool {
    chain: ChainName,
    endpoints: Vec<Arc<Endpoint>>,
}

/// Why a pool cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A key cannot be had.
    #[error("provider `{provider}` of chain `{chain}`: its key cannot be read")]
    Key {
        /// The chain.
        chain: ChainName,
        /// The provider.
        provider: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// The URL is no URL, or lacks its key.
    #[error("provider `{provider}` of chain `{chain}`: {reason}")]
    Url {
        /// The chain.
        chain: ChainName,
        /// The provider.
        provider: String,
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Pool {
    /// A pool of a chain's providers, one endpoint per key.
    pub fn new(chain: &ChainName, providers: &[ProviderConfig]) -> Result<Pool, PoolError> {
        let mut endpoints = Vec::new();
        for provider in providers {
            check_url(chain, provider)?;
            let client = Client::builder()
                .timeout(Duration::from_secs(provider.timeout_secs))
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(30))
                .build()
                .map_err(PoolError::Client)?;
            if provider.keys.is_empty() {
                let name = provider.name.clone();
                endpoints.push(Arc::new(Endpoint::new(provider, name, None, client.clone())));
            }
            for (at, reference) in provider.keys.iter().enumerate() {
                let key = secrets::resolve(reference).map_err(|source| PoolError::Key {
                    chain: chain.clone(),
                    provider: provider.name.clone(),
                    source,
                })?;
                let name = match provider.keys.len() {
                    1 => provider.name.clone(),
                    _ => format!("{}#{}", provider.name, at + 1),
                };
                endpoints.push(Arc::new(Endpoint::new(provider, name, Some(key), client.clone())));
            }
        }
        Ok(Pool { chain: chain.clone(), endpoints })
    }

    /// The chain.
    pub fn chain(&self) -> &ChainName {
        &self.chain
    }

    /// Endpoints that are not resting, the best first.
    pub fn order(&self) -> Vec<Arc<Endpoint>> {
        let healths: Vec<Health> = self.endpoints.iter().map(|e| e.health()).collect();
        let order = order(&healths, clock::now());
        order.into_iter().filter_map(|at| self.endpoints.get(at).cloned()).collect()
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// What the API shows.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.endpoints.iter().map(|endpoint| endpoint.status()).collect()
    }

    /// Calls made since the start.
    pub fn requests(&self) -> u64 {
        self.status().iter().map(|endpoint| endpoint.requests).sum()
    }

    /// Asks one endpoint after the other until one answers.
    pub async fn ask<T>(&self, call: &Call) -> Result<Option<T>, RpcError>
    where
        T: serde::de::DeserializeOwned,
    {
        let mut last = self.nobody(call.method);
        for endpoint in self.order() {
            match endpoint.single(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    endpoint.failed(&error);
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The error when every endpoint rests.
    pub fn nobody(&self, method: &'static str) -> RpcError {
        let last = self.status().into_iter().find_map(|endpoint| endpoint.last_error);
        RpcError {
            provider: self.chain.to_string(),
            method,
            cause: Cause::Resting,
            reason: match last {
                Some(error) => format!("every provider rests; the last error was: {error}"),
                None => "no provider is configured".to_owned(),
            },
        }
    }
}

fn check_url(chain: &ChainName, provider: &ProviderConfig) -> Result<(), PoolError> {
    let wrong = |reason: &str| {
        let (chain, provider) = (chain.clone(), provider.name.clone());
        Err(PoolError::Url { chain, provider, reason: reason.to_owned() })
    };
    if !provider.url.starts_with("http://") && !provider.url.starts_with("https://") {
        return wrong("`url` must start with http:// or https://");
    }
    match (provider.url.contains("{key}"), provider.keys.is_empty()) {
        (true, true) => wrong("`url` has {key} but there are no `keys`"),
        (false, false) => wrong("there are `keys` but `url` has no {key}"),
        (true, false) | (false, true) => Ok(()),
    }
}
