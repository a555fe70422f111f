//! The same calls over WebSocket, and `eth_subscribe` to new heads and logs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use headwater_storage::model::{Block, Lane, LogKey, Lsn, Op, OwnedEvent};
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::server::{App, BODY_BYTES_MAX};
use crate::supervisor::{Shutdown, on_cpu};

use super::answer::{Facade, Request, missing, text_of};
use super::error::CallError;
use super::filter::{Filter, Span};
use super::params::Params;

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 128;

/// What a subscription is told.
#[derive(Clone)]
enum Topic {
    Heads,
    /// Logs of blocks of these numbers.
    Logs(Filter, RangeInclusive<u64>),
}

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
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let facade = Facade::new(&app, &name)?;
    let upgrade = upgrade.map_err(|rejection| ApiError::Invalid {
        what: rejection.body_text(),
        fix: "POST a call here, or open a WebSocket",
    })?;
    let upgrade = upgrade.max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    let shutdown = app.shutdown.clone();
    Ok(upgrade.on_upgrade(move |socket| {
        let told = facade.chain.log().durable();
        Talk { facade, socket, topics: BTreeMap::new(), count: 0, told }.run(shutdown)
    }))
}

impl Talk {
    /// Until the other side, or this node, ends.
    async fn run(mut self, mut shutdown: Shutdown) {
        let mut durable = self.facade.chain.durable();
        loop {
            let sent = tokio::select! {
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(text.as_bytes()).await,
                    Some(Ok(Message::Binary(bytes))) => self.hear(&bytes).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
                moved = durable.changed(), if !self.topics.is_empty() => match moved {
                    Ok(()) => {
                        let upto = *durable.borrow_and_update();
                        self.tell(upto).await
                    }
                    Err(_) => return,
                },
                () = shutdown.requested() => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn hear(&mut self, body: &[u8]) -> Result<(), axum::Error> {
        let text = match self.order(body) {
            Some(answer) => Some(answer),
            None => self.facade.answer(body).await,
        };
        match text {
            Some(text) => self.socket.send(Message::Text(text.into())).await,
            None => Ok(()),
        }
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
            Some("logs") => match params.get(1) {
                Some(object) => {
                    let numbers = Span::read(1, object)?.to_come(1)?;
                    Topic::Logs(Filter::read(1, object)?, numbers)
                }
                None => Topic::Logs(Filter::default(), 0..=u64::MAX),
            },
            Some(other) => return Err(missing(&format!("eth_subscribe({other})"))),
            None => {
                let problem = "it is neither `newHeads` nor `logs`".to_owned();
                return Err(CallError::Argument { place: 0, problem });
            }
        };
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
            let read = on_cpu(move || chain.read_if_there(lsn)).await;
            // What is damaged or forgotten by now nobody can be told of.
            let Ok(Some(OwnedEvent { head, block: Some(block) })) = read else { continue };
            if head.lane == Lane::Live {
                for text in self.news(head.op, &block) {
                    self.socket.send(Message::Text(text.into())).await?;
                }
            }
        }
        Ok(())
    }

    /// What an event is to each subscription.
    fn news(&self, op: Op, block: &Arc<Block>) -> Vec<String> {
        let mut news = Vec::new();
        for (id, topic) in &self.topics {
            match (topic, op) {
                (Topic::Heads, Op::Applied) => news.push(told(*id, &block.header_to_json())),
                (Topic::Logs(_, numbers), _) if !numbers.contains(&block.header.number) => {}
                (Topic::Logs(filter, _), Op::Applied | Op::Reverted) => {
                    let wanted = block.logs().filter(|(_, log)| filter.takes(log));
                    news.extend(wanted.map(|(at, log)| {
                        let mut log = log.clone();
                        log.removed = Some(op == Op::Reverted);
                        log.set(LogKey::removed);
                        let mut text = String::new();
                        log.write_json(&block.log_links(at), &mut text);
                        told(*id, &text)
                    }));
                }
                (Topic::Heads, Op::Reverted) | (_, Op::Finalized) => {}
            }
        }
        news
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
