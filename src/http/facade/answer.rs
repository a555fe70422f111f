//! Bodies of calls: single ones, batches, and what each method gives.

use std::sync::Arc;

use alloy_primitives::keccak256;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headwater_storage::store::{Chain, ChainState};
use serde_json::{Value, json};

use crate::capture::ChainStatus;
use crate::http::bounds::{Bounds, Share};
use crate::http::chains::find;
use crate::http::door::Accounted;
use crate::http::error::ApiError;
use crate::http::server::App;
use crate::node::Node;

use super::error::CallError;
use super::fees::FeeQuestion;
use super::filters::Filters;
use super::params::Params;
use super::read::{Ends, Question, quantity};
use super::refused::refusal;

/// Calls in one batch; as in go-ethereum.
const BATCH_CALLS_MAX: usize = 1_000;
/// Bytes of the answers to one batch; the call that passes it is still answered.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// One chain, as a node would answer for it.
pub(super) struct Facade {
    pub(super) node: Arc<Node>,
    pub(super) chain: Arc<Chain>,
    pub(super) status: Arc<ChainStatus>,
    pub(super) bounds: Bounds,
    pub(super) filters: Filters,
    has_traces: bool,
}

/// A call as it came.
pub(super) struct Request {
    /// `None` for a notification, which nobody waits for.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Result<Params, CallError>,
}

impl Request {
    pub(super) fn read(call: Value) -> Result<Request, CallError> {
        let Value::Object(mut call) = call else {
            return Err(CallError::Request("a call is an object"));
        };
        let Some(Value::String(method)) = call.remove("method") else {
            return Err(CallError::Request("`method` is no text"));
        };
        Ok(Request { id: call.remove("id"), method, params: Params::new(call.remove("params")) })
    }
}

/// A call's answer; `method` is the one that it names.
pub(super) fn text_of(
    id: &Value,
    method: Option<&str>,
    given: Result<String, CallError>,
) -> String {
    match given {
        Ok(result) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}"),
        Err(error) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": error.object(method) }).to_string()
        }
    }
}

impl Facade {
    /// The chain of a name.
    pub(super) fn new(app: &App, name: &str) -> Result<Facade, ApiError> {
        let node = find(app, name)?;
        Ok(Facade {
            chain: node.chain.clone(),
            status: node.status.clone(),
            has_traces: node.config.traces,
            node: app.node.clone(),
            bounds: app.bounds.clone(),
            filters: app.filters.clone(),
        })
    }

    /// Answers a body, with the share that the bytes of the answer have; `None` where nobody waits
    /// for one.
    pub(super) async fn answer(&self, body: &[u8]) -> Option<(String, Share)> {
        let mut share = self.bounds.answer();
        let text = self.text(body, &mut share).await?;
        Some((text, share))
    }

    async fn text(&self, body: &[u8], share: &mut Share) -> Option<String> {
        let refused = |error| Some(text_of(&Value::Null, None, Err(error)));
        match serde_json::from_slice(body) {
            Err(error) => refused(CallError::Parse(error)),
            Ok(Value::Array(calls)) if calls.is_empty() => {
                refused(CallError::Request("an empty batch"))
            }
            Ok(Value::Array(calls)) if calls.len() > BATCH_CALLS_MAX => {
                refused(CallError::Request("a batch has at most 1000 calls"))
            }
            Ok(Value::Array(calls)) => self.batch(calls, share).await,
            Ok(call) => self.one(call, true, share).await,
        }
    }

    async fn batch(&self, calls: Vec<Value>, share: &mut Share) -> Option<String> {
        let mut out = String::from("[");
        for call in calls {
            let has_room = out.len() < BATCH_BYTES_MAX;
            let Some(text) = self.one(call, has_room, share).await else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            out += &text;
        }
        out.push(']');
        (out.len() > 2).then_some(out)
    }

