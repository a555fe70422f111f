//! The same calls over WebSocket, and `eth_subscribe` to new heads and logs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use bytes::Bytes;
use headwater_storage::model::{Block, Lane, Lsn, Op, OwnedEvent};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::http::door::{Phase, Slot};
use crate::http::error::ApiError;
use crate::http::server::{App, BODY_BYTES_MAX};

use super::answer::{Facade, Request, text_of};
use super::error::CallError;
use super::news::{Topic, logs_of};
use super::params::Params;
use super::refused::refusal;

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 128;
/// Addresses and hashes that the subscriptions of one connection name together.
const NAMED_MAX: usize = 10_000;
/// How often a client is asked whether it is there, and how long it may not answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A connection.
struct Talk {
    facade: Facade,
    socket: WebSocket,
    topics: BTreeMap<u64, Topic>,
    /// Subscriptions so far.
    count: u64,
    /// The last record that subscriptions were told of.
    told: Lsn,
}

/// `GET /rpc/{chain}`, upgraded.
pub(in crate::http) async fn upgrade(
    State(app): State<App>,
    Path(name): Path<String>,
    slot: Option<Extension<Arc<Slot>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let facade = Facade::new(&app, &name)?;
    let upgrade = upgrade.map_err(|rejection| ApiError::Invalid {
        what: rejection.body_text(),
        fix: "POST a call here, or open a WebSocket",
    })?;
    let upgrade = upgrade.max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    let place = app.bounds.socket()?;
    let mut shutdown = app.shutdown.clone();
    Ok(upgrade.on_upgrade(move |socket| async move {
        if let Some(Extension(slot)) = slot {
            slot.enter(Phase::Socket);
        }
        let told = facade.chain.log().durable();
        let talk = Talk { facade, socket, topics: BTreeMap::new(), count: 0, told };
        tokio::select! {
            () = talk.run() => {}
            () = shutdown.requested() => {}
        }
        drop(place);
    }))
}

impl Talk {
    /// Until the other side ends, or does not read, or is not there any more.
    async fn run(mut self) {
        let mut durable = self.facade.chain.durable();
        let mut heard = clock::now();
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                message = self.socket.recv() => {
                    heard = clock::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(text.as_bytes()).await,
                        Some(Ok(Message::Binary(bytes))) => self.hear(&bytes).await,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    }
                }
                moved = durable.changed(), if !self.topics.is_empty() => match moved {
                    Ok(()) => {
                        let upto = *durable.borrow_and_update();
                        self.tell(upto).await
                    }
                    Err(_) => return,
                },
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return;
                    }
                    self.socket.send(Message::Ping(Bytes::new())).await
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn hear(&mut self, body: &[u8]) -> Result<(), axum::Error> {
        // As of bodies over HTTP: what is read as JSON takes many times its bytes.
        let mut asked = self.facade.bounds.body();
        if let Err(busy) = asked.grow(body.len()).await {
            let text = text_of(&Value::Null, None, Err(busy.into()));
            return self.socket.send(Message::Text(text.into())).await;
        }
        if let Some(text) = self.order(body) {
            return self.socket.send(Message::Text(text.into())).await;
        }
        // The share of the answer counts until it is written.
        let Some((text, _share)) = self.facade.answer(body).await else { return Ok(()) };
        drop(asked);
        self.socket.send(Message::Text(text.into())).await
    }

    /// Answers `eth_subscribe` and `eth_unsubscribe`, which only a connection has.
    fn order(&mut self, body: &[u8]) -> Option<String> {
        let request = Request::read(serde_json::from_slice(body).ok()?).ok()?;
        let act = match request.method.as_str() {
            "eth_subscribe" => Talk::subscribe,
            "eth_unsubscribe" => Talk::unsubscribe,
            _ => return None,
        };
        let method = request.method;
        let given = request.params.and_then(|params| {
            params.fit(&method)?;
            act(self, &params)
        });
        Some(text_of(&request.id.unwrap_or_default(), Some(&method), given))
    }

    fn subscribe(&mut self, params: &Params) -> Result<String, CallError> {
        if self.topics.len() >= SUBSCRIPTIONS_MAX {
            return Err(CallError::Request("a connection has at most 128 subscriptions"));
        }
        let topic = match params.required(0)?.as_str() {
            Some("newHeads") => {
                params.at_most(1)?;
                Topic::Heads
            }
            Some("logs") => Topic::logs(1, params.get(1))?,
            Some("newPendingTransactions") => return Err(CallError::NothingPending),
            Some(other) => return Err(refusal(&format!("eth_subscribe({other})"))),
            None => {
                let problem = "it is neither `newHeads` nor `logs`".to_owned();
                return Err(CallError::Argument { place: 0, problem });
            }
        };
        if self.topics.values().map(Topic::len).sum::<usize>() + topic.len() > NAMED_MAX {
            let problem =
                "the subscriptions of a connection name at most 10000 addresses and topics";
            return Err(CallError::Request(problem));
        }
        if self.topics.is_empty() {
            self.told = self.facade.chain.log().durable();
        }
        self.count += 1;
        self.topics.insert(self.count, topic);
        Ok(format!("\"{:#x}\"", self.count))
    }

    fn unsubscribe(&mut self, params: &Params) -> Result<String, CallError> {
        let id = params.position(0)? as u64;
        Ok(self.topics.remove(&id).is_some().to_string())
    }

    /// Tells what happened up to a record.
    async fn tell(&mut self, upto: Lsn) -> Result<(), axum::Error> {
        while self.told < upto && !self.topics.is_empty() {
            self.told = self.told.next();
            let (chain, lsn) = (self.facade.chain.clone(), self.told);
            let read = loop {
                let chain = chain.clone();
                // News wait for their turn: they are not to be left out.
                if let Ok(read) = self.facade.bounds.read(move || chain.read_if_there(lsn)).await {
                    break read;
                }
            };
            // What is damaged or forgotten by now nobody can be told of.
            let Ok(Some(OwnedEvent { head, block: Some(block) })) = read else { continue };
            if head.lane == Lane::Live {
                self.news(head.op, &block).await?;
            }
        }
        Ok(())
    }

    /// Tells each subscription what an event is to it, one message after the other: a block may be
    /// many megabytes of news.
    async fn news(&mut self, op: Op, block: &Arc<Block>) -> Result<(), axum::Error> {
        let Talk { topics, socket, .. } = self;
        for (id, topic) in &*topics {
            if !topic.tells(op, block.header.number) {
                continue;
            }
            match topic {
                Topic::Heads => {
                    let text = told(*id, &block.header_to_json());
                    socket.send(Message::Text(text.into())).await?;
                }
                Topic::Logs(filter, _) => {
                    for log in logs_of(filter, op, block) {
                        socket.send(Message::Text(told(*id, &log).into())).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a subscription is told.
fn told(id: u64, result: &str) -> String {
    let id = Value::from(format!("{id:#x}"));
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"eth_subscription\",\
         \"params\":{{\"subscription\":{id},\"result\":{result}}}}}"
    )
}
