//! How a provider is reached: what its URL must look like, and where a redirect may lead.

use std::time::Duration;

use headwater_storage::model::ChainName;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::{PoolError, ProviderConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects that are followed, one after the other.
const REDIRECTS_MAX: usize = 3;

/// A client for one provider. It tells nobody by which URL it came.
pub(super) fn client(provider: &ProviderConfig) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(Duration::from_secs(provider.timeout_secs))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .referer(false)
        .redirect(redirects())
        .build()
}

/// A provider may send us on to another path of its own, with the same body. Another host, port or
/// scheme would be shown the key, and a redirect that makes a GET of a POST asks for nothing.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let is_same_request = matches!(attempt.status().as_u16(), 307 | 308);
        let before = attempt.previous();
        let is_same_place = before.last().is_some_and(|url| url.origin() == attempt.url().origin());
        if is_same_request && is_same_place && before.len() <= REDIRECTS_MAX {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// Whether its URLs can be used, and have the key where there are keys.
pub(super) fn check_url(chain: &ChainName, provider: &ProviderConfig) -> Result<(), PoolError> {
    let wrong = |reason: &str| {
        let (chain, provider) = (chain.clone(), provider.name.clone());
        Err(PoolError::Url { chain, provider, reason: reason.to_owned() })
    };
    if !provider.url.starts_with("http://") && !provider.url.starts_with("https://") {
        return wrong("`url` must start with http:// or https://");
    }
    if let Some(url) = &provider.ws_url {
        if !url.starts_with("ws://") && !url.starts_with("wss://") {
            return wrong("`ws_url` must start with ws:// or wss://");
        }
        if url.contains("{key}") && provider.keys.is_empty() {
            return wrong("`ws_url` has {key} but there are no `keys`");
        }
    }
    match (provider.url.contains("{key}"), provider.keys.is_empty()) {
        (true, true) => wrong("`url` has {key} but there are no `keys`"),
        (false, false) => wrong("there are `keys` but `url` has no {key}"),
        (true, false) | (false, true) => Ok(()),
    }
}