    async fn one(&self, call: Value, has_room: bool, share: &mut Share) -> Option<String> {
        let request = match Request::read(call) {
            Ok(request) => request,
            Err(error) => return Some(text_of(&Value::Null, None, Err(error))),
        };
        let id = request.id?;
        let given = match request.params {
            Ok(_) if !has_room => Err(CallError::TooBig { max: BATCH_BYTES_MAX }),
            Ok(params) => self.give(&request.method, &params).await,
            Err(error) => Err(error),
        };
        // What is not counted is not kept: the answers of all clients have a bound together.
        let bytes = given.as_ref().map_or(0, String::len);
        let given = match share.grow(bytes).await {
            Ok(()) => given,
            Err(busy) => Err(busy.into()),
        };
        Some(text_of(&id, Some(&request.method), given))
    }

    /// What a method gives, as JSON.
    pub(super) async fn give(&self, method: &str, params: &Params) -> Result<String, CallError> {
        params.fit(method)?;
        match method {
            "web3_clientVersion" => Ok(format!("\"headwater/{}\"", env!("CARGO_PKG_VERSION"))),
            "net_version" => Ok(format!("\"{}\"", self.chain.chain_id())),
            "eth_chainId" => Ok(quantity(self.chain.chain_id())),
            "eth_blockNumber" => Ends::of(&self.chain).latest().map(|block| quantity(block.number)),
            "eth_syncing" => Ok(self.syncing()),
            // Clients ask this at start: there are no accounts, no mining and no peers here.
            "eth_accounts" => Ok("[]".to_owned()),
            "eth_mining" => Ok("false".to_owned()),
            "net_listening" => Ok("true".to_owned()),
            "eth_hashrate" | "net_peerCount" => Ok(quantity(0_u64)),
            "web3_sha3" => Ok(format!("\"{}\"", keccak256(params.bytes(0)?))),
            "eth_getLogs" => self.logs(params).await,
            "eth_newFilter" | "eth_newBlockFilter" => self.install(method, params),
            "eth_uninstallFilter" => self.uninstall(params),
            "eth_getFilterChanges" => self.filter_changes(params).await,
            "eth_getFilterLogs" => self.filter_logs(params).await,
            "trace_block" | "trace_transaction" if !self.has_traces => Err(CallError::TracesOff),
            _ => self.read(method, params).await,
        }
    }

    /// What a method gives that reads blocks.
    async fn read(&self, method: &str, params: &Params) -> Result<String, CallError> {
        let chain = self.chain.clone();
        if let Some(fees) = FeeQuestion::of(method, params)? {
            let answer = move |is_wanted: &dyn Fn() -> bool| fees.answer(&chain, is_wanted);
            return self.bounds.read_while(answer).await?;
        }
        let question = Question::of(method, params)?.ok_or_else(|| refusal(method))?;
        self.bounds.read(move || question.answer(&chain)).await?
    }

    /// `false`, or how far the chain is behind its providers.
    fn syncing(&self) -> String {
        let highest = self.status.view().provider_head;
        let state = |state: &ChainState| {
            let first = state.captured().iter().next_back().map(|range| range.first);
            (state.latest().map(|block| block.number), first)
        };
        let (current, first) = self.chain.with_state(state);
        match (current, highest) {
            (Some(current), Some(highest)) if current < highest => json!({
                "startingBlock": format!("{:#x}", first.unwrap_or(current)),
                "currentBlock": format!("{current:#x}"),
                "highestBlock": format!("{highest:#x}"),
            })
            .to_string(),
            (_, _) => "false".to_owned(),
        }
    }
}

/// `POST /rpc/{chain}`: one call, or a batch.
pub(in crate::http) async fn post(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let facade = Facade::new(&app, &name)?;
    let bytes = match facade.answer(&body).await {
        Some((text, share)) => share.keep(text.into()),
        None => Bytes::new(),
    };
    let mut response = ([(header::CONTENT_TYPE, "application/json")], bytes).into_response();
    response.extensions_mut().insert(Accounted);
    Ok(response)
}
