//! New heads over WebSocket: a wake-up, never the truth. One provider at a time announces; when it
//! falls silent the next is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, U64};
use futures::{SinkExt, StreamExt};
use headwater_storage::foreign::REASON_CHARS_MAX;
use headwater_storage::model::{BlockRef, ChainName};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::clock;
use crate::secrets::Redactor;
use crate::supervisor::Shutdown;
use crate::telemetry::metrics;

use super::answer::ErrorObject;
use super::key::Key;

/// A connection that brings nothing at all for so long is dead: pings are sent meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

type Stream = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Where heads are announced, with one key.
pub(super) struct Announcer {
    pub(super) name: String,
    pub(super) url: SecretString,
    pub(super) key: Arc<Key>,
    pub(super) redactor: Redactor,
}

/// What followers see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Who announces at the moment.
    pub provider: Option<String>,
    /// The last head that was announced, and when.
    pub head: Option<(BlockRef, Instant)>,
}

/// The announcements of a chain's heads.
#[derive(Clone)]
pub struct Heads {
    feed: watch::Receiver<Feed>,
    stalled: Arc<Notify>,
}

/// Keeps a subscription to a chain's heads.
pub struct Subscription {
    chain: ChainName,
    announcers: Vec<Announcer>,
    feed: watch::Sender<Feed>,
    stalled: Arc<Notify>,
}

