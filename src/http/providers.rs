//! The providers' keys: how each does, what it was used for and how long it lasts.

use axum::Json;
use axum::extract::State;
use headwater_storage::ledger::KeyUsage;
use headwater_storage::store::StoreError;
use serde::Serialize;

use crate::node::Node;
use crate::rpc::EndpointStatus;

use super::error::ApiError;
use super::server::App;

/// Everything that `headwater providers` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ProvidersDocument {
    /// Every key of every chain; empty when the node is stopped.
    pub providers: Vec<ProviderView>,
    /// What the ledger knows of the use of keys, by key and day (hour, where the day is rolling).
    pub usage: Vec<UsageView>,
}

/// One key of a provider, on one chain.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderView {
    /// The chain.
    pub chain: String,
    /// How it does.
    #[serde(flatten)]
    pub endpoint: EndpointStatus,
}

/// What a key was used for.
#[derive(Clone, Debug, Serialize)]
pub struct UsageView {
    /// The key's reference, or chain and provider where there is none.
    pub key: String,
    /// The first second, since 1970-01-01 UTC.
    pub start: u64,
    /// Units, calls by method and outcome, the last call.
    #[serde(flatten)]
    pub usage: headwater_storage::ledger::Usage,
}

impl ProvidersDocument {
    /// The document of a node; `is_running` has the keys at work too.
    pub fn of(
        node: &Node,
        is_running: bool,
    ) -> Result<ProvidersDocument, headwater_storage::ledger::LedgerError> {
        let chains = node.chains.iter().filter(|_| is_running);
        let providers = chains.flat_map(|chain| {
            let name = chain.chain.name().to_string();
            let endpoints = chain.source.pool().status().into_iter();
            endpoints.map(move |endpoint| ProviderView { chain: name.clone(), endpoint })
        });
        let view = |row: KeyUsage| UsageView { key: row.key, start: row.start, usage: row.usage };
        let usage = node.data_dir.ledger().usage()?.into_iter().map(view).collect();
        Ok(ProvidersDocument { providers: providers.collect(), usage })
    }
}

/// `GET /v1/providers`.
pub(super) async fn list(State(app): State<App>) -> Result<Json<ProvidersDocument>, ApiError> {
    let node = app.node.clone();
    let document = app.bounds.read(move || ProvidersDocument::of(&node, true)).await?;
    Ok(Json(document.map_err(StoreError::from)?))
}
