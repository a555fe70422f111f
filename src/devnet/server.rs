//! HTTP and WebSocket on one port, and the clock that mines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::supervisor::{Shutdown, on_cpu};

use super::Provider;
use super::meter::Refusal;
use super::node::{DevNode, DevnetError};
use super::rpc;

const BODY_BYTES_MAX: usize = 4 << 20;

/// A devnet that listens.
pub struct Devnet {
    provider: Arc<Provider>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Devnet {
    /// Listens; port 0 takes a free one.
    pub async fn bind(node: Arc<DevNode>, listen: SocketAddr) -> Result<Devnet, DevnetError> {
        let failed = |source| DevnetError::Listen { address: listen.to_string(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let provider = Arc::new(Provider::new(node));
        Ok(Devnet { provider, listener, address })
    }

    /// What it answers with, to set its faults.
    pub fn provider(&self) -> Arc<Provider> {
        self.provider.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), std::io::Error> {
        let router = axum::Router::new()
            .route("/", get(upgrade).post(http))
            .route("/{*key}", get(upgrade).post(http))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.provider);
        let serving = axum::serve(self.listener, router);
        tokio::select! {
            result = async { serving.await } => result,
            () = shutdown.requested() => Ok(()),
        }
    }
}

/// Mines a block after each block time, with a reorg now and then, until shutdown.
pub async fn mine(node: Arc<DevNode>, mut shutdown: Shutdown) -> Result<(), DevnetError> {
    let config = node.config().clone();
    if config.block_time.is_zero() {
        shutdown.requested().await;
        return Ok(());
    }
    let mut ticks = tokio::time::interval(config.block_time);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return Ok(()),
        }
        let node = node.clone();
        on_cpu(move || {
            let is_due =
                config.reorg_every > 0 && (node.head() + 1).is_multiple_of(config.reorg_every);
            if is_due { node.reorg(1 + node.roll(config.reorg_depth)) } else { node.mine(1) }
        })
        .await?;
    }
}

async fn upgrade(State(provider): State<Arc<Provider>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| talk(provider, socket))
}

/// Calls in a body, as providers count them.
fn calls_in(body: &[u8]) -> u64 {
    match serde_json::from_slice(body) {
        Ok(Value::Array(calls)) => calls.len() as u64,
        Ok(_) | Err(_) => 1,
    }
}

async fn http(State(provider): State<Arc<Provider>>, uri: Uri, body: Bytes) -> Response {
    let faults = provider.faults();
    let key = uri.path().rsplit('/').next().unwrap_or_default();
    let (_under_way, counted) = provider.begin(key, calls_in(&body));
    if let Err(refusal) = counted {
        return refused(refusal);
    }
    if provider.happens(faults.throttle) {
        let text = json!({ "error": { "code": -32005, "message": "rate limit exceeded" } });
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, retry, text.to_string()).into_response();
    }
    if provider.happens(faults.unavailable) {
        return (StatusCode::SERVICE_UNAVAILABLE, "try again").into_response();
    }
    if provider.happens(faults.stall) {
        tokio::time::sleep(Duration::from_millis(faults.stall_ms)).await;
    }
    if provider.happens(faults.endless) {
        let blanks = || Ok::<_, std::io::Error>(" ".repeat(1 << 16));
        return Body::from_stream(futures::stream::repeat_with(blanks)).into_response();
    }
    let is_cut = provider.happens(faults.cut);
    let asked = provider.clone();
    let text = on_cpu(move || rpc::answer(&asked, &body)).await;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    if !is_cut {
        return (kind, text).into_response();
    }
    let half: String = text.chars().take(text.len() / 2).collect();
    let pieces = [Ok(half), Err(std::io::Error::other("cut on request"))];
    (kind, Body::from_stream(futures::stream::iter(pieces))).into_response()
}

/// As Infura answers.
fn refused(refusal: Refusal) -> Response {
    let (status, code, message) = match refusal {
        Refusal::Throttled => {
            (StatusCode::TOO_MANY_REQUESTS, -32005, "project ID request rate exceeded")
        }
        Refusal::Spent => (StatusCode::PAYMENT_REQUIRED, 402, "Payment Required"),
    };
    let text = json!({ "error": { "code": code, "message": message } });
    (status, text.to_string()).into_response()
}

/// Calls over WebSocket, and `eth_subscribe("newHeads")`.
async fn talk(provider: Arc<Provider>, mut socket: WebSocket) {
    let mut heads = provider.chain.heads();
    let mut is_subscribed = false;
    loop {
        let out = tokio::select! {
            head = heads.recv() => match head {
                Ok(head) if is_subscribed && !provider.faults().silent => {
                    notification(&provider, &head)
                }
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    let call: Value = serde_json::from_str(&text).unwrap_or_default();
                    if call.get("method").and_then(Value::as_str) == Some("eth_subscribe") {
                        is_subscribed = true;
                        let id = call.get("id");
                        json!({ "jsonrpc": "2.0", "id": id, "result": "0x1" }).to_string()
                    } else {
                        rpc::answer(&provider, text.as_bytes())
                    }
                }
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if socket.send(Message::Text(out.into())).await.is_err() {
            return;
        }
    }
}

fn notification(provider: &Provider, head: &Value) -> String {
    let mut head = head.clone();
    let above = provider.faults().announce_above;
    if above > 0
        && let Some(object) = head.as_object_mut()
    {
        let number = provider.chain.head() + above;
        object.insert("number".to_owned(), format!("{number:#x}").into());
    }
    json!({
        "jsonrpc": "2.0",
        "method": "eth_subscription",
        "params": { "subscription": "0x1", "result": head },
    })
    .to_string()
}