/// Why a subscription ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection failed")]
    Socket(#[source] Box<tungstenite::Error>),
    #[error("no answer within {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("it announces no heads while others have new ones, or heads that nobody has")]
    Stalled,
    #[error("it refuses the subscription: {0}")]
    Refused(String),
    #[error("its key cannot be used")]
    Key(#[source] super::key::SpendError),
    #[error("it closed the connection")]
    Closed,
}

impl Heads {
    /// Whether somebody announces at the moment.
    pub fn is_alive(&self) -> bool {
        self.feed.borrow().provider.is_some()
    }

    /// Who announces at the moment.
    pub fn provider(&self) -> Option<String> {
        self.feed.borrow().provider.clone()
    }

    /// The last head that was announced.
    pub fn last(&self) -> Option<BlockRef> {
        self.feed.borrow().head.map(|(head, _)| head)
    }

    /// How long ago a head was announced, if it was the last.
    pub fn since(&self, head: BlockRef) -> Option<Duration> {
        let announced = self.feed.borrow().head.filter(|(last, _)| *last == head);
        announced.map(|(_, at)| at.elapsed())
    }

    /// Returns when something was announced, or the announcer is another; never where nobody
    /// could announce.
    pub async fn changed(&mut self) {
        if self.feed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The announcer misses heads: the next one is asked.
    pub fn stalled(&self) {
        self.stalled.notify_waiters();
    }
}

fn socket(error: tungstenite::Error) -> Ended {
    Ended::Socket(Box::new(error))
}

impl Announcer {
    /// Connects and asks for new heads.
    async fn connect(&self) -> Result<Stream, Ended> {
        self.key.spend(["eth_subscribe"].into_iter()).await.map_err(Ended::Key)?;
        let connecting = tokio_tungstenite::connect_async(self.url.expose_secret());
        let connected = tokio::time::timeout(CONNECT_MAX, connecting).await;
        let (mut stream, _) = connected.map_err(|_| Ended::Silent)?.map_err(socket)?;
        let ask = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
        stream.send(Message::text(ask)).await.map_err(socket)?;
        Ok(stream)
    }

    /// Whether a subscription stands: the first answer decides; the text has no key.
    pub(super) async fn check(&self) -> Result<(), String> {
        let answer = async {
            let mut stream = self.connect().await?;
            loop {
                match stream.next().await.ok_or(Ended::Closed)?.map_err(socket)? {
                    Message::Text(text) => return read(&text).map(drop),
                    Message::Close(_) => return Err(Ended::Closed),
                    Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Frame(_) => {}
                }
            }
        };
        let answer = tokio::time::timeout(SILENCE_MAX, answer).await;
        answer.unwrap_or(Err(Ended::Silent)).map_err(|ended| self.text(&ended))
    }

    /// Why it ended, without its secrets.
    fn text(&self, ended: &Ended) -> String {
        let text = headwater_storage::store::error_text(ended);
        self.redactor.excerpt(&text, REASON_CHARS_MAX)
    }
}

impl Subscription {
    pub(super) fn new(chain: ChainName, announcers: Vec<Announcer>) -> Subscription {
        Subscription { chain, announcers, feed: watch::Sender::default(), stalled: Arc::default() }
    }

    /// What it announces.
    pub fn heads(&self) -> Heads {
        Heads { feed: self.feed.subscribe(), stalled: self.stalled.clone() }
    }

    /// Listens until shutdown, to one announcer after the other.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), std::io::Error> {
        let mut pause = PAUSE_FIRST;
        let mut last_problem = String::new();
        for announcer in self.announcers.iter().cycle() {
            let ended = tokio::select! {
                ended = self.listen(announcer) => ended,
                () = shutdown.requested() => return Ok(()),
            };
            let was_well = self.feed.borrow().provider.is_some();
            self.feed.send_replace(Feed::default());
            let problem = announcer.text(&ended);
            metrics::subscription_ended(&self.chain, &announcer.name);
            if problem == last_problem {
                tracing::debug!(chain = %self.chain, provider = announcer.name, problem, "again");
            } else {
                tracing::warn!(
                    chain = %self.chain, provider = announcer.name, problem,
                    "new heads are not announced: asks for them until they are"
                );
            }
            last_problem = problem;
            pause = if was_well { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        shutdown.requested().await;
        Ok(())
    }

    async fn listen(&self, announcer: &Announcer) -> Ended {
        match self.subscribed(announcer).await {
            Ok(never) => never,
            Err(ended) => ended,
        }
    }

    async fn subscribed(&self, announcer: &Announcer) -> Result<Ended, Ended> {
        let mut stream = announcer.connect().await?;
        let mut pings = tokio::time::interval(PING_EVERY);
        let mut last = tokio::time::Instant::from_std(clock::now());
        loop {
            let message = tokio::select! {
                message = tokio::time::timeout_at(last + SILENCE_MAX, stream.next()) => message,
                _ = pings.tick() => {
                    stream.send(Message::Ping(tungstenite::Bytes::new())).await.map_err(socket)?;
                    continue;
                }
                () = self.stalled.notified() => return Err(Ended::Stalled),
            };
            let message = message.map_err(|_| Ended::Silent)?;
            last = tokio::time::Instant::from_std(clock::now());
            match message.ok_or(Ended::Closed)?.map_err(socket)? {
                Message::Text(text) => self.take(announcer, &text).await?,
                Message::Close(_) => return Err(Ended::Closed),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The answer to the subscription, or a head.
    async fn take(&self, announcer: &Announcer, text: &str) -> Result<(), Ended> {
        let Some(params) = read(text)? else {
            // The subscription stands; from here on silence is a fault.
            let name = announcer.name.clone();
            self.feed.send_modify(|feed| feed.provider = Some(name));
            return Ok(());
        };
        announcer.key.pushed("newHeads").await.map_err(Ended::Key)?;
        let head = BlockRef { number: params.result.number.to(), hash: params.result.hash };
        metrics::announced(&self.chain, &announcer.name);
        let name = announcer.name.clone();
        self.feed.send_replace(Feed { provider: Some(name), head: Some((head, clock::now())) });
        Ok(())
    }
}

/// A head, or nothing where it is the answer to the subscription.
fn read(text: &str) -> Result<Option<Params>, Ended> {
    let Ok(message) = serde_json::from_str::<Pushed>(text) else {
        return Err(Ended::Refused(text.to_owned()));
    };
    match message.error {
        Some(error) => Err(Ended::Refused(error.reason())),
        None => Ok(message.params),
    }
}

/// What a provider sends of its own accord, or as the answer to the subscription.
#[derive(serde::Deserialize)]
struct Pushed {
    #[serde(default)]
    params: Option<Params>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(serde::Deserialize)]
struct Params {
    result: Header,
}

#[derive(serde::Deserialize)]
struct Header {
    number: U64,
    hash: B256,
}
